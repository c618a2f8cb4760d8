"""Marks: of tests, and of the processes that they start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ENGINE = pytest.mark.xdist_group("engine")
"""One worker has all tests that count what is on the Docker engine, or clean up after any run."""


def mark_of(folder: Path) -> str:
    """Return the mark of the test that has a folder; no test of another checkout has it either."""
    return f"tests-{os.getpid()}-{folder.name}"
