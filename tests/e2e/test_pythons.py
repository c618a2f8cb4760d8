"""Clients on the Pythons that are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.catalog.interpreters import find_interpreters
from tests.e2e.nox_runs import run

pytestmark = pytest.mark.e2e


def test_a_client_that_does_not_run_on_a_python_fails_there_as_declared(tmp_path: Path) -> None:
    missing = {"3.11", "3.12"} - find_interpreters().keys()
    if missing:
        pytest.skip(f"there is no Python {' and no '.join(sorted(missing))} here")
    options = ("--python", "3.11,3.12", "--metaflow", "2.8.5,2.8.6", "--probe", "hello")
    found = run("local", tmp_path / "results", *options)
    assert found.code == 0, found.output
    cells = {cell["id"]: cell for cell in found.cells}
    place = "no-service/local/hello/python="
    assert {name: cell["status"] for name, cell in cells.items()} == {
        f"local/2.8.5/{place}3.11": "pass",
        f"local/2.8.5/{place}3.12": "expected-fail",
        f"local/2.8.6/{place}3.11": "pass",
        f"local/2.8.6/{place}3.12": "pass",
    }
    failed = cells[f"local/2.8.5/{place}3.12"]
    reason = failed["checks"]["run"]["reason"]
    assert reason.startswith(
        "Metaflow 2.8.5 does not run on Python 3.12: No module named 'imp' (zombie-imp would bring"
        " it): flow ended with exit code 1: "
    )
    # The client itself names something else.
    assert "Cannot locate step_decorator plugin" in reason
    assert "--python 3.12" in failed["rerun"]
    assert "2.8.5 (Python 3.12)" in found.output
