"""The end of a run: all of it is done, whatever becomes of a part of it."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator
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


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Run]]:
    """Begins a run of a cell, as often as it is called."""
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    given = ["--metaflow", CLIENT, "--probe", "hello", "--results", str(tmp_path / "results")]
    options = parse("local", given, load())
    plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
    before = signal.getsignal(signal.SIGTERM)
    yield lambda: Run(options, plan, Screen(Console(file=io.StringIO())))
    signal.signal(signal.SIGTERM, before)


def test_the_end_of_a_run_leaves_another_of_this_process_one_that_unwinds(begin):
    first, second = begin(), begin()
    first.end()
    with pytest.raises(SystemExit) as told:
        os.kill(os.getpid(), signal.SIGTERM)
    assert told.value.code == 128 + signal.SIGTERM
    second.end()
    assert isinstance(list(read(second.folder.path))[-1], Ended)


def test_an_interrupt_at_the_end_takes_nothing_of_it(begin, tmp_path, monkeypatch):
    run = begin()

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run.executor, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.end()
    assert isinstance(list(read(run.folder.path))[-1], Ended)
    assert (run.folder.path / "report.html").exists()
    assert list((tmp_path / "runs").iterdir()) == []
