"""What a search for boundaries says of itself: what ran, is inferred, verified, may be missed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from harness.catalog.versions import load
from harness.cli.coming import session_of
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.cli.rounds import Rounds
from harness.core.entries import CellEntry, now
from harness.core.outcome import CheckOutcome, Status, cell_status
from harness.core.plan import Cell, Plan
from harness.core.view import View
from harness.report.terminal import Screen
from harness.run.beginning import record_start
from harness.run.record import Record

GIVEN = ("--metaflow", ">=2.9,<2.11", "--service", "all", "--probe", "hello")
ISLAND = ("2.9.5", "2.9.6", "2.9.7"), ("reference-2.0", "reference-2.0.4")

Judge = Callable[[Cell, int], Status]
"""What a cell comes to in a round."""


class Searching:
    """A run whose cells come to what is planted."""

    def __init__(self, folder: Path, plan: Plan, judge: Judge) -> None:
        self.record = Record("20261127-120000-compat-1a2b", folder, ())
        self.screen = Screen()
        self._plan = plan
        self._judge = judge
        self._round = 0

    def begin(self, cells: Sequence[Cell], _python_of: object) -> Searching:
        self._round += 1
        for cell in cells:
            status = self._judge(cell, self._round) if cell.python else Status.NOT_RUN
            checks = {check.name: CheckOutcome(status) for check in cell.checks}
            fields = msgspec.structs.asdict(self._plan.planned(cell))
            how = {"run": self.record.run, "status": cell_status(checks), "checks": checks}
            self.record.add(CellEntry(**fields, at=now(), **how))
        return self

    def outcomes(self) -> None:
        """All have ended."""

    def reuse(self, cells: Sequence[Cell], _pythons: object) -> list[Cell]:
        return list(cells)

    def skip(self, cells: Sequence[Cell], _status: Status, _reason: str) -> None:
        assert not cells

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        yield


def search(folder: Path, judge: Judge, *more: str, without: str = "") -> tuple[View, list[str]]:
    """Search for boundaries; return what the journal says, and what is noted in the end."""
    given = [*GIVEN, "--strategy", "boundaries", "--results", str(folder), *more]
    options = parse("compat", given, load())
    clients = [OnPython(one, "" if one.name == without else "3.11") for one in options.clients]
    plan = make_plan(options, clients)
    rounds = Rounds(options, plan, View())
    run = Searching(folder, plan, judge)
    record_start(options, plan, run.record, "none", ())
    before = list(run.record.view.notes.get("", ()))
    run.begin(rounds.first(plan.cells), None)
    rounds.finish(run, {session_of(cell, cell.client): Path("python") for cell in plan.cells})
    assert len(run.record.view.finished) == len(plan.cells)
    run.record.end()
    return run.record.view, list(run.record.view.notes[""])[len(before) :]


def passes(_cell: Cell, _round: int) -> Status:
    return Status.PASS


def test_what_ran_was_inferred_and_may_be_missed_is_told(tmp_path):
    view, (took, chance) = search(tmp_path, passes)
    ran = [one for one in view.finished if one.inferred is None]
    count, inferred = len(view.finished), len(view.finished) - len(ran)
    of_all = f"boundaries: {len(ran)} of {count} cells ran in 1 round, {inferred} inferred"
    assert took == f"{of_all}: {inferred / count:.0%} saved"
    assert chance.startswith("chance to have missed an island: 3 clients × half of the services ")


def test_cells_of_a_client_without_a_python_did_not_run_and_save_nothing(tmp_path):
    view, (took, _) = search(tmp_path, passes, without="2.9.5")
    judged = [one for one in view.finished if one.status is Status.PASS]
    ran = [one for one in judged if one.inferred is None]
    nothing = len(view.finished) - len(judged)
    assert nothing == len([one for one in view.finished if one.client == "2.9.5"]) > 1
    share = (len(judged) - len(ran)) / len(judged)
    assert took.startswith(f"boundaries: {len(ran)} of {len(judged)} cells ran in 1 round, ")
    assert took.endswith(f"{share:.0%} saved; {nothing} more could not be judged")


def test_verified_cells_that_disagree_are_named_and_their_lines_run(tmp_path):
    def judge(cell: Cell, _round: int) -> Status:
        assert cell.service is not None
        on_it = cell.client.name in ISLAND[0] and cell.service.name in ISLAND[1]
        return Status.FAIL if on_it else Status.PASS

    view, (_, verified, *_) = search(tmp_path, judge, "--verify", "40", "--verify-seed", "4")
    head, _, named = verified.partition(", not as inferred: ")
    assert head == "verified: 40 inferred cells ran (--verify-seed 4)"
    told = {one.id: one for one in view.finished}
    wrong = [told[name] for name in named.split(", ")]
    assert {one.status for one in wrong} == {Status.FAIL}
    for one in told.values():
        if one.inferred is not None:
            assert one.client not in {cell.client for cell in wrong}
            assert one.service not in {cell.service for cell in wrong}
    red = {(one.client, one.service) for one in told.values() if one.status is Status.FAIL}
    assert red == {(client, service) for client in ISLAND[0] for service in ISLAND[1]}


def test_verified_cells_that_the_machine_broke_are_told_as_such(tmp_path):
    def judge(cell: Cell, number: int) -> Status:
        return Status.INFRA if number == 2 and cell.client.satisfies("<2.9.10") else Status.PASS

    view, (took, verified, *_) = search(tmp_path, judge, "--verify", "40", "--verify-seed", "4")
    broken = sum(one.status is Status.INFRA for one in view.finished)
    assert 0 < broken < 40
    assert took.endswith(f" saved; {broken} more could not be judged")
    assert verified == (
        f"verified: {40 - broken} inferred cells ran (--verify-seed 4), all as inferred;"
        f" {broken} more could not be judged"
    )
