"""What a client no longer finds as it was in a run of an earlier stage."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.catalog.versions import load
from harness.client.reading import Answer, WrittenRun, differences, problems
from harness.core.outcome import CheckOutcome, Status
from harness.core.plan import Cell
from harness.core.probes import Probe

INVENTORY: dict[str, Any] = {
    "tags": ["probe:basics", "user:compat"],
    "steps": {
        "start": {"1": {"artifacts": ["name", "x"], "metadata": ["attempt=0"]}},
        "end": {"2": {"artifacts": ["name"], "metadata": []}},
    },
}


def _changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    inventory = copy.deepcopy(INVENTORY)
    change(inventory)
    return inventory


CHANGES = [
    (lambda i: i["tags"].remove("user:compat"), ["tag 'user:compat' is gone"]),
    (lambda i: i["tags"].append("new"), ["tag 'new' is new"]),
    (lambda i: i["tags"].reverse(), []),
    (lambda i: i["steps"]["start"]["1"]["artifacts"].remove("x"), ["artifact start/1/x is gone"]),
    (
        lambda i: i["steps"]["start"]["1"].update(metadata=["attempt=1"]),
        ["metadata start/1 'attempt=0' is gone", "metadata start/1 'attempt=1' is new"],
    ),
    (
        lambda i: i["steps"].pop("end"),
        ["artifact end/2/name is gone", "step end is gone", "task end/2 is gone"],
    ),
    (
        lambda i: i["steps"]["end"].update({"3": {"artifacts": [], "metadata": []}}),
        ["task end/3 is new"],
    ),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_differences_are_named_one_by_one(change, words):
    assert differences(INVENTORY, _changed(change)) == words


def test_what_is_equal_differs_in_nothing():
    assert differences(INVENTORY, copy.deepcopy(INVENTORY)) == []


@pytest.fixture(scope="module")
def written() -> WrittenRun:
    client = next(client for client in load().clients if client.name == "2.2.13")
    probe = Probe("basics", Path("basics.py"), "BasicsFlow", (), ())
    return WrittenRun(Cell("fixed_db", client, None, "local", probe, 1), "17", INVENTORY, ())


WHERE = "BasicsFlow/17 of client 2.2.13, read by client 2.19.39"


def test_a_run_read_as_it_was_is_no_problem(written):
    answer = Answer({"run": CheckOutcome(Status.PASS)}, INVENTORY, "")
    assert problems("2.19.39", written, answer) == []


def test_a_failed_check_and_a_lost_tag_are_both_problems(written):
    answer = Answer(
        {"run": CheckOutcome(Status.PASS), "tags": CheckOutcome(Status.FAIL, "no tag")},
        _changed(lambda i: i["tags"].remove("probe:basics")),
        "",
    )
    assert problems("2.19.39", written, answer) == [
        f"{WHERE}: tags: no tag",
        f"{WHERE}: tag 'probe:basics' is gone",
    ]


def test_a_run_that_cannot_be_listed_is_one_problem(written):
    answer = Answer({"run": CheckOutcome(Status.FAIL, "x")}, None, "ServiceException(…)")
    assert problems("2.19.39", written, answer) == [
        f"{WHERE}: cannot be listed: ServiceException(…)"
    ]
