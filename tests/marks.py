"""The marks of processes that tests start."""

from __future__ import annotations

import os
from pathlib import Path


def mark_of(folder: Path) -> str:
    """Return the mark of the test that has a folder; no test of another checkout has it either."""
    return f"tests-{os.getpid()}-{folder.name}"
