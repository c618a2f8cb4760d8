"""What becomes of a walk whose machine refuses something; walks that go well are in tests/e2e."""

from __future__ import annotations

import errno
import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from rich.console import Console

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.entries import StageEntry, now
from harness.core.outcome import Status
from harness.core.plan import planned_stage
from harness.machine import locks
from harness.machine.errors import InfraError
from harness.proof import contract
from harness.report.terminal import Screen
from harness.run.contracts import Contracts
from harness.run.run import Run
from harness.run.walk import Walk, walk
from harness.run.walked_schema import WalkedSchema
from harness.stack.database.server import Address
from harness.stack.service.launcher import ServiceError

Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return a function that starts a run of a walk over two services, which is not begun."""
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    runs: list[Run] = []

    def start(*more: str, said: io.StringIO | None = None) -> Run:
        given = ["--metaflow", "2.19.39", "--path", "2.3,2.5", "--probe", "hello", *more]
        given += ["--backend", "embedded", "--results", str(tmp_path / "results")]
        options = parse("fixed_db", given, load())
        plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
        screen = Screen(Console(file=said or io.StringIO(), soft_wrap=True))
        runs.append(Run(options, plan, screen))
        return runs[-1]

    yield start
    for run in runs:
        run.end()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "the machine: Too many open files"),
        (
            PermissionError(errno.EACCES, "Permission denied", "a.log"),
            "the machine: Permission denied: a.log",
        ),
        (MemoryError(), "the machine: memory ran out"),
    ],
)
def test_what_the_machine_refuses_ends_a_stage_as_infra_by_its_name(start, error, said):
    run = start()

    def refuse(*_: object) -> None:
        raise error

    launcher: Any = SimpleNamespace(prepare=lambda _: None, start=refuse)
    backend, stacks = run.services()
    python = Path("never started")
    pythons = dict.fromkeys(run.plan.clients, python)
    Walk(run, replace(backend, launcher=launcher), stacks, pythons).go(run.plan.path)
    stage, never = run.record.view.stages
    assert (stage.status, stage.problems) == (Status.INFRA, [said])
    assert never.status is Status.NOT_RUN
    first, second = run.record.view.finished
    assert (first.status, first.checks["run"].reason) == (
        Status.INFRA,
        f"stage 1 failed: {said}",
    )
    assert (second.status, second.checks["run"].reason) == (
        Status.NOT_RUN,
        "the walk ended at stage 1",
    )


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--datastore", "s3", "--s3-root", "s3://b"), "a walk with objects in a bucket of yo"),
        (("--datastore", "s3"), ""),
        ((), ""),
    ],
)
def test_a_walk_that_cannot_go_on_says_so_when_it_begins(start, monkeypatch, more, told):
    said = io.StringIO()
    run = start(*more, said=said)
    lines: list[str] = []
    monkeypatch.setattr(Walk, "go", lambda *_: lines.extend(said.getvalue().splitlines()))
    walk(run, {})
    found = [line for line in lines if line.startswith("--resume: ")]
    assert [told in line for line in found] == ([True] if told else [])


Asking = Callable[..., tuple[StageEntry, Callable[[], None]]]


@pytest.fixture
def asking(start: Start, monkeypatch: pytest.MonkeyPatch) -> Asking:
    """Return a function that returns a stage, and what compares its schema and asks its service."""
    run = start("--jobs", "1")

    def asking(compare: Callable[[], list[str]], ask: Callable[[], contract.Contract]) -> Any:
        monkeypatch.setattr(WalkedSchema, "migrated", staticmethod(lambda _: None))
        monkeypatch.setattr(WalkedSchema, "problems", lambda *_: compare())
        monkeypatch.setattr(Contracts, "ask", staticmethod(lambda *_: ask()))
        step = run.plan.path[0]
        planned = msgspec.structs.asdict(planned_stage(step, ""))
        stage = StageEntry(at=now(), run=run.folder.run, **planned)
        stack: Any = SimpleNamespace(running=None, address=None, schema=step.service.schema)
        walked = Walk(run, *run.services(), {})
        return stage, partial(walked._compare_and_ask, stage, step, stack, stack)

    return asking


def test_the_contract_is_asked_while_a_fresh_install_is_made(asking):
    together = threading.Barrier(2, timeout=10)

    def compare() -> list[str]:
        together.wait()
        return ["unlike a fresh install: odd"]

    def ask() -> contract.Contract:
        together.wait()
        return contract.Contract({}, ("run: lost",))

    stage, go = asking(compare, ask)
    go()
    assert stage.problems == ["unlike a fresh install: odd", "run: lost"]


def test_a_contract_that_cannot_be_asked_hides_no_difference_of_the_schema(asking):
    def ask() -> contract.Contract:
        raise ServiceError("it ended by itself")

    stage, go = asking(lambda: ["unlike a fresh install: odd"], ask)
    with pytest.raises(ServiceError, match="it ended by itself"):
        go()
    assert stage.problems == ["unlike a fresh install: odd"]


def test_no_question_is_left_when_a_fresh_install_breaks(asking):
    begun, done = threading.Event(), threading.Event()

    def compare() -> list[str]:
        assert begun.wait(10)
        raise InfraError("no room")

    def ask() -> contract.Contract:
        begun.set()
        time.sleep(0.1)
        done.set()
        return contract.Contract({}, ())

    _, go = asking(compare, ask)
    with pytest.raises(InfraError, match="no room"):
        go()
    assert done.is_set()


@pytest.mark.e2e
def test_a_kill_outside_of_cells_ends_the_walk_as_infra_by_the_name_of_the_signal(
    start, monkeypatch
):
    run = start("--retries", "0")
    ask = Contracts.ask

    def kill_and_ask(running: Any, address: Address | None, flow: str) -> contract.Contract:
        os.kill(running._process.pid, signal.SIGKILL)
        return ask(running, address, flow)

    monkeypatch.setattr(Contracts, "ask", staticmethod(kill_and_ask))
    backend, stacks = run.services()
    pythons = dict.fromkeys(run.plan.clients, Path("never started"))
    Walk(run, backend, stacks, pythons).go(run.plan.path)
    stage, never = run.record.view.stages
    assert (stage.status, never.status) == (Status.INFRA, Status.NOT_RUN)
    told = "the service reference-2.3 was killed from outside, by SIGKILL; last lines of "
    assert stage.problems[-1].startswith(told)
    assert stage.lost == []
