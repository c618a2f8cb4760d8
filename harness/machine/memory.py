"""What the kernel tells of memory that ran out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_MACHINE = Path("/proc/vmstat")


def memory_kills() -> int:
    """Return how many processes the kernel has killed so far because memory ran out.

    Those of this process's control group, where what it starts is, too: a neighbour's container
    that ran out of memory is in another one. Of the whole machine where there are no groups; 0
    where the kernel tells nothing.
    """
    for file in (*_counts_of_group(), _MACHINE):
        try:
            lines = file.read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _counts_of_group() -> Iterator[Path]:
    """Yield where the count of this process's group may be, as cgroups(7) has it."""
    try:
        lines = _OWN.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        below = path.lstrip("/")
        if not controllers:
            # The one hierarchy of version 2. Of the nearest group that counts memory: one that was
            # made below it (control_group.py) does not, and the root group has no such file.
            for group in (Path(below), *Path(below).parents):
                yield _GROUPS / group / "memory.events"
        elif "memory" in controllers.split(","):
            yield _GROUPS / "memory" / below / "memory.oom_control"
