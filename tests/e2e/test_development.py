"""A clone of Metaflow: what is committed beside what is not."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from harness.machine.tools import tool_python
from tests.e2e.nox_runs import run
from tests.stack.service.upstream import git

pytestmark = pytest.mark.e2e

CLIENT = "2.19.39"
READS = "        return self._artifacts[name].data\n"
_SETUP = """\
from setuptools import find_packages, setup
setup(name="metaflow", version="2.19.39", packages=find_packages(), include_package_data=True,
      install_requires=["boto3", "requests"], package_data={"": ["*"]},
      entry_points={"console_scripts": ["metaflow=metaflow.cmd.main_cli:start"]})
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clone whose one commit, ``good``, is a released client, and whose work tree is not.

    The package is the one that is installed; only ``setup.py`` is written for it.
    """
    python = tool_python(f"client-{CLIENT}", [f"metaflow=={CLIENT}"])
    minor = f"python{sys.version_info.major}.{sys.version_info.minor}"
    installed = python.parent.parent / "lib" / minor / "site-packages" / "metaflow"
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(
        installed, folder / "metaflow", ignore=shutil.ignore_patterns("__pycache__", "INFO")
    )
    (folder / "setup.py").write_text(_SETUP, encoding="utf-8")
    git(folder, "init", "--quiet", "--initial-branch", "master")
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message", "a release")
    git(folder, "tag", "good")
    core = folder / "metaflow" / "client" / "core.py"
    text = core.read_text(encoding="utf-8")
    assert text.count(READS) == 1
    core.write_text(text.replace(READS, "        return None\n"), encoding="utf-8")
    return folder


def test_a_break_that_is_not_committed_is_red_and_named(tmp_path: Path, clone: Path) -> None:
    options = ("--metaflow", "good,HEAD", "--probe", "hello", "--metaflow-checkout", str(clone))
    found = run("local", tmp_path / "results", *options)
    assert found.code != 0
    cells = {cell["client"]: cell for cell in found.cells}
    good, head = cells["good"], cells["HEAD"]
    assert good["status"] == "pass", good
    assert (head["id"], head["status"]) == ("local/HEAD/no-service/local/hello", "fail")
    red = [name for name, check in head["checks"].items() if check["status"] == "fail"]
    assert red == ["artifacts"]
    commit = git(clone, "rev-parse", "--short=7", "good").strip()
    assert good["client_build"] == f"2.19.39+g{commit}"
    assert head["client_build"].startswith(f"2.19.39+g{commit}, changed (")
    assert " --metaflow HEAD " in head["rerun"]
    assert f"--metaflow-checkout {clone}" in head["rerun"]
    assert f"Metaflow HEAD is {head['client_build']}" in [
        entry["text"] for entry in found.entries if entry["kind"] == "note"
    ]
    # One version, and not one environment.
    assert good["provenance"]["environment"] != head["provenance"]["environment"]
