"""Which cell begins when: over all clients of a run, and again where the machine broke it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.catalog.versions import load
from harness.client.cell import CellOutcome
from harness.core.outcome import CheckOutcome, Status
from harness.core.plan import Cell
from harness.core.probes import Check, Probe
from harness.core.view import View
from harness.machine.errors import InfraError
from harness.run import attempts
from harness.run.attempts import Attempts, Batch
from harness.run.executor import Executor
from harness.run.unit import Unit

CLIENTS = {client.name: client for client in load().clients}
OLD, NEW = "2.2.13", "2.19.39"
SECONDS = {"short": 4.5, "alike": 5.5, "long": 40.0}


def unit(probe: str, client: str = NEW) -> Unit:
    asked = Probe(probe, Path(f"{probe}.py"), "Flow", (Check("run", "it runs"),), ())
    return Unit(Cell("local", CLIENTS[client], None, "local", asked), Path("python"))


class Lab:
    """Attempts of which the first waits until the gate is opened, and each ends as is said."""

    def __init__(self, retries: int) -> None:
        self.gate, self.at_work = threading.Event(), threading.Event()
        self.begun: list[str] = []
        self.told: list[str] = []
        self.notes: list[str] = []
        self.comes: dict[str, list[Status]] = {}
        self.executor = Executor(1, self.gate.set)
        record = SimpleNamespace(
            view=View(), run="run", note=lambda _, text: self.notes.append(text)
        )
        self.attempts = Attempts(
            self.executor,
            *(None, record),  # type: ignore[arg-type]
            retries=retries,
            tell=lambda outcome: self.told.append(outcome.cell.probe.name),
            seconds=lambda cell: SECONDS[cell.probe.name],
        )

    def execute(self, unit: Unit, *_: Any) -> CellOutcome:
        name = unit.cell.probe.name
        self.begun.append(f"{unit.cell.client.name} {name} {unit.attempt}")
        self.at_work.set()
        assert self.gate.wait(10)
        status = (self.comes.get(name) or [Status.PASS]).pop(0)
        checks = {
            "run": CheckOutcome(status, "the machine: no room" if status is Status.INFRA else "")
        }
        return CellOutcome(unit.cell, checks, seconds=1.0)

    def submit(self, *units: Unit, repeat: int | None = None) -> Batch:
        return self.attempts.submit(units, None, repeat)

    def end(self) -> None:
        self.gate.set()
        self.executor.close()


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Lab]]:
    made: list[Lab] = []

    def make(retries: int = 0) -> Lab:
        made.append(Lab(retries))
        monkeypatch.setattr(attempts, "execute", made[-1].execute)
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_the_longest_begins_first_and_what_is_about_as_long_keeps_its_order(lab):
    one = lab()
    batch = one.submit(unit("short"), unit("alike"), unit("long"))
    one.gate.set()
    assert [outcome.status for outcome in batch.outcomes()] == [Status.PASS] * 3
    assert one.begun == [f"{NEW} long 1", f"{NEW} short 1", f"{NEW} alike 1"]


def test_cells_of_the_next_client_are_on_their_way_while_those_of_the_first_are(lab):
    one = lab()
    first = one.submit(unit("short", OLD), unit("alike", OLD))
    assert one.at_work.wait(10)
    after = one.submit(unit("long"), unit("short"))
    assert one.attempts.busy
    one.gate.set()
    after.outcomes()
    assert first.done
    assert not one.attempts.busy
    assert one.begun[1:] == [f"{NEW} long 1", f"{OLD} alike 1", f"{NEW} short 1"]


def test_attempts_at_a_cell_are_made_one_after_the_other(lab):
    one = lab()
    batch = one.submit(unit("short"), repeat=3)
    assert one.at_work.wait(10)
    assert one.executor._queue.empty(), "the second is not queued before the first has ended"
    one.gate.set()
    assert len(batch.outcomes()) == 3
    assert one.begun == [f"{NEW} short {number}" for number in (1, 2, 3)]


def test_what_the_machine_broke_is_done_again_when_all_else_is_done(lab):
    one = lab(retries=1)
    one.comes["long"] = [Status.INFRA, Status.PASS]
    one.comes["alike"] = [Status.INFRA, Status.INFRA]
    batch = one.submit(unit("long"), unit("alike"), unit("short"))
    one.gate.set()
    assert {outcome.cell.probe.name: outcome.status for outcome in batch.outcomes()} == {
        "short": Status.PASS,
        "long": Status.PASS,
        "alike": Status.INFRA,
    }
    assert one.told == ["long", "alike", "short", "long", "alike"], "each attempt is told"
    assert [note.split(": ", 1)[0].split("/")[-1] for note in one.notes] == [
        "long was done again",
        "alike was done again",
    ]


def test_nothing_to_run_is_done_at_once(lab):
    one = lab()
    assert one.submit().outcomes() == []
    assert one.submit(unit("short"), repeat=0).done


def test_what_breaks_the_harness_is_raised_where_the_cells_are_waited_for(lab):
    one = lab()
    one.attempts._tell = refuse
    batch = one.submit(unit("short"), unit("long"))
    one.gate.set()
    with pytest.raises(InfraError, match="no room"):
        batch.outcomes()


def test_of_two_that_break_the_first_is_raised_and_the_others_are_on_their_way():
    batch = Batch(3)
    batch.fail(InfraError("first"))
    batch.fail(InfraError("second"))
    assert (batch.done, batch.left) == (True, 3)
    with pytest.raises(InfraError, match="first"):
        batch.outcomes()


def refuse(_: CellOutcome) -> None:
    raise InfraError("no room")


def test_what_an_interrupt_has_killed_is_not_told(lab):
    one = lab()
    batch = one.submit(unit("short"), unit("long"))
    assert one.at_work.wait(10)
    one.executor.cancel()
    assert one.told == []
    with pytest.raises(InfraError, match="the run was ended meanwhile"):
        batch.outcomes()
