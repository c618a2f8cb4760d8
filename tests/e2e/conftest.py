"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.machine.tools import tool_python


@pytest.fixture(scope="module")
def temporary() -> Iterator[Path]:
    """A temporary folder for nox runs alone, so that what they leave in it is seen.

    It is not one of pytest's: those are closed to the user that PostgreSQL runs as under root.
    """
    with tempfile.TemporaryDirectory(prefix="compat-tests-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="session")
def newest_client() -> Path:
    """The interpreter of an environment with the newest client."""
    return tool_python("test-client", ["metaflow==2.19.39"])
