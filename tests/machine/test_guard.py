"""Of a run that is killed its guard removes what clients stored, and no more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from harness.machine import guard as guard_module
from harness.machine import locks
from harness.machine.control_group import end_group, enter_group, in_group
from harness.machine.errors import InfraError
from harness.machine.guard import Guard
from harness.machine.processes import MARK, kill_marked, marked_processes, wait_until
from harness.machine.tools import ROOT
from tests.machine.daemon import group_parents

# The one in the client's place starts one task after another: who is just being started is in no
# list of processes.
STORES = """
import os, pathlib, sys, time
folder, forks = pathlib.Path(sys.argv[1]), sys.argv[2] == "forks"
while True:
    if forks and os.fork():
        time.sleep(0.03)
        os._exit(0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "0.task_stdout.log").write_text("a secret")
    time.sleep(0.02)
"""

# As nox is: it starts a guard, a client and a database, and is killed or dismisses the guard.
RUN = """
import os, signal, subprocess, sys
from pathlib import Path
from harness.machine.guard import Guard

run, work, how, stores = sys.argv[1:]
guard = Guard(run, Path(work), spared_mark="databases", spared_files="postgres*")
folders = {"cell": f"{work}/cell/data", "databases/postgres": f"{work}/postgres/data"}
for part, folder in folders.items():
    command = [sys.executable, "-c", stores, folder, "forks" if part == "cell" else ""]
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
    for _ in range(5):
        kill_marked(lambda mark: mark.partition("/")[0] == name)


def marks(run: str) -> set[str]:
    return {mark for _, mark in marked_processes() if mark.partition("/")[0] == run}


@pytest.mark.parametrize("how", ["killed", "dismissed"])
def test_what_clients_stored_goes_with_a_killed_run(tmp_path: Path, run_id: str, how: str):
    words = [sys.executable, "-c", RUN, run_id, str(tmp_path), how, STORES]
    done = subprocess.run(words, cwd=ROOT, start_new_session=True, check=False)
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: run_id not in marks(run_id), seconds=30, what="the end of the guard")
    there = {path.name for path in tmp_path.iterdir()}
    if how == "killed":
        # As clean needs it.
        assert there == {"postgres"}
        assert marks(run_id) == {f"{run_id}/databases/postgres"}
    else:
        assert there == {"postgres", "cell", "answer.json", "link"}
        assert marks(run_id) >= {f"{run_id}/databases/postgres"}
    assert (tmp_path / "postgres/data").is_dir()


@pytest.fixture
def guard(tmp_path: Path, run_id: str) -> Guard:
    (tmp_path / "work").mkdir()
    return Guard(run_id, tmp_path / "work", spared_mark="databases")


def end(guard: Guard) -> None:
    """Let a guard take this process for dead, and wait until it is done."""
    guard._process.communicate(timeout=30)
    assert guard._process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_guard_that_somebody_killed_or_stopped_is_dismissed(guard, number, monkeypatch):
    monkeypatch.setattr(guard_module, "_DISMISSED_SECONDS", 0.2)
    guard._process.send_signal(number)
    guard.dismiss()
    guard.dismiss()
    assert guard._process.returncode == -signal.SIGKILL


def test_a_guard_that_does_not_start_is_told(tmp_path, run_id, monkeypatch):
    monkeypatch.setattr(guard_module, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InfraError, match=f"the guard of {run_id} ended with exit code 1"):
        Guard(run_id, tmp_path, spared_mark="databases")


def test_a_guard_starts_where_python_looks_into_no_folder_by_itself(tmp_path, run_id, monkeypatch):
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.chdir(tmp_path)
    Guard(run_id, tmp_path, spared_mark="databases").dismiss()


def test_what_a_link_leads_to_stays(guard, tmp_path):
    of_somebody = tmp_path / "somebodys"
    (of_somebody / "folder").mkdir(parents=True)
    (tmp_path / "work" / "link").symlink_to(of_somebody)
    end(guard)
    assert list((tmp_path / "work").iterdir()) == []
    assert (of_somebody / "folder").is_dir()


def test_what_takes_the_place_of_the_folder_is_not_followed(guard, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "work").rmdir()
    (tmp_path / "work").symlink_to(tmp_path)
    end(guard)
    assert (tmp_path / "folder").is_dir()


def test_who_left_its_mark_is_found_where_it_works(guard, tmp_path):
    home = tmp_path / "work" / "cell"
    home.mkdir()
    environ = {name: value for name, value in os.environ.items() if name != MARK}
    left = subprocess.Popen(["sleep", "600"], cwd=home, env=environ, start_new_session=True)
    end(guard)
    assert left.wait(20) == -signal.SIGKILL


def test_the_end_of_one_run_leaves_the_guard_of_another_of_its_process(
    tmp_path, run_id, monkeypatch
):
    if not group_parents():
        pytest.skip("the system lets this process make no control group below its own")
    monkeypatch.setattr(locks, "RUNS", tmp_path)
    enter_group(run_id)
    second = Guard(f"{run_id}-other", tmp_path, spared_mark="databases")
    assert second._process.pid not in in_group(run_id)
    end_group(run_id)
    assert second._process.poll() is None
    second.dismiss()
