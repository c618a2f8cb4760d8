"""kill -9 at any moment leaves no secret in a file: they are taken out before it is written."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.scenarios import MIXES
from harness.machine.processes import wait_until
from harness.machine.secrets import SECRET
from tests.e2e.nox_runs import environment, nox, started

pytestmark = pytest.mark.e2e

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCY",
    "PASSWORD_OF_DATABASE": f"{MIXES[0]}of-the-database",
}

# Not in a task, whose output Metaflow itself stores beside its data.
FLOW = """
import json, os, sys, time
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
        tell("flow")
    TellsFlow()
"""

Moment = Callable[[Path, Path], bool]
"""Tells by the folder of flows and that of results whether it is time to kill."""


def _journal(results: Path, kind: str) -> bool:
    path = results / "latest" / "journal.jsonl"
    return path.exists() and f'"kind":"{kind}"' in path.read_text(encoding="utf-8")


def _service(_flows: Path, results: Path) -> bool:
    return any(log.stat().st_size for log in results.glob("*/logs/services/*.log"))


MOMENTS: dict[str, Moment] = {
    "begun": lambda _, results: _journal(results, "planned"),
    "service": _service,
    "flow": lambda flows, _: (flows / "flow").exists(),
    "check": lambda flows, _: (flows / "check").exists(),
    "cell": lambda _, results: _journal(results, "cell"),
}


@pytest.mark.parametrize(
    "moment",
    [
        *("flow", "cell"),
        *(pytest.param(one, marks=pytest.mark.exhaustive) for one in ("begun", "service", "check")),
    ],
)
def test_no_file_has_a_secret(tmp_path: Path, temporary: Path, moment: str):
    flows, results = tmp_path / "flows", tmp_path / "results"
    flows.mkdir()
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
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    try:
        _check(results, log, seen=moment in {"flow", "check", "cell"})
    finally:
        cleaned = nox("-s", "clean", env=env)
    assert cleaned.returncode == 0, cleaned.stdout + cleaned.stderr


def _check(results: Path, log: Path, *, seen: bool) -> None:
    (run,) = (path for path in results.iterdir() if not path.is_symlink())
    assert not stat.S_IMODE(run.stat().st_mode) & stat.S_IRWXO, "others may look into it"
    assert stat.S_IMODE((run / "journal.jsonl").stat().st_mode) == 0o600
    files = [log, *(path for path in run.rglob("*") if path.is_file())]
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in files}
    for value in SECRETS.values():
        for form in (value, repr(value)[1:-1], json.dumps(value)[1:-1], value[: len(value) // 2]):
            assert [path for path, text in texts.items() if form in text] == []
    # It was told, and not only kept back.
    assert not seen or any(f"it is {SECRET} and no other" in text for text in texts.values())
