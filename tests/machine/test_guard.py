"""Of a run that is killed its guard removes what clients stored, and no more."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from harness.machine.guard import Guard
from harness.machine.processes import kill_marked, marked_processes, wait_until
from harness.machine.tools import ROOT

# As nox is: it starts a guard, a client and a database, and is killed or dismisses the guard.
RUN = """
import os, signal, subprocess, sys
from pathlib import Path
from harness.machine.guard import Guard

run, work, how = sys.argv[1:]
guard = Guard(run, Path(work), spared_mark="databases", spared_files="postgres*")
writes = '''
import pathlib, sys
while True:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "0.task_stdout.log").write_text("a secret")
'''
folders = {"cell": f"{work}/cell/data", "databases/postgres": f"{work}/postgres/data"}
for part, folder in folders.items():
    command = [sys.executable, "-c", writes, folder]
    env = {**os.environ, "METAFLOW_COMPAT_MARK": f"{run}/{part}"}
    subprocess.Popen(command, env=env, start_new_session=True)
(Path(work) / "answer.json").write_text("a secret")
(Path(work) / "link").symlink_to("postgres")
while not all(map(os.path.exists, folders.values())):
    pass
if how == "dismissed":
    guard.dismiss()
    guard.dismiss()
os.killpg(0, signal.SIGKILL)
"""


@pytest.fixture
def run_id() -> Iterator[str]:
    name = f"test-{uuid4().hex[:8]}"
    yield name
    kill_marked(lambda mark: mark.partition("/")[0] == name)


def marks(run: str) -> list[str]:
    return sorted(mark for _, mark in marked_processes() if mark.partition("/")[0] == run)


@pytest.mark.parametrize("how", ["killed", "dismissed"])
def test_what_clients_stored_goes_with_a_killed_run(tmp_path: Path, run_id: str, how: str):
    words = [sys.executable, "-c", RUN, run_id, str(tmp_path), how]
    done = subprocess.run(words, cwd=ROOT, start_new_session=True, check=False)
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: run_id not in marks(run_id), seconds=20, what="the end of the guard")
    there = {path.name for path in tmp_path.iterdir()}
    if how == "killed":
        # As clean needs it.
        assert there == {"postgres"}
        assert marks(run_id) == [f"{run_id}/databases/postgres"]
    else:
        assert there == {"postgres", "cell", "answer.json", "link"}
        assert marks(run_id) == [f"{run_id}/cell", f"{run_id}/databases/postgres"]
    assert (tmp_path / "postgres/data").is_dir()


def test_a_guard_that_somebody_killed_can_be_dismissed(tmp_path: Path, run_id: str):
    guard = Guard(run_id, tmp_path, spared_mark="databases", spared_files="postgres*")
    assert kill_marked(lambda mark: mark == run_id)
    guard.dismiss()
    guard.dismiss()
