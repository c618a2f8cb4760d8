"""What becomes of a walk whose machine refuses something; walks that go well are in tests/e2e."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.outcome import Status
from harness.machine import locks
from harness.report.terminal import Screen
from harness.run.run import Run
from harness.run.walk import Walk


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A walk over two services, not begun."""
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    given = ["--metaflow", "2.19.39", "--path", "2.3,2.5", "--probe", "hello"]
    given += ["--backend", "embedded", "--results", str(tmp_path / "results")]
    options = parse("fixed_db", given, load())
    plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
    run = Run(options, plan, Screen(Console(file=io.StringIO())))
    yield run
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
def test_what_the_machine_refuses_ends_a_stage_as_infra_by_its_name(run, error, said):
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
