"""A client that no Python here can run is skipped with the reason, counted, and not green."""

from __future__ import annotations

import pytest

from tests.e2e.nox_runs import copy_project, environment, run

pytestmark = pytest.mark.e2e


def test_one_client_of_two_has_no_python(tmp_path):
    # Only the Python of nox itself is left, and no Python that runs this harness runs 2.0.0.
    bare = environment(PATH="", HOME=str(tmp_path), PYENV_ROOT=str(tmp_path))
    for name in ("UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME"):
        bare.pop(name, None)
    found = run(
        "local",
        tmp_path / "results",
        *("--metaflow", "2.0.0,2.19.39", "--probe", "hello"),
        cwd=copy_project(tmp_path),
        env=bare,
    )
    assert found.code == 0, found.output
    assert {cell["client"]: cell["status"] for cell in found.cells} == {
        "2.0.0": "not-run",
        "2.19.39": "pass",
    }
    reason = found.cells[0]["checks"]["run"]["reason"]
    assert reason.startswith("Metaflow 2.0.0 runs on Python 3.6, 3.7, 3.8 or 3.9; found: 3.")
    assert "1 not-run, 1 pass: 2 cells" in found.output
    assert f"run: not-run: {reason}" in found.output
