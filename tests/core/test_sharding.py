"""Every cell is in one shard, with its unit, and shards take about as long as each other."""

from __future__ import annotations

import random

import pytest

from harness.catalog.releases import Catalog
from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.plan import Plan
from harness.core.sharding import Shard, split, units


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


def planned(catalog: Catalog, session: str, *arguments: str) -> Plan:
    options = parse(session, arguments, catalog)
    return make_plan(options, [OnPython(one, "3.11") for one in options.clients])


PLANS = [
    ("compat", "--metaflow", "minors", "--probe", "basics,hello"),
    ("compat", "--metaflow", "2.12.8,2.19.39", "--postgres", "16,18"),
    ("local", "--metaflow", ">=2.19", "--probe", "basics,hello"),
    ("cross", "--metaflow", "2.7.23,2.17.3,2.19.39", "--service", "all"),
    ("fixed_db", "--metaflow", "latest", "--postgres", "16,18"),
]


@pytest.mark.parametrize("arguments", PLANS, ids=" ".join)
def test_every_cell_is_in_one_shard_with_its_unit_and_in_order(catalog, arguments):
    plan = planned(catalog, *arguments)
    most = len(units(plan))
    for count in sorted({1, 2, min(7, most), most}):
        parts = split(plan, count, {})
        assert len(parts) == count
        assert all(part.cells for part in parts)
        place = {cell.id: at for at, part in enumerate(parts) for cell in part.cells}
        assert sum(len(part.cells) for part in parts) == len(place) == len(plan.cells)
        for unit in units(plan):
            assert len({place[cell.id] for cell in unit}) == 1
        order = {cell.id: at for at, cell in enumerate(plan.cells)}
        for part in parts:
            places = [order[cell.id] for cell in part.cells]
            assert places == sorted(places)
            assert part.path == plan.path


def test_units_are_what_is_done_together(catalog):
    counts = [len(units(planned(catalog, *arguments))) for arguments in PLANS]
    compat, two_databases, local, cross, walks = counts
    assert compat == 20 * 4
    assert two_databases == 2 * 4 * 2
    assert local == len(planned(catalog, *PLANS[2]).clients)
    assert (cross, walks) == (6, 2)


def test_recorded_seconds_make_shards_even(catalog):
    plan = planned(catalog, *PLANS[0])
    chance = random.Random(3)
    seconds = {cell.id: chance.choice([1.0, 2.0, 30.0]) for cell in plan.cells}
    loads = [sum(seconds[cell.id] for cell in part.cells) for part in split(plan, 6, seconds)]
    # None is further from the mean than by the longest unit.
    longest = max(sum(seconds[cell.id] for cell in unit) for unit in units(plan))
    assert max(loads) - sum(loads) / 6 <= longest
    assert sum(loads) / 6 - min(loads) <= longest


def test_what_was_never_timed_counts_as_the_mean(catalog):
    plan = planned(catalog, "local", "--metaflow", ">=2.19", "--probe", "hello")
    first, *_ = plan.cells
    slow, other = split(plan, 2, {first.id: 5.0})
    assert abs(len(slow.cells) - len(other.cells)) <= 1
    known = {cell.id: 1.0 for cell in plan.cells} | {first.id: 1000.0}
    assert split(plan, 2, known)[0].cells == (first,)


def test_shards_of_one_plan_are_told_from_those_of_another(catalog):
    plan = planned(catalog, "local", "--metaflow", ">=2.19", "--probe", "hello")
    more = planned(catalog, "local", "--metaflow", ">=2.18", "--probe", "hello")
    slow = {cell.id: 1.0 for cell in plan.cells} | {plan.cells[0].id: 1000.0}
    same, again = ({part.cut for part in split(plan, 2, {})} for _ in range(2))
    assert same == again
    assert len(same) == 1
    assert plan.entry("").cut == ""
    others = (split(plan, 3, {}), split(plan, 2, slow), split(more, 2, {}))
    cuts = {part.entry("").cut for parts in others for part in parts}
    assert len(cuts) == 3
    assert not cuts & same


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "a/3", "1/", "/3", "", "0", "257", "1/257"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - whoever asked for it says more
        Shard.parse(text)


def test_shards_are_written_as_they_are_read():
    for text in ("1/3", "3/3", "256/256", "3"):
        assert str(Shard.parse(text)) == text
