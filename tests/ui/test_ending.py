"""What a UI run started goes with it, whatever it left: its mark, its session, its folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from harness.catalog.versions import load
from harness.cli.ui_options import parse_ui
from harness.machine import control_group, locks
from harness.machine.control_group import noted_groups
from harness.machine.errors import InfraError
from harness.machine.processes import wait_until
from harness.report.terminal import Screen
from harness.ui import run as ui_run
from harness.ui.run import UIRun, show
from tests.machine.daemon import DAEMON, daemons, group_parents


@pytest.mark.parametrize("grouped", [True, False])
def test_what_left_its_mark_goes_and_what_left_all_where_there_are_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grouped: bool
):
    if not grouped:
        monkeypatch.setattr(control_group, "_GROUPS", tmp_path)
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(ui_run, "needs_processes", lambda *_: "")
    started, name = list[subprocess.Popen[bytes]](), uuid4().hex

    def start(run: UIRun, *, processes: bool) -> None:  # noqa: ARG001 - as of a run
        work = run.folder / "work"
        work.mkdir()
        started.append(subprocess.Popen(["sleep", "600"], cwd=work, env={}, start_new_session=True))
        program = f"NAME = {name!r}\n{DAEMON}"
        subprocess.run([sys.executable, "-c", program], check=True)
        wait_until(lambda: bool(daemons(name)), seconds=20, what="the daemon")
        raise InfraError("it breaks")

    monkeypatch.setattr(UIRun, "_launcher", start)
    words = ("--ui-version", "v2.5.1", "--results", str(tmp_path / "results"))
    options = parse_ui([*words, "--database-url", "postgresql://u@127.0.0.1:1/db"], load())
    try:
        with pytest.raises(InfraError, match="it breaks"):
            show(options, load(), Screen())
        assert started[0].wait(10) == -9
        psutil.wait_procs(daemons(name), timeout=10 if grouped else 0)
        assert daemons(name) == [] or not (grouped and group_parents())
        assert noted_groups() == []
        assert list((tmp_path / "results").iterdir()) == []
    finally:
        for one in (*started, *daemons(name)):
            one.kill()
