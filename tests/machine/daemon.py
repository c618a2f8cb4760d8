"""A program whose daemon leaves all that a process can leave."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

_NAME = "daemon-of-{}"

DAEMON = """
import os, sys
for _ in range(2):
    if os.fork():
        os._exit(0)
    os.setsid()
os.chdir("/")
os.closerange(0, 1024)
waits = "import signal; signal.alarm(600); signal.pause()"
os.execve(sys.executable, [sys.executable, "-c", waits, "daemon-of-" + NAME], {})
"""
"""Code below a line that sets NAME. It forks twice, has a session of its own, no file, no variable,
and is in no folder of a run's."""


def group_parents() -> list[Path]:
    """Return the control groups below which the system lets this process make one.

    Asked of the system alone, and not of the code that is under test.
    """
    groups, own = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
    lines = own.read_text(encoding="ascii").splitlines() if own.exists() else []
    told = [line.split(":", 2)[1:] for line in lines]
    parents = [groups / of / path.lstrip("/") for of, path in told if of in {"freezer", ""}]
    return [
        one
        for one in parents
        if os.access(one / "cgroup.procs", os.W_OK) and os.access(one, os.W_OK)
    ]


def daemons(name: str) -> list[psutil.Process]:
    """Return the daemons of a NAME that live."""
    return [
        one
        for one in psutil.process_iter(["cmdline", "status"])
        if _NAME.format(name) in (one.info["cmdline"] or ())
    ]
