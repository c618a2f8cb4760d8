"""A control group for a run and all that it starts, where this process may make one below its own.

No process leaves it by itself, whatever it does to its session, its environment and its folder. Of
each run that has one a note lies beside its lock, which says where the group is.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from harness.machine import locks
from harness.machine.errors import InfraError
from harness.machine.files import write_whole
from harness.machine.processes import moments

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_MEMBERS = "cgroup.procs"
_PREFIX = "metaflow-compat-"
_SUFFIX = ".group"

# What was sent SIGKILL is gone in milliseconds, unless a disk or a network holds it.
_GONE_SECONDS = 5.0


def enter_group(run: str) -> None:
    """Make the group of a run, note it, and go into it; where none is to be had nothing happens.

    Args:
        run: id of the run, which holds its lock.

    Raises:
        InfraError: when the group that it had before, which is going on again, refuses to go.
    """
    # Its note would be written over, and nobody would know that one any more.
    end_group(run)
    for parent in _groups_to_share():
        group = parent / f"{_PREFIX}{run}"
        # Before it is there, and whole or not at all: no moment leaves a group that nobody knows.
        write_whole(_note(run), str(group).encode())
        # In a container, or as an ordinary user, most groups are not for this process to share.
        with contextlib.suppress(OSError):
            group.mkdir(exist_ok=True)
            _move_into(group)
            return
        with contextlib.suppress(OSError):
            group.rmdir()
        if not group.exists():
            _note(run).unlink()


def leave_group() -> None:
    """Go out of the group of whatever run this process is in; that of none is left alone."""
    for parent in _groups_to_share():
        # Where it may not, nothing could go in either.
        with contextlib.suppress(OSError):
            _move_into(parent)


def _groups_to_share() -> Iterator[Path]:
    """Yield the groups below which this process may make one, as cgroups(7) has it."""
    try:
        lines = _OWN.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # Of version 1 a hierarchy that counts nothing and that systemd leaves alone: in that of
        # memory what is started would be counted apart. In version 2 what happens in a group is
        # counted for those above it, too.
        if controllers not in {"freezer", ""}:
            continue
        group = _GROUPS / controllers / path.lstrip("/")
        # Beside that of another run of this process: when one ends the other goes on.
        group = group.parent if group.name.startswith(_PREFIX) else group
        # It is no group where version 2 is beside version 1, or another container's path is told.
        if (group / _MEMBERS).exists():
            yield group


def in_group(run: str) -> list[int]:
    """Return the ids of the processes in the group of a run, without this one."""
    group = _noted(run)
    return [] if group is None else sorted(_members(group) - {os.getpid()})


def end_group(run: str) -> list[int]:
    """Leave the group of a run, kill all that is left in it, and remove it. Safe twice.

    Returns:
        The ids of the processes that were killed.

    Raises:
        InfraError: when it refuses to go; it stays noted.
    """
    group = _noted(run)
    if group is None:
        return []
    try:
        if os.getpid() in _members(group):
            _move_into(group.parent)
        killed = _kill_and_remove(group)
    except OSError as error:
        raise InfraError(
            f"{group} could not be removed, and stays known to nox -s clean: {error.strerror}"
        ) from error
    _note(run).unlink(missing_ok=True)
    return sorted(killed)


def noted_groups() -> list[str]:
    """Return the runs that have a group."""
    return [path.stem for path in sorted(locks.RUNS.glob(f"*{_SUFFIX}"))]


def _move_into(group: Path) -> None:
    # Not made anew: in a folder of another kind there is none.
    with (group / _MEMBERS).open("r+", encoding="ascii") as members:
        members.write(str(os.getpid()))


def _members(group: Path) -> set[int]:
    """Return the ids of the processes in a group and those below it."""
    found: set[int] = set()
    for file in group.rglob(_MEMBERS) if group.exists() else ():
        # A group that somebody made below it may go meanwhile, or be of a kind that tells nothing.
        with contextlib.suppress(OSError):
            found.update(map(int, file.read_text(encoding="ascii").split()))
    # 0 is one that this process cannot see: in another container.
    return found - {0}


def _kill_and_remove(group: Path) -> set[int]:
    """Kill all that is in a group, remove it, and return the ids of what was killed.

    Raises:
        OSError: the last, when it does not go in time.
    """
    killed: set[int] = set()
    refusal: OSError | None = None
    # Again and again: one that is not killed yet may have started another, and what is killed may
    # keep the group a moment longer than it is told of as a member.
    for _ in moments(_GONE_SECONDS):
        left = _members(group)
        for pid in left:
            # Another one's is no reason to let these live; the group that it keeps says so.
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        killed |= left
        try:
            _remove(group)
        except OSError as error:
            refusal = error
        else:
            return killed
    assert refusal is not None, "a group was tried at least once"
    raise refusal


def _remove(group: Path) -> None:
    """Remove a group and those below it, the lowest first; what they tell goes with them."""
    if group.exists():
        for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            folder.rmdir()
        group.rmdir()


def _noted(run: str) -> Path | None:
    try:
        group = Path(_note(run).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if group.name == f"{_PREFIX}{run}":
        return group
    # A machine that lost its power lost what stood there: no other folder is meant.
    _note(run).unlink()
    return None


def _note(run: str) -> Path:
    return locks.RUNS / f"{run}{_SUFFIX}"
