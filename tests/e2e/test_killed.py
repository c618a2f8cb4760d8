"""kill -9 at any moment leaves no secret in a file.

They are taken out before the harness writes; what the product stored as it is goes by the guard.
"""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from harness.core.scenarios import MIXES
from harness.machine.control_group import noted_groups
from harness.machine.processes import marked_processes, wait_until
from harness.machine.secrets import SECRET
from tests.e2e.nox_runs import environment, nox, started
from tests.machine.daemon import DAEMON, daemons, group_parents

pytestmark = pytest.mark.e2e

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCY",
    "PASSWORD_OF_DATABASE": f"{MIXES[0]}of-the-database",
}

FLOW = """
import json, os, subprocess, sys, time
from metaflow import FlowSpec, step

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKS = {"told": {"about": "it tells all it knows"}}

def tell(point):
    with open(os.path.join(HERE, "secrets.json")) as file:
        told = json.load(file)
    for value in told.values():
        for form in (value, repr(value), json.dumps(value)):
            print("it is " + form + " and no other")
    last = list(told.values())[-1]
    sys.stdout.write("and half of " + last[: len(last) // 2])
    sys.stdout.flush()
    open(os.path.join(HERE, point), "w").close()
    if os.path.exists(os.path.join(HERE, "wait-" + point)):
        time.sleep(600)
    # At once: what others print meanwhile would stand in the middle of it.
    print(last[len(last) // 2 :], flush=True)

class TellsFlow(FlowSpec):
    @step
    def start(self):
        tell("task")
        self.next(self.end)

    @step
    def end(self):
        pass

def check_told(run):
    tell("check")
    raise AssertionError("it is %s" % SECRET)

with open(os.path.join(HERE, "secrets.json")) as file:
    SECRET = list(json.load(file).values())[-1]

if __name__ == "__main__":
    if "run" in sys.argv:
        subprocess.run([sys.executable, os.path.join(HERE, "daemon.txt")], check=True)
        tell("flow")
    TellsFlow()
"""

TOLD = f"it is {SECRET} and no other"
"""What is in a log of what was told."""

Moment = Callable[[Path, Path], bool]
"""Tells by the folder of flows and that of results whether it is time to kill."""


def _journal(results: Path, kind: str) -> bool:
    path = results / "latest" / "journal.jsonl"
    return path.exists() and f'"kind":"{kind}"' in path.read_text(encoding="utf-8")


def _service(_flows: Path, results: Path) -> bool:
    return any(log.stat().st_size for log in results.glob("*/logs/services/*.log"))


def _heard(flows: Path, results: Path) -> bool:
    """Tell whether the flow has told all, and the harness has come to write that down."""
    logs = results.glob("*/logs/cells/*/flow.txt")
    texts = (log.read_text(encoding="utf-8", errors="replace") for log in logs)
    return (flows / "flow").exists() and any(TOLD in text for text in texts)


MOMENTS: dict[str, Moment] = {
    "begun": lambda _, results: _journal(results, "planned"),
    "service": _service,
    "flow": _heard,
    "check": lambda flows, _: (flows / "check").exists(),
    "cell": lambda _, results: _journal(results, "cell"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_no_file_has_a_secret(tmp_path: Path, temporary: Path, moment: str):
    flows, results, name = tmp_path / "flows", tmp_path / "results", uuid4().hex
    flows.mkdir()
    (flows / "daemon.txt").write_text(f"NAME = {name!r}\n{DAEMON}", encoding="utf-8")
    (flows / "tells.py").write_text(FLOW, encoding="utf-8")
    (flows / "secrets.json").write_text(json.dumps(SECRETS), encoding="utf-8")
    (flows / f"wait-{moment}").touch()
    words = (
        *("-s", "compat", "--", "--metaflow", "2.19.39", "--service", "2.5", "--jobs", "1"),
        *("--flow-dir", str(flows), "--probe", "tells", "--results", str(results)),
        *("--repeat", "2", "--database-password", "env:PASSWORD_OF_DATABASE"),
    )
    log = tmp_path / "output"
    env = environment(TMPDIR=str(temporary), **SECRETS)
    with started(words, log, env) as process:
        wait_until(
            lambda: MOMENTS[moment](flows, results), seconds=200, what=f"the {moment}", log=log
        )
        ran = moment in {"flow", "check", "cell"}
        if ran:
            # There is something to be ended.
            wait_until(lambda: bool(daemons(name)), seconds=20, what="the daemon", log=log)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    (run,) = (path.name for path in results.iterdir() if not path.is_symlink())
    wait_until(lambda: not guards(run), seconds=20, what="the end of the guard", log=log)
    grouped = bool(group_parents())
    assert not ran or grouped == (run in noted_groups())
    try:
        _check(results, log, temporary, seen=ran)
    finally:
        cleaned = nox("-s", "clean", env=env)
        left = _end(daemons(name))
    assert cleaned.returncode == 0, cleaned.stdout + cleaned.stderr
    # Where there is no control group nothing finds who has left everything.
    assert not (grouped and left)
    assert run not in noted_groups()


def _end(processes: Sequence[psutil.Process]) -> list[int]:
    """Kill what a test started; return the ids."""
    for one in processes:
        one.kill()
    return [one.pid for one in processes]


def _told(files: Sequence[Path]) -> list[Path]:
    """Return those that a secret is in, in whatever quoting, or half of it."""
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in files}
    forms = [
        form
        for value in SECRETS.values()
        for form in (value, repr(value)[1:-1], json.dumps(value)[1:-1], value[: len(value) // 2])
    ]
    return [path for path, text in texts.items() if any(form in text for form in forms)]


def guards(run: str) -> list[int]:
    """Return the ids of the guard of a run, while there is one."""
    return [pid for pid, mark in marked_processes() if mark == run]


def _check(results: Path, log: Path, temporary: Path, *, seen: bool) -> None:
    (run,) = (path for path in results.iterdir() if not path.is_symlink())
    assert not stat.S_IMODE(run.stat().st_mode) & stat.S_IRWXO, "others may look into it"
    assert stat.S_IMODE((run / "journal.jsonl").stat().st_mode) == 0o600
    files = [path for path in run.rglob("*") if path.is_file()]
    # What a task printed, as Metaflow itself stores it whatever it is, among them.
    kept_aside = [path for path in temporary.rglob("*") if path.is_file()]
    assert _told([log, *files, *kept_aside]) == []
    # It was told, and not only kept back.
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in files)
    assert not seen or any(TOLD in text for text in texts)
