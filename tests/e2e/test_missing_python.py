"""What the Pythons of the machine do not allow is told with the reason, and nothing hangs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.catalog.interpreters import find_interpreters
from tests.e2e.nox_runs import NoxRun, copy_project, environment, run

pytestmark = pytest.mark.e2e

Local = Callable[..., NoxRun]


@pytest.fixture
def local(tmp_path: Path) -> Local:
    """Return a function that runs local where only Pythons under PYENV_ROOT and nox's are found."""
    bare = environment(PATH="", HOME=str(tmp_path), PYENV_ROOT=str(tmp_path / "pyenv"))
    for name in ("UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME"):
        bare.pop(name, None)

    def local(*options: str) -> NoxRun:
        project = copy_project(tmp_path)
        return run("local", tmp_path / "results", *options, cwd=project, env=bare)

    return local


def test_one_client_of_two_has_no_python(local: Local):
    # No Python that runs this harness runs 2.0.0.
    found = local("--metaflow", "2.0.0,2.19.39", "--probe", "hello")
    assert found.code == 0, found.output
    assert {cell["client"]: cell["status"] for cell in found.cells} == {
        "2.0.0": "not-run",
        "2.19.39": "pass",
    }
    reason = found.cells[0]["checks"]["run"]["reason"]
    assert reason.startswith("Metaflow 2.0.0 runs on Python 3.6, 3.7, 3.8 or 3.9; found: 3.")
    assert "1 not-run, 1 pass: 2 cells" in found.output
    assert f": run, artifacts: not-run: {reason}" in found.output


def test_the_oldest_client_with_s3_data_does_not_start_on_python_3_6(local: Local, tmp_path: Path):
    python = find_interpreters().get("3.6")
    if python is None:
        pytest.skip("there is no Python 3.6 here")
    versions = tmp_path / "pyenv" / "versions"
    versions.mkdir(parents=True)
    (versions / "3.6.15").symlink_to(python.parent.parent)

    found = local("--metaflow", "2.0.0", "--probe", "hello", "--datastore", "local,s3")

    assert found.code == 0, found.output
    cells = {cell["datastore"]: cell for cell in found.cells}
    assert {name: cell["status"] for name, cell in cells.items()} == {
        "local": "pass",
        "s3": "unsupported",
    }
    assert cells["s3"]["checks"]["run"]["reason"] == (
        "Metaflow 2.0.0 with an S3 server that is not Amazon's needs boto3>=1.28,"
        " botocore>=1.31, so Python >=3.7; this is 3.6"
    )
    assert cells["s3"]["seconds"] == 0
