"""What a client that did not write a run is asked for of it, and what is told of its answers."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.catalog.versions import load
from harness.client.program import ClientError, Surroundings
from harness.client.reading import Answer, WrittenRun
from harness.core.outcome import CheckOutcome, Status
from harness.core.path import Step
from harness.core.plan import Cell
from harness.core.probes import FLOWS, find_probes
from harness.machine.errors import InfraError
from harness.run import rereads
from harness.run.rereads import read_by_another, requests_of, runs_by_client, told

CATALOG = load()
CLIENTS = {client.name: client for client in CATALOG.clients}
OLD, NEW = CLIENTS["2.0.5"], CLIENTS["2.19.39"]
SERVICE = next(one for one in CATALOG.reference if one.name == "reference-2.5")
BASICS = find_probes(FLOWS)["basics"]
INVENTORY: dict[str, Any] = {"tags": [], "steps": {"start": {}}}
Checks = dict[str, CheckOutcome]
PASSED = CheckOutcome(Status.PASS)


def cell(stage: int, client=NEW, writer=None) -> Cell:
    return Cell("fixed_db", client, SERVICE, "local", BASICS, stage, writer=writer)


def run(stage: int, *passed: str) -> WrittenRun:
    return WrittenRun(cell(stage), str(stage), INVENTORY, passed)


def test_of_the_latest_stage_the_checks_that_passed_and_are_for_the_reader_are_made():
    own = [check.name for check in cell(1).checks]
    reader = cell(1, OLD, NEW)
    unfit = next(one.name for one in reader.checks if reader.unsupported(one))
    fit = next(one.name for one in reader.checks if not reader.unsupported(one))
    assert {unfit, fit} <= set(own)
    written = [run(1, fit), run(3, unfit, fit), run(3)]
    requests = requests_of([reader] * 3, written, 4)
    assert [(one.run_id, one.checks) for one in requests] == [("1", ()), ("3", (fit,)), ("3", ())]
    # At the last stage its own runs are among them.
    checked = [one.checks for one in requests_of([reader] * 3, written, 3)]
    assert checked == [(fit,), (fit,), ()]
    assert [one.cell for one in requests] == [one.cell for one in written], "its writer's"


def test_what_is_not_as_it_was_is_told_and_what_is_declared_apart():
    checks = {
        "good": PASSED,
        "bad": CheckOutcome(Status.FAIL, "KeyError: 'x'"),
        "known": CheckOutcome(Status.EXPECTED_FAIL, "an old fault: None"),
    }
    changed = {"tags": ["new"], "steps": {}}
    answers = [Answer(checks, INVENTORY, ""), Answer({}, changed, ""), Answer({}, None, "gone")]
    wrong, known = told("2.0.5", [run(1), run(2), run(3)], answers)
    where = "of client 2.19.39, read by client 2.0.5:"
    assert wrong == [
        f"BasicsFlow/1 {where} bad: KeyError: 'x'",
        f"BasicsFlow/2 {where} step start is gone",
        f"BasicsFlow/2 {where} tag 'new' is new",
        f"BasicsFlow/3 {where} cannot be listed: gone",
    ]
    assert known == ["client 2.0.5 reads basics/known: an old fault: None"]


def test_a_run_that_is_read_as_it_was_written_has_no_problem():
    answers = [Answer({"good": PASSED}, INVENTORY, "")]
    assert told("2.0.5", [run(1)], answers) == ([], [])


class Alive:
    """A stack, of which only its life is asked."""

    def __init__(self, error: str = "") -> None:
        self._error = error

    def check_alive(self) -> None:
        if self._error:
            raise InfraError(self._error)


RUN: Any = SimpleNamespace(options=SimpleNamespace(expectations=()))


@pytest.fixture(autouse=True)
def _declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Declare the check ``known`` of whoever reads what another wrote."""

    def judge(_: object, judged: Cell, checks: Checks) -> Checks:
        assert judged.writer == NEW
        assert judged.client == OLD
        return checks | {"known": CheckOutcome(Status.EXPECTED_FAIL, "declared")}

    monkeypatch.setattr(rereads, "judge_checks", judge)


def read(folder: Path, stack: Alive) -> tuple[list[str], list[str]]:
    python = Path(sys.executable)
    around = Surroundings(python, folder / "work", folder / "logs", {}, "tests-rereads", 60)
    step = Step(2, SERVICE)
    return read_by_another(RUN, stack, around, [run(1)], reader=OLD, step=step)


def test_the_cells_are_the_readers_with_who_wrote_them(monkeypatch, tmp_path):
    found = [Answer({"known": CheckOutcome(Status.FAIL, "")}, INVENTORY, "")]
    monkeypatch.setattr(rereads, "read_runs", lambda *_, **__: found)
    assert read(tmp_path, Alive()) == ([], ["client 2.0.5 reads basics/known: declared"])


def test_a_reader_that_breaks_is_told_unless_the_stack_is_dead(monkeypatch, tmp_path):
    def breaks(*_: object, **__: object) -> None:
        raise ClientError("listing ended with exit code 3")

    monkeypatch.setattr(rereads, "read_runs", breaks)
    (wrong,), _ = read(tmp_path, Alive())
    assert wrong.startswith("client 2.0.5 could not read 1 earlier runs: listing ended with")
    with pytest.raises(InfraError, match="the service is gone"):
        read(tmp_path, Alive("the service is gone"))


def test_what_a_reader_does_not_find_of_a_dead_stack_is_not_told(monkeypatch, tmp_path):
    found = [Answer({}, None, "ServiceException: Metadata request (/flows) failed")]
    monkeypatch.setattr(rereads, "read_runs", lambda *_, **__: found)
    (wrong,), _ = read(tmp_path, Alive())
    assert wrong.endswith("cannot be listed: ServiceException: Metadata request (/flows) failed")
    with pytest.raises(InfraError, match="the service is gone"):
        read(tmp_path, Alive("the service is gone"))


def test_the_checks_are_made_again_on_the_first_and_the_latest_stage_of_a_client():
    (runs,) = runs_by_client([run(1), run(2), run(3)]).values()
    assert [(one.run.cell.stage, one.checked) for one in runs] == [(1, True), (2, False), (3, True)]
