"""What a killed run left in its control group goes; and, by name, what one kept in a bucket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from harness.cli.clean import clean, clean_main
from harness.machine import control_group, locks
from harness.machine.control_group import in_group, noted_groups
from harness.machine.errors import InfraError
from harness.machine.processes import wait_until
from harness.machine.tools import ROOT
from harness.stack.database.server import Address
from harness.stack.kept_stack import Kept, all_kept
from harness.stack.store.noted import all_noted, note
from harness.stack.store.objects import ObjectStore, S3Root
from tests.machine.daemon import DAEMON, daemons, group_parents

# As nox is: it goes into the group, and is killed.
RUN = """
import os, signal, subprocess, sys
from pathlib import Path
from harness.machine import locks
from harness.machine.control_group import enter_group
from harness.machine.locks import RunLock

folder, run, daemon = sys.argv[1:]
locks.RUNS = Path(folder)
lock = RunLock(run, Path(folder) / "run")
enter_group(run)
subprocess.run([sys.executable, "-c", daemon], check=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def run_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(locks, "RUNS", tmp_path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    return f"test-{uuid4().hex[:8]}"


@pytest.fixture
def killed(run_id: str, tmp_path: Path) -> Iterator[str]:
    """A run that was killed, of which a daemon lives that left all else."""
    words = [sys.executable, "-c", RUN, str(tmp_path), run_id, f"NAME = {run_id!r}\n{DAEMON}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(words, env=env, check=False).returncode == -signal.SIGKILL
    wait_until(lambda: bool(daemons(run_id)), seconds=20, what="the daemon")
    # It stays where this process is let make one, or the run has failed to.
    if not group_parents():
        for one in daemons(run_id):
            one.kill()
        pytest.skip("the system lets this process make no control group below its own")
    yield run_id
    for one in daemons(run_id):
        one.kill()


def ended(process: psutil.Process) -> bool:
    psutil.wait_procs([process], timeout=10)
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_daemon_that_left_everything_goes(killed: str, tmp_path: Path):
    (daemon,) = daemons(killed)
    work = tmp_path / "run" / "work"
    dry = f"would remove the processes of {killed} ({daemon.pid})"
    assert list(clean(dry=True))[1:] == [dry]
    assert in_group(killed) == [daemon.pid]
    assert list(clean())[1:] == [f"{killed}: ended 1 processes, removed its working folder"]
    assert ended(daemon)
    assert not work.exists()
    assert list(tmp_path.iterdir()) == []
    assert list(clean())[1:] == []


def test_so_does_what_a_run_could_not_end_itself(killed: str, tmp_path: Path):
    (daemon,) = daemons(killed)
    # As when it refused to go: the run ended all the same, and its lock is gone.
    locks.lock_path(killed).unlink()
    assert list(clean(dry=True))[1:] == [
        f"would remove the control group of {killed}, with the processes {daemon.pid}"
    ]
    assert list(clean())[1:] == [f"{killed}: ended 1 processes, removed their control group"]
    assert ended(daemon)
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_kept_in_a_bucket_goes_when_it_is_named(
    run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    root, folder = S3Root("bucket", f"p/{run_id}"), tmp_path / "run"
    store = {"s3": {"root": root.url, "endpoint": "http://127.0.0.1:1"}}
    place = {"home": str(tmp_path / "home"), "binaries": ""}
    address = Address("127.0.0.1", 1, "somebody", "", "there")
    Kept(run_id, folder, "embedded", "reference-2.5", address, place, store).write()
    (folder / "work").mkdir(parents=True)
    note(run_id, root, "http://127.0.0.1:1")  # as when it could not be listed at the end
    would = f"would remove the objects of {run_id} in {root.url} at http://127.0.0.1:1"
    assert would not in clean(dry=True)
    assert would in clean([run_id], dry=True)
    monkeypatch.setattr(ObjectStore, "remove", lambda *_: 3)
    assert [one.run for one in all_kept()] == [run_id] == list(all_noted())
    assert list(clean([run_id]))[-1] == f"{run_id}: removed 3 objects in {root.url}"
    assert all_noted() == {}
    assert all_kept() == []


def test_so_does_what_one_kept_there_and_nowhere_else(run_id: str, monkeypatch: pytest.MonkeyPatch):
    note(run_id, S3Root("bucket", f"p/{run_id}"), "http://127.0.0.1:1", kept=True)
    monkeypatch.setattr(ObjectStore, "remove", lambda *_: 3)
    stays = f"{run_id}: kept as asked for; remove it with: nox -s clean -- {run_id}"
    assert list(clean())[1:] == list(clean(dry=True))[1:] == [stays]
    assert list(all_noted()) == [run_id]
    assert list(clean([run_id]))[1:] == [f"{run_id}: removed 3 objects in s3://bucket/p/{run_id}"]
    assert all_noted() == {}


def test_a_group_that_refuses_keeps_nothing_else_from_going(
    run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setattr(control_group, "_GONE_SECONDS", 0.1)
    group, saved = tmp_path / f"metaflow-compat-{run_id}", tmp_path / "run" / "saved"
    (group / "file").mkdir(parents=True)
    (group / "file" / "file").touch()
    saved.mkdir(parents=True)
    (tmp_path / f"{run_id}.group").write_text(str(group))
    (tmp_path / f"{run_id}.saved").write_text(str(saved))
    note(run_id, S3Root("bucket", f"p/{run_id}"), "http://127.0.0.1:1")
    monkeypatch.setattr(ObjectStore, "remove", lambda *_: 3)
    with pytest.raises(InfraError, match=f"^{group} could not be removed, and stays known"):
        clean_main([run_id])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == [
        f"{run_id}: removed 3 objects in s3://bucket/p/{run_id}",
        f"{run_id}: removed the saved stages of its walk",
    ]
    assert all_noted() == {}
    assert not saved.exists()
    assert noted_groups() == [run_id]
    (group / "file" / "file").unlink()
    assert f"{run_id}: ended 0 processes, removed their control group" in clean()
