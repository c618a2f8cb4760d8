"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def temporary() -> Iterator[Path]:
    """A temporary folder for nox runs alone, so that what they leave in it is seen.

    It is not one of pytest's: those are closed to the user that PostgreSQL runs as under root.
    """
    with tempfile.TemporaryDirectory(prefix="compat-tests-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
