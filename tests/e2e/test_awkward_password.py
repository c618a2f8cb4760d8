"""A password that a shell, a DSN and a URL trip over: nothing of the harness does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.core.scenarios import MIXES
from tests.e2e.nox_runs import run

pytestmark = pytest.mark.e2e


def test_the_reference_is_green_and_the_password_is_written_nowhere(tmp_path: Path):
    found = run(
        "compat",
        tmp_path / "results",
        *("--metaflow", "2.19.39", "--service", "2.5", "--probe", "hello"),
        *("--scenario", "awkward-password", "--database-user", "my-user"),
        *("--database-name", "my-db"),
    )
    assert found.code == 0, found.output
    (cell,) = found.cells
    assert cell["status"] == "pass"
    assert cell["id"].endswith("/hello/scenario=awkward-password")
    assert "--scenario awkward-password" in cell["rerun"]
    files = (path for path in found.folder.rglob("*") if path.is_file())
    written = [path.read_text("utf-8", "replace") for path in files]
    for form in (MIXES[0], json.dumps(MIXES[0])[1:-1]):
        assert not any(form in text for text in (*written, found.output))
