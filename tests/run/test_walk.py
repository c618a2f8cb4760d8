"""What becomes of a walk whose machine refuses something; walks that go well are in tests/e2e."""

from __future__ import annotations

import errno
import io
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.entries import StageEntry
from harness.core.outcome import Status
from harness.core.path import Step
from harness.machine import locks
from harness.report.terminal import Screen
from harness.run.run import Run
from harness.run.walk import Walk, walk
from harness.stack.stacks import Stack

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


@pytest.mark.e2e
def test_a_kill_outside_of_cells_ends_the_walk_as_infra_by_the_name_of_the_signal(
    start, monkeypatch
):
    run = start("--retries", "0")
    ask = Walk._check_contract

    def kill_and_ask(self: Walk, stage: StageEntry, step: Step, stack: Stack) -> None:
        running: Any = stack.running
        os.kill(running._process.pid, signal.SIGKILL)
        ask(self, stage, step, stack)

    monkeypatch.setattr(Walk, "_check_contract", kill_and_ask)
    backend, stacks = run.services()
    pythons = dict.fromkeys(run.plan.clients, Path("never started"))
    Walk(run, backend, stacks, pythons).go(run.plan.path)
    stage, never = run.record.view.stages
    assert (stage.status, never.status) == (Status.INFRA, Status.NOT_RUN)
    told = "the service reference-2.3 was killed from outside, by SIGKILL; last lines of "
    assert stage.problems[-1].startswith(told)
    assert stage.lost == []
