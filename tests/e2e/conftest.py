"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.tools import tool_python


@pytest.fixture(scope="session")
def newest_client() -> Path:
    """The interpreter of an environment with the newest client."""
    return tool_python("test-client", ["metaflow==2.19.39"])
