"""The first variant that differs is found, by few cells, whatever cannot be tested."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping

import pytest

from harness.core.bisection import Bisection, Found, Verdict, line

GOOD, BAD, UNTESTABLE = Verdict.GOOD, Verdict.BAD, Verdict.UNTESTABLE


def search(
    history: Mapping[str, Iterable[str]],
    bad: Iterable[str],
    untestable: Iterable[str] = (),
    newer: Verdict = BAD,
) -> Found:
    """Return what a search finds where these are bad, and those cannot be tested."""
    bad, untestable = set(bad), set(untestable)

    def ask(variant: str) -> Verdict:
        if variant in untestable:
            return UNTESTABLE
        return BAD if variant in bad else GOOD

    return Bisection(history, newer).run(ask)


def names(count: int) -> list[str]:
    return [str(number) for number in range(count)]


@pytest.mark.parametrize("count", [2, 3, 4, 7, 33, 267])
def test_every_boundary_of_a_line_is_found_by_few_cells(count):
    known = names(count)
    for place in range(1, count):
        found = search(line(known), known[place:])
        assert (found.first, found.before, found.exact) == (
            (known[place],),
            (known[place - 1],),
            True,
        )
        # One more where the answer rests on the word of an end; of two alone on both.
        assert len(found.told) <= math.ceil(math.log2(count - 1)) + 1 + (count == 2)


def test_267_clients_take_10_cells_at_most():
    known = names(267)
    assert max(len(search(line(known), known[n:]).told) for n in range(1, 267)) == 10


def test_the_first_good_one_is_found_where_the_newer_end_is_good():
    found = search(line(names(9)), names(6), newer=GOOD)
    assert (found.first, found.before) == (("6",), ("5",))


def test_an_end_that_is_not_what_it_was_said_to_be_is_named():
    assert search(line(names(9)), ()).wrong == "8"
    assert search(line(names(9)), names(9)).wrong == "0"
    assert not search(line(names(9)), names(9)).exact


def test_an_end_that_cannot_be_tested_proves_nothing():
    found = search(line(names(9)), (), ["8"])
    assert (found.first, found.unproven, found.exact) == (("8",), ("8",), False)
    found = search(line(names(9)), names(9)[1:], ["0"])
    assert (found.first, found.unproven, found.exact) == (("1",), ("0",), False)


def test_what_cannot_be_tested_leaves_as_many_as_may_be_the_first():
    found = search(line(names(12)), names(12)[5:], ["3", "4", "9"])
    assert (found.first, found.before) == (("3", "4", "5"), ("2",))
    assert not found.exact


def test_what_is_known_not_to_be_testable_is_not_asked():
    asked = []

    def ask(variant: str) -> Verdict:
        asked.append(variant)
        return BAD if int(variant) >= 7 else GOOD

    found = Bisection(line(names(12)), BAD, ["5", "6"]).run(ask)
    assert found.first == ("5", "6", "7")
    assert not {"5", "6"} & set(asked)


def test_a_block_that_cannot_be_tested_costs_few_cells():
    known = names(100)
    found = search(line(known), known[20:], known[40:70])
    assert found.first == ("20",)
    assert list(found.told.values()).count(UNTESTABLE) <= 2


def test_random_lines_with_gaps():
    chance = random.Random(1)
    for _ in range(300):
        known = names(chance.randint(2, 40))
        place = chance.randrange(1, len(known))
        inner = known[1:-1]
        gaps = set(chance.sample(inner, chance.randint(0, len(inner) // 2)))
        found = search(line(known), known[place:], gaps)
        # All that may be the first: the gaps before the first bad one that was tested, and it.
        last = next(one for one in known[place:] if one not in gaps)
        after = [one for one in known[:place] if one not in gaps][-1]
        assert found.first == tuple(known[int(after) + 1 : int(last) + 1])
        assert found.before == (after,)


def test_random_graphs_of_commits():
    chance = random.Random(2)
    for _ in range(300):
        history, upto = _random_history(chance, chance.randint(3, 40))
        first = chance.choice(list(history)[1:])
        bad = [one for one in history if first in upto[one]]
        if list(history)[-1] not in bad:
            continue
        found = search(history, bad)
        assert (found.first, found.exact) == ((first,), True)
        assert set(found.before) <= set(history[first])


def _random_history(
    chance: random.Random, count: int
) -> tuple[dict[str, tuple[str, ...]], dict[str, set[str]]]:
    """Return a graph of commits with one end, and what each of them holds."""
    history: dict[str, tuple[str, ...]] = {"0": ()}
    upto = {"0": {"0"}}
    for name in names(count)[1:]:
        known = list(history)
        old = chance.sample(known[-4:], min(len(known), chance.choice([1, 1, 1, 2])))
        if name == str(count - 1):
            old = [one for one in known if not any(one in parents for parents in history.values())]
        history[name] = tuple(old)
        upto[name] = {name}.union(*(upto[one] for one in old))
    return history, upto
