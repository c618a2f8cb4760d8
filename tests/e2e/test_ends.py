"""How a run ends before its time: a cell that hangs, Ctrl-C, SIGTERM; and what it leaves."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from uuid import uuid4

import pytest

from harness.core.outcome import Status
from harness.machine.processes import wait_until
from tests.e2e.nox_runs import (
    NoxRun,
    end,
    environment,
    finished_run,
    leftovers,
    run,
    started,
)
from tests.machine.daemon import DAEMON, daemons, group_parents

pytestmark = pytest.mark.e2e

PLAIN = """
from metaflow import FlowSpec, step

class PlainFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    PlainFlow()
"""

# The step starts a program that leaves its process group, says who it is, and waits for ever, and a
# daemon that leaves all it can.
HANGS = """
import subprocess, sys, time
from metaflow import FlowSpec, step

class HangsFlow(FlowSpec):
    @step
    def start(self):
        sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
        child = subprocess.Popen(sleep, start_new_session=True)
        with open({pids!r}, "a") as file:
            file.write("%d " % child.pid)
        subprocess.run([sys.executable, "-c", {daemon!r}], check=True)
        time.sleep(600)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    HangsFlow()
"""


# The first time somebody kills its task, and nothing that was printed says so.
KILLED = PLAIN.replace("PlainFlow", "KilledFlow").replace(
    "        self.next(self.end)",
    """        import os
        try:
            open({once!r}, "x").close()
            os.kill(os.getpid(), 9)
        except FileExistsError:
            pass
        self.next(self.end)""",
)


class _Flows:
    """A folder of probes: a plain flow, one that hangs and one whose task is killed."""

    def __init__(self, folder: Path) -> None:
        self.name = uuid4().hex
        self.pids = folder / "pids"
        self.folder = folder / "flows"
        self.folder.mkdir()
        (self.folder / "plain.py").write_text(PLAIN, encoding="utf-8")
        hangs = HANGS.format(pids=str(self.pids), daemon=f"NAME = {self.name!r}\n{DAEMON}")
        (self.folder / "hangs.py").write_text(hangs, encoding="utf-8")
        killed = KILLED.format(once=str(folder / "once"))
        (self.folder / "killed.py").write_text(killed, encoding="utf-8")

    @property
    def hanging(self) -> list[int]:
        """The programs that hanging steps have started."""
        text = self.pids.read_text(encoding="utf-8") if self.pids.exists() else ""
        return [int(pid) for pid in text.split()]

    def check_gone(self) -> None:
        """Fail when a program of a hanging step still runs."""
        assert self.hanging
        for pid in self.hanging:
            assert not _sleeps(pid), f"{pid} still runs"
        left = daemons(self.name)
        for one in left:
            one.kill()
        # Where there is no control group nothing finds who has left everything.
        assert left == [] or not group_parents()


def _sleeps(pid: int) -> bool:
    try:
        return b"time.sleep(600)" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module")
def flows(tmp_path_factory) -> _Flows:
    return _Flows(tmp_path_factory.mktemp("flows"))


@pytest.fixture(scope="module")
def timed_out(flows, tmp_path_factory) -> NoxRun:
    """A run of all of them, without a service."""
    return run(
        "local",
        tmp_path_factory.mktemp("results"),
        *("--metaflow", "2.19.39", "--flow-dir", str(flows.folder), "--probe", "all"),
        *("--timeout", "30"),
    )


def test_a_hanging_flow_is_a_timeout(timed_out, flows):
    assert timed_out.code != 0, timed_out.output
    hangs = next(cell for cell in timed_out.cells if cell["probe"] == "hangs")
    assert hangs["status"] == "timeout"
    assert hangs["checks"]["run"]["reason"] == "flow was not done within 30 s (--timeout)"
    assert 30 <= hangs["seconds"] < 60
    assert f"--probe hangs --datastore local --flow-dir {flows.folder}" in hangs["rerun"]


def test_nothing_of_a_hanging_flow_is_left(timed_out, flows):
    flows.check_gone()
    assert leftovers(timed_out.folder.parent) == []


def test_a_task_that_is_killed_is_infra_and_done_again(timed_out):
    first, second = (entry for entry in timed_out.view.attempts if entry.probe == "killed")
    assert (first.status, second.status) == (Status.INFRA, Status.PASS)
    assert first.checks["run"].reason == "a task was killed from outside, by SIGKILL"


def test_a_plain_flow_has_the_single_check_run(timed_out):
    plain = next(cell for cell in timed_out.cells if cell["probe"] == "plain")
    assert {name: check["status"] for name, check in plain["checks"].items()} == {"run": "pass"}
    assert plain["service"] is None


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def interrupted(request, temporary, tmp_path) -> tuple[NoxRun, _Flows]:
    """A compat run that got a signal while a flow hung."""
    flows = _Flows(tmp_path)
    results = tmp_path / "results"
    words = (
        *("-s", "compat", "--", "--metaflow", "2.19.39", "--service", "2.5"),
        *("--flow-dir", str(flows.folder), "--probe", "hangs", "--results", str(results)),
    )
    log = tmp_path / "output"
    with started(words, log, environment(TMPDIR=str(temporary))) as process:
        wait_until(lambda: bool(flows.hanging), seconds=120, what="the hanging flow", log=log)
        wait_until(lambda: bool(daemons(flows.name)), seconds=20, what="its daemon", log=log)
        code = end(process, request.param)
    return finished_run(code, log.read_text(encoding="utf-8"), results), flows


def test_a_signal_ends_everything_and_the_reports_are_written(interrupted, temporary):
    found, flows = interrupted
    assert found.code != 0
    assert "Traceback" not in found.output
    flows.check_gone()
    assert leftovers(found.folder.parent) == []
    assert list(temporary.iterdir()) == []
    assert found.entries[-1]["kind"] == "end"
    results = json.loads((found.folder / "results.json").read_text(encoding="utf-8"))
    assert [len(entry["cells"]) for entry in found.entries if entry["kind"] == "planned"] == [1]
    assert "pass" not in results["totals"]
    assert not results["green"]
    assert f"results: {found.folder}" in found.output
