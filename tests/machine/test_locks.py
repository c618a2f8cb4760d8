"""A run lives as long as its lock is held, and no longer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.machine import locks
from harness.machine.errors import UsageError
from harness.machine.locks import RunLock, claim_if_dead, is_alive, lock_path


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    return tmp_path / "runs"


def test_a_run_lives_until_it_ends(tmp_path: Path) -> None:
    lock = RunLock("run", tmp_path)
    assert is_alive(lock.path)
    with claim_if_dead(lock.path) as folder:
        assert folder is None
    lock.release()
    assert not is_alive(lock.path)
    assert not lock.path.exists()


def test_a_killed_run_is_dead_and_its_folder_known(runs: Path, tmp_path: Path) -> None:
    script = (
        "import os, pathlib, signal\n"
        "from harness.machine import locks\n"
        f"locks.RUNS = pathlib.Path({str(runs)!r})\n"
        f"lock = locks.RunLock('killed', pathlib.Path({str(tmp_path)!r}))\n"
        "assert locks.is_alive(lock.path)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=Path(locks.__file__).parents[2], check=False)

    assert lock_path("killed").exists()
    assert not is_alive(lock_path("killed"))
    with claim_if_dead(lock_path("killed")) as folder:
        assert folder == tmp_path
    assert not lock_path("killed").exists()


def test_a_lock_that_lost_what_it_said_means_nobodys_folder() -> None:
    lock = lock_path("lost")
    lock.parent.mkdir()
    lock.touch()
    with claim_if_dead(lock) as folder:
        assert folder is None
    assert not lock.exists()


def test_a_run_that_is_being_cleaned_cannot_be_claimed_again(tmp_path: Path) -> None:
    lock = lock_path("dead")
    lock.parent.mkdir()
    lock.write_text(str(tmp_path))
    with claim_if_dead(lock) as first, claim_if_dead(lock) as second:
        assert (first, second) == (tmp_path, None)


def test_of_two_who_go_on_with_a_run_one_gets_it(tmp_path: Path) -> None:
    lock = RunLock("run", tmp_path)
    with pytest.raises(UsageError, match="the run run goes on elsewhere"):
        RunLock("run", tmp_path)
    assert is_alive(lock.path)
    lock.release()
    assert list(lock.path.parent.iterdir()) == []
