"""The end of a run: all of it is done, whatever becomes of a part of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.entries import Ended
from harness.core.journal import read
from harness.machine import locks
from harness.report.terminal import Screen
from harness.run.run import Run
from tests.client.conftest import CLIENT


def test_an_interrupt_at_the_end_takes_nothing_of_it(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    given = ["--metaflow", CLIENT, "--probe", "hello", "--results", str(tmp_path / "results")]
    options = parse("local", given, load())
    plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
    run = Run(options, plan, Screen(Console(file=io.StringIO())))

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run.executor, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.end()
    assert isinstance(list(read(run.folder.path))[-1], Ended)
    assert (run.folder.path / "report.html").exists()
    assert list((tmp_path / "runs").iterdir()) == []
