"""Who reads and resumes what whom wrote."""

from __future__ import annotations

import pytest

from harness.catalog.releases import Client
from harness.catalog.versions import load
from harness.core.pairs import Roles, make_pairs
from harness.machine.errors import UsageError

NAMES = ("2.2.13", "2.7.23", "2.12.39", "2.19.39")


@pytest.fixture(scope="module")
def clients() -> tuple[Client, ...]:
    return tuple(client for client in load().clients if client.name in NAMES)


def words(found: tuple[Roles, ...]) -> list[tuple[str, str]]:
    return [(one.writer.name, one.reader.name) for one in found if one.resumer is None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", 16),
        # Each with itself, and twice three neighbours, or twice five pairs with an end.
        ("neighbours", 4 + 6),
        ("corners", 4 + 10),
    ],
)
def test_a_selection_has_each_pair_once_and_each_client_with_itself(clients, text, expected):
    found = make_pairs(text, clients)
    pairs = words(found)
    assert len(pairs) == len(set(pairs)) == expected
    assert {(name, name) for name in NAMES} <= set(pairs)
    resumed = [(one.writer.name, one.reader.name) for one in found if one.resumer == one.reader]
    assert resumed == pairs
    assert len(found) == 2 * expected


def test_what_is_beside_each_other_and_what_is_at_the_ends(clients):
    near, ends = (set(words(make_pairs(text, clients))) for text in ("neighbours", "corners"))
    assert ("2.7.23", "2.12.39") in near - ends
    assert ("2.12.39", "2.7.23") in near - ends
    assert ("2.2.13", "2.12.39") in ends - near
    assert ("2.7.23", "2.19.39") in ends - near


def test_one_client_has_only_itself(clients):
    for text in ("neighbours", "corners", "all"):
        assert words(make_pairs(text, clients[:1])) == [("2.2.13", "2.2.13")]


def test_pairs_by_name(clients):
    oldest, second, _, newest = clients
    found = make_pairs("2.2.13:2.19.39, 2.2.13:2.19.39:2.7.23,2.2.13:2.19.39", clients)
    assert found == (Roles(oldest, newest), Roles(oldest, newest, second))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("neighbour", "nearest: neighbours"),
        ("2.2.13", "WRITER:READER"),
        ("2.2.13:2.7.23:2.7.23:2.7.23", "WRITER:READER"),
        ("2.2.13:2.7.22", "'2.7.22' is not among the clients of --metaflow (nearest: 2.7.23"),
        ("2.2.13:", "'' is not among"),
        ("", "WRITER:READER"),
    ],
)
def test_what_is_no_selection_is_told_in_one_line(clients, text, said):
    with pytest.raises(UsageError) as caught:
        make_pairs(text, clients)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
