"""A program whose daemon leaves all that a process can leave."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from harness.machine import locks
from harness.machine.control_group import end_group, enter_group, noted_groups

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


def has_groups(folder: Path) -> bool:
    """Tell whether a run on this machine has a control group.

    Args:
        folder: for what is noted meanwhile.
    """
    run = f"test-{uuid4().hex}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "RUNS", folder)
        enter_group(run)
        had = noted_groups() == [run]
        end_group(run)
    return had


def daemons(name: str) -> list[psutil.Process]:
    """Return the daemons of a NAME that live."""
    return [
        one
        for one in psutil.process_iter(["cmdline", "status"])
        if _NAME.format(name) in (one.info["cmdline"] or ())
    ]
