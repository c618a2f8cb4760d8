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
    options = ("--python", "3.11,3.12", "--metaflow", "2.1.1,2.2.0,2.8.5,2.8.6", "--probe", "hello")
    found = run("local", tmp_path / "results", *options)
    assert found.code == 0, found.output
    cells = {cell["id"]: cell for cell in found.cells}
    of = "local/{}/no-service/local/hello/python={}"
    assert {name: cell["status"] for name, cell in cells.items()} == {
        of.format(client, python): "pass"
        for client in ("2.1.1", "2.2.0", "2.8.5", "2.8.6")
        for python in ("3.11", "3.12")
    } | {of.format("2.2.0", "3.12"): "expected-fail", of.format("2.8.5", "3.12"): "expected-fail"}
    reasons = {
        client: cells[of.format(client, "3.12")]["checks"]["run"]["reason"]
        for client in ("2.2.0", "2.8.5")
    }
    for client, reason in reasons.items():
        assert reason.startswith(
            f"Metaflow {client} does not run on Python 3.12: No module named 'imp'"
            " (zombie-imp would bring it): flow ended with exit code 1: "
        )
    assert "ModuleNotFoundError: No module named 'imp'" in reasons["2.2.0"]
    # The client itself names something else.
    assert "Cannot locate step_decorator plugin" in reasons["2.8.5"]
    assert "--python 3.12" in cells[of.format("2.8.5", "3.12")]["rerun"]
    assert "2.8.5 (Python 3.12)" in found.output
