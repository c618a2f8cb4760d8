"""Of a plan few cells run, the others are inferred, and some of those are verified."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import pytest

from harness.catalog.releases import Catalog
from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.boundaries import chance_missed
from harness.core.entries import Begun, CellEntry, Inferred, now
from harness.core.gridsearch import GridSearch
from harness.core.hints import Hints, declared, seen, supported
from harness.core.outcome import CheckOutcome, Status, cell_status
from harness.core.plan import Cell, Plan
from harness.core.view import View

RUN = "20261127-120000-compat-1a2b"
PASS, FAIL = CheckOutcome(Status.PASS), CheckOutcome(Status.FAIL, "it is broken")
Judge = Callable[[Cell], CheckOutcome]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


def planned(
    catalog: Catalog,
    *arguments: str,
    probe: str = "hello",
    services: str = "all",
    without: str = "",
) -> Plan:
    options = parse("compat", ["--service", services, "--probe", probe, *arguments], catalog)
    clients = [OnPython(one, "" if one.name == without else "3.11") for one in options.clients]
    return make_plan(options, clients)


def entry(plan: Plan, cell: Cell, outcome: CheckOutcome) -> CellEntry:
    checks = {
        check.name: CheckOutcome(Status.UNSUPPORTED, why)
        if (why := cell.unsupported(check))
        else outcome
        for check in cell.checks
    }
    fields = msgspec.structs.asdict(plan.planned(cell))
    return CellEntry(**fields, at=now(), run=RUN, status=cell_status(checks), checks=checks)


def begun() -> View:
    start = Begun(
        at=now(), run=RUN, session="compat", options=[], backend="", clients=[], services=[]
    )
    return View([start])


def run(search: GridSearch, plan: Plan, judge: Judge) -> View:
    """Run what a search asks for; return the view of what ran."""
    view = begun()
    while cells := search.next(view):
        for cell in cells:
            view.add(entry(plan, cell, judge(cell)))
    return view


def nothing(_: object) -> Hints:
    return Hints()


def fails(clients: str) -> Judge:
    return lambda cell: FAIL if cell.client.satisfies(clients) else PASS


def wrong(search: GridSearch, view: View, judge: Judge) -> Iterable[str]:
    """Return the cells that are not what they are inferred to be."""
    return [
        one.cell.id
        for one in search.infer(view)
        if one.checks["run"].status is not judge(one.cell).status
    ]


def test_what_did_not_run_is_inferred_with_the_reason_and_the_cell_beside(catalog):
    plan = planned(catalog, "--metaflow", ">=2.8,<2.13")
    search, judge = GridSearch(plan, nothing), fails(">=2.10.3,<2.11")
    view = run(search, plan, judge)
    found = list(search.infer(view))
    assert len(view.finished) + len(found) == len(plan.cells)
    assert len(view.finished) < len(plan.cells) / 2
    assert not wrong(search, view, judge)
    ran = {one.id: one for one in view.finished}
    for one in found:
        assert one.cell.id not in ran
        (beside,) = one.inferred.beside
        assert ran[beside].checks["run"] == one.checks["run"]
    assert any(one.checks["run"] == FAIL for one in found)


def test_what_is_not_supported_is_told_by_what_is_declared(catalog):
    plan = planned(catalog, "--metaflow", ">=2.15", probe="basics")
    search = GridSearch(plan, nothing)
    view = run(search, plan, lambda _: PASS)
    for one in search.infer(view):
        for check in one.cell.checks:
            unsupported = one.checks[check.name].status is Status.UNSUPPORTED
            assert unsupported == bool(one.cell.unsupported(check)), one.cell.id


def test_verifying_finds_an_island_and_runs_its_row_and_column(catalog):
    plan = planned(catalog, "--metaflow", ">=2.8,<2.13")

    def judge(cell: Cell) -> CheckOutcome:
        assert cell.service is not None
        of_three = cell.service.name in {"reference-2.0", "reference-2.0.4"}
        return FAIL if of_three and cell.client.satisfies(">=2.9.5,<2.9.8") else PASS

    blind = GridSearch(plan, nothing)
    view = run(blind, plan, judge)
    island = set(wrong(blind, view, judge))
    assert island, "between the lines, where no cell is"
    for seed in range(50):
        search = GridSearch(plan, nothing, verify=20, seed=seed)
        again = run(search, plan, judge)
        if search.wrong:
            break
    assert search.verified(again) == (20, 0)
    assert search.wrong[0].id in island
    assert not wrong(search, again, judge)
    (_, whole) = min((cell.id, cell) for cell in search.wrong)
    ran = {one.id for one in again.finished}
    assert {one.id for one in plan.cells if one.client == whole.client} <= ran
    assert {one.id for one in plan.cells if one.service == whole.service} <= ran


@pytest.mark.parametrize("whole", [True, False])
def test_a_verified_cell_that_the_machine_breaks_is_neither_right_nor_wrong(catalog, whole):
    plan = planned(catalog, "--metaflow", ">=2.8,<2.13", probe="failing")

    def break_it(one: CellEntry) -> CellEntry:
        first, *others = list(one.checks) if whole else list(one.checks)[1:]
        broken = {first: CheckOutcome(Status.INFRA, "no room")}
        kept = dict.fromkeys(others, CheckOutcome(Status.NOT_RUN, because=first))
        return msgspec.structs.replace(one, checks=one.checks | broken | kept)

    def run_all(verified: Callable[[CellEntry], CellEntry]) -> tuple[GridSearch, View]:
        search, view = GridSearch(plan, nothing, verify=20, seed=1), begun()
        rounds = [search.next(view)]
        while rounds[-1]:
            for cell in rounds[-1]:
                one = entry(plan, cell, PASS)
                # Nothing differs, so the second round is what is verified.
                view.add(verified(one) if len(rounds) == 2 else one)
            rounds.append(search.next(view))
        return search, view

    (right, passed), (search, view) = run_all(lambda one: one), run_all(break_it)
    assert right.verified(passed) == (20, 0)
    assert search.verified(view) == ((0, 20) if whole else (20, 0))
    assert search.wrong == []
    assert len(view.finished) == len(passed.finished), "no row and no column of theirs ran"
    found = {one.cell.id: one for one in search.infer(view)}
    assert found.keys() == {one.cell.id for one in right.infer(passed)}
    assert {check for one in found.values() for check in one.checks.values()} == {PASS}


@pytest.mark.parametrize("other", [None, Status.INFRA, Status.NOT_RUN])
def test_the_chance_to_miss_an_island_counts_cells_that_told_something(catalog, other):
    plan = planned(catalog, "--metaflow", ">=2.8,<2.13")
    search, view = GridSearch(plan, nothing), begun()
    (page,) = search.pages
    half = [place for place in page.cells if place[0] < page.rows // 2]
    for place, cell in page.cells.items():
        if place in half or other:
            view.add(entry(plan, cell, PASS if place in half else CheckOutcome(other)))
    missed = chance_missed(half, page.rows, page.columns, 3, 3)
    assert 0.4 < missed < 0.6
    (told,) = search.chances(view)
    assert f", 3 × 3 {missed:.0%}, " in told
    assert told.startswith(f"3 clients × half of the services {missed:.0%}, ")


def test_of_two_services_the_chance_is_told_too(catalog):
    plan = planned(catalog, "--metaflow", "all", services="2.3,2.5")
    search = GridSearch(plan, nothing)
    view = run(search, plan, lambda _: PASS)
    (page,) = search.pages
    assert (page.rows, page.columns) == (267, 2)
    (told,) = search.chances(view)
    names = [one.rpartition(" ")[0] for one in told.split(", ")]
    assert names == [f"{width} clients × half of the services" for width in (3, 5, 10)]


def test_a_small_chance_is_not_told_as_none(catalog):
    plan = planned(catalog, "--metaflow", "all", services="2.5")
    search, view = GridSearch(plan, nothing), begun()
    for cell in plan.cells[:-3]:
        view.add(entry(plan, cell, PASS))
    assert search.chances(view) == ["1 client 1%, 2 clients <1%, 3 clients <1%"]
    view.add(entry(plan, plan.cells[-2], PASS))
    assert search.chances(view) == ["1 client <1%, 2 clients 0%, 3 clients 0%"]


def test_the_same_seed_verifies_the_same_cells(catalog):
    plan = planned(catalog, "--metaflow", ">=2.8,<2.13")
    ran = [
        [one.id for one in run(GridSearch(plan, nothing, 5, seed), plan, lambda _: PASS).finished]
        for seed in (1, 1, 2)
    ]
    assert ran[0] == ran[1] != ran[2]


def test_what_could_not_be_judged_is_inferred_as_nothing(catalog):
    plan = planned(catalog, "--metaflow", ">=2.8,<2.13")
    broken = CheckOutcome(Status.INFRA, "no room")
    names = list(dict.fromkeys(cell.client.name for cell in plan.cells))
    search = GridSearch(plan, nothing)
    view = run(search, plan, lambda cell: broken if cell.client.name == names[7] else PASS)
    row = [one for one in search.infer(view) if one.cell.client.name == names[7]]
    assert row
    assert {one.checks["run"].status for one in row} == {Status.NOT_RUN}


def test_a_cell_that_never_comes_to_anything_is_not_asked_for_for_ever(catalog):
    plan = planned(catalog, "--metaflow", "2.18.13,2.19.39")
    search, view = GridSearch(plan, nothing), begun()
    rounds = 0
    while search.next(view):
        rounds += 1
    assert 0 < rounds < 5


def test_a_client_without_a_python_is_asked_for_at_once_and_in_no_grid(catalog):
    plan = planned(catalog, "--metaflow", ">=2.19.30", without="2.19.35")
    search = GridSearch(plan, nothing)
    first = search.next(begun())
    own = [cell for cell in plan.cells if cell.client.name == "2.19.35"]
    assert [cell for cell in first if cell in own] == own
    assert all(cell not in page.cells.values() for page in search.pages for cell in own)


def test_each_probe_and_datastore_is_a_grid_of_its_own(catalog):
    plan = planned(catalog, "--metaflow", ">=2.19", "--datastore", "local,s3", probe="hello,basics")
    search = GridSearch(plan, nothing)
    assert len(search.pages) == 4
    assert sum(len(page.cells) for page in search.pages) == len(plan.cells)


def test_a_search_that_goes_on_asks_for_nothing_again(catalog):
    plan = planned(catalog, "--metaflow", ">=2.8,<2.13")
    view = run(GridSearch(plan, nothing), plan, fails(">=2.10"))
    assert GridSearch(plan, nothing).next(view) == []


def test_what_ran_outweighs_what_is_inferred(catalog):
    plan = planned(catalog, "--metaflow", "2.19.39")
    ran = entry(plan, plan.cells[0], PASS)
    guessed = msgspec.structs.replace(
        entry(plan, plan.cells[0], FAIL), inferred=Inferred(beside=[])
    )
    for entries in ((ran, guessed), (guessed, ran)):
        view = begun()
        for one in entries:
            view.add(one)
        assert view.finished == [ran]
        assert not view.earlier(ran), "what is inferred is no attempt, so nothing is flaky"
        assert view.totals.total() == 1
    assert plan.minus([guessed]).cells == plan.cells
    assert ran.id not in {cell.id for cell in plan.minus([guessed, ran]).cells}


def test_hints_are_where_declared_ranges_and_support_begin_and_end(catalog):
    plan = planned(catalog, "--metaflow", ">=2.12.5,<2.12.16", probe="basics")
    (page,) = GridSearch(plan, nothing).pages
    names = [page.cells[row, 0].client.name for row in range(page.rows)]
    options = parse("compat", ["--metaflow", "latest"], catalog)
    found = declared(page.cells, options.expectations)
    assert {names.index("2.12.9"), names.index("2.12.13")} <= found.rows
    assert any(row == names.index("2.12.9") for row, _ in found.early)
    services = [page.cells[0, column].service for column in range(page.columns)]
    begins = next(n for n, one in enumerate(services) if one and one.satisfies(">=2.3.0"))
    assert begins in supported(page.cells).columns


def test_hints_are_where_an_earlier_run_saw_neighbours_differ():
    found = seen({(3, 1): ("pass",), (4, 1): ("fail",), (9, 1): ("pass",), (9, 2): ("fail",)})
    assert found == Hints(
        frozenset({4}), frozenset({2}), frozenset({(3, 1), (4, 1), (9, 1), (9, 2)})
    )
