"""What left session, environment and folder is found, where there are control groups."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from harness.machine import control_group, locks
from harness.machine.control_group import end_group, enter_group, in_group, noted_groups
from harness.machine.errors import InfraError
from harness.machine.processes import marked_processes, wait_until
from harness.machine.strays import strays
from tests.machine.daemon import DAEMON, daemons, group_parents


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(locks, "RUNS", tmp_path)
    run = f"test-{uuid4().hex[:8]}"
    yield run
    end_group(run)


UNIFIED = Path("/sys/fs/cgroup/unified")
"""Where version 2 is mounted beside version 1."""


@pytest.fixture(params=["of this machine", "version 2 beside version 1"])
def group(request, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a group that this process is in."""
    parents = group_parents()
    if request.param != "of this machine":
        parents = [UNIFIED] if os.access(UNIFIED / "cgroup.procs", os.W_OK) else []
        (tmp_path / "own").write_text("0::/\n", encoding="ascii")
        monkeypatch.setattr(control_group, "_OWN", tmp_path / "own")
        monkeypatch.setattr(control_group, "_GROUPS", UNIFIED)
    if not parents:
        pytest.skip("the system lets this process make no control group below its own")
    enter_group(run)
    assert noted_groups() == [run]
    group = Path((locks.RUNS / f"{run}.group").read_text(encoding="utf-8"))
    assert group.parent in parents
    assert str(os.getpid()) in (group / "cgroup.procs").read_text(encoding="ascii").split()
    return group


def ended(process: psutil.Process) -> bool:
    psutil.wait_procs([process], timeout=10)
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_daemon_that_left_everything_is_ended_with_its_group(
    run: str, group: Path, tmp_path: Path
):
    program = f"NAME = {run!r}\n{DAEMON}"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    wait_until(lambda: bool(daemons(run)), seconds=20, what="the daemon")
    (daemon,) = daemons(run)
    # Nothing else finds it.
    assert daemon.pid not in [pid for pid, _ in marked_processes()]
    assert list(strays(tmp_path)) == []
    assert in_group(run) == [daemon.pid]
    assert end_group(run) == [daemon.pid]
    assert ended(daemon)
    assert not group.exists()
    assert (end_group(run), in_group(run), list(tmp_path.glob("*group*"))) == ([], [], [])


def test_groups_of_two_runs_are_beside_each_other_and_go_with_what_is_below(
    run: str, group: Path, tmp_path: Path
):
    first = subprocess.Popen(["sleep", "600"])
    enter_group(f"{run}-other")
    second = subprocess.Popen(["sleep", "600"])
    below = group.with_name(f"{group.name}-other") / "own" / "lower"
    below.mkdir(parents=True)
    (below / "cgroup.procs").write_text(str(second.pid))
    assert sorted(noted_groups()) == [run, f"{run}-other"]
    assert end_group(run) == [first.pid]
    assert in_group(f"{run}-other") == [second.pid]
    assert end_group(f"{run}-other") == [second.pid]
    assert {first.wait(), second.wait()} == {-9}
    assert not below.parents[1].exists()
    assert list(tmp_path.glob("*group*")) == []


def refused(folder: Path) -> str:
    """Groups that this process may not share: there is none, or no folder can be made there."""
    (folder / "freezer").mkdir()
    (folder / "freezer" / "cgroup.procs").symlink_to(folder / "absent" / "file")
    return "6:freezer:/\n0::/\n"


def unlike(folder: Path) -> str:
    """A file system that takes a folder, and is none of control groups."""
    (folder / "cgroup.procs").touch()
    return "0::/\n"


@pytest.mark.parametrize("told", [refused, unlike, lambda _: "6:freezer:/../..\n", None])
def test_where_no_group_is_to_be_had_nothing_happens(
    run: str, tmp_path: Path, monkeypatch, told: Callable[[Path], str] | None
):
    groups = tmp_path / "groups"
    groups.mkdir()
    if told is not None:
        (tmp_path / "own").write_text(told(groups), encoding="ascii")
    monkeypatch.setattr(control_group, "_OWN", tmp_path / "own")
    monkeypatch.setattr(control_group, "_GROUPS", groups)
    enter_group(run)
    assert noted_groups() == []
    assert not list(groups.rglob("metaflow-compat-*"))
    assert end_group(run) == []


def test_a_note_that_lost_what_it_said_means_no_folder(run: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    enter_group(run)
    end_group(run)
    locks.RUNS.mkdir(exist_ok=True)
    (locks.RUNS / f"{run}.group").touch()
    assert end_group(run) == []
    assert noted_groups() == []
    assert (tmp_path / "empty").is_dir()


def test_a_group_that_refuses_to_go_stays_noted(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(control_group, "_GONE_SECONDS", 0.1)
    folder = tmp_path / f"metaflow-compat-{run}"
    (folder / "below").mkdir(parents=True)
    (folder / "file").touch()
    (tmp_path / f"{run}.group").write_text(str(folder))
    with pytest.raises(InfraError, match=rf"^{folder} could not be removed, .* not empty$"):
        end_group(run)
    # Nor does who goes on with the run lose it.
    with pytest.raises(InfraError, match=rf"^{folder} could not be removed"):
        enter_group(run)
    assert noted_groups() == [run]
    assert (tmp_path / f"{run}.group").read_text() == str(folder)
    (folder / "file").unlink()
    folder.rmdir()
    assert end_group(run) == []
    assert noted_groups() == []


def test_a_group_that_is_busy_for_a_moment_goes(run: str, tmp_path: Path):
    folder = tmp_path / f"metaflow-compat-{run}"
    folder.mkdir()
    (folder / "file").touch()
    (tmp_path / f"{run}.group").write_text(str(folder))
    later = threading.Timer(0.3, (folder / "file").unlink)
    later.start()
    assert end_group(run) == []
    later.join()
    assert not folder.exists()
    assert noted_groups() == []


def test_what_one_of_a_group_refuses_keeps_no_other_alive(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(control_group, "_GONE_SECONDS", 0.1)
    folder = tmp_path / f"metaflow-compat-{run}"
    # Of the kind that tells nothing, as a threaded one does.
    (folder / "below" / "cgroup.procs").mkdir(parents=True)
    members = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]
    (folder / "cgroup.procs").write_text("".join(f"{one.pid}\n" for one in members))
    (tmp_path / f"{run}.group").write_text(str(folder))
    kill, refused = os.kill, set[int]()

    def refusing(pid: int, number: int) -> None:
        """Refuse the first that is asked for, as one of another user does."""
        if not refused or pid in refused:
            refused.add(pid)
            raise PermissionError(errno.EPERM, "not yours")
        kill(pid, number)

    monkeypatch.setattr(os, "kill", refusing)
    with pytest.raises(InfraError, match="could not be removed"):
        end_group(run)
    monkeypatch.setattr(os, "kill", kill)
    by_refusal = {one.pid in refused: one for one in members}
    try:
        assert by_refusal[False].wait(10) == -signal.SIGKILL
        assert by_refusal[True].poll() is None
    finally:
        for one in members:
            one.kill()
            one.wait(10)
    (folder / "cgroup.procs").unlink()


def test_a_group_that_a_killed_run_did_not_get_to_make_is_none(run: str, tmp_path: Path):
    (tmp_path / f"{run}.group").write_text(str(tmp_path / f"metaflow-compat-{run}"))
    assert in_group(run) == end_group(run) == []
    assert noted_groups() == []


def test_this_process_is_where_it_was(run: str, group: Path):
    def own() -> str:
        return Path("/proc/self/cgroup").read_text(encoding="ascii")

    assert group.name in own()
    assert os.getpid() not in in_group(run)
    end_group(run)
    assert group.name not in own()
