"""What is installed in an environment, beside what was asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from harness.client.environment import beside, describe_environment, holds, lacking, of_files
from harness.stack.service.git import CHECKOUTS

INSTALLED = {
    "metaflow": ("2.19.39", ["boto3", 'tools-of-tests; extra == "dev"']),
    "boto3": ("1.40", ["Boto_Core>=1", 'never-there; python_version < "3"']),
    "boto-core": ("1.40", []),
    "pandas": ("3.0rc1", ['numpy; python_version >= "3"', 'pyarrow; extra == "arrow"']),
    "numpy": ("2.3", []),
    "pyarrow": ("22", []),
    "pip": ("25", []),
}


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Return the Python of an environment that has these packages."""
    for name, (version, requires) in INSTALLED.items():
        folder = tmp_path / f"lib/python3.11/site-packages/{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {r}" for r in requires)]
        (folder / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    return tmp_path / "bin" / "python"


def test_what_is_not_met_is_lacking(python):
    met = ["metaflow==2.19.39", "Boto_core", "pandas>=3.0a", "other; python_version<'3.11'"]
    assert lacking(python, met) == []
    unmet = ["metaflow==2.19.38", "pandas<3.0a", "absent", "other; python_version>='3.11'"]
    assert lacking(python, [*met, *unmet]) == unmet


def test_what_nothing_asks_for_is_beside(python):
    assert beside(python, ["metaflow==2.19.39"]) == ["numpy", "pandas", "pyarrow"]
    assert beside(python, ["metaflow", "pandas>=3"]) == ["pyarrow"]
    assert beside(python, ["metaflow", "pandas[arrow]>=3"]) == []


def test_a_list_is_held_whole_or_not_at_all(python):
    whole = [f"{name.replace('-', '_')}=={version}" for name, (version, _) in INSTALLED.items()]
    assert holds(python, whole)
    # An installer counts, too: a client may import it.
    assert not holds(python, whole[:-1])
    assert not holds(python, [*whole, "six==1.17"])
    assert not holds(python, [*whole[:-1], "pip==26"])


def test_what_lies_in_a_folder_is_told_by_that_folder_and_by_its_contents(python):
    wanted = ["metaflow @ file:///cache/commit-change"]
    assert lacking(python, wanted) == wanted
    folder = next(python.parent.parent.rglob("metaflow-*.dist-info"))
    text = '{"url": "file:///cache/commit-change", "dir_info": {}}'
    (folder / "direct_url.json").write_text(text, encoding="utf-8")
    assert lacking(python, wanted) == []
    other = ["metaflow @ file:///cache/commit-another"]
    assert lacking(python, other) == other
    packages = describe_environment("run", "HEAD", python).packages
    assert packages["metaflow"].startswith("2.19.39 (commit-change, ")
    assert packages["boto3"] == "1.40"


@pytest.mark.parametrize("where", [CHECKOUTS / "commit-change", Path("/home/me/metaflow")])
def test_files_of_a_user_are_installed_anew_and_those_of_a_checkout_are_not(python, where):
    whole = [f"{name}=={version}" for name, (version, _) in INSTALLED.items()]
    whole[0] = f"metaflow @ {where.as_uri()}"
    folder = next(python.parent.parent.rglob("metaflow-*.dist-info"))
    (folder / "direct_url.json").write_text(json.dumps({"url": where.as_uri()}), encoding="utf-8")
    assert lacking(python, whole) == []
    ours = where.is_relative_to(CHECKOUTS)
    assert of_files(whole) == ([] if ours else ["metaflow"])
    assert holds(python, whole) is ours


def test_its_python_is_the_one_that_runs_there(python):
    # What it was made with stays in the file when another is put in its place.
    (python.parent.parent / "pyvenv.cfg").write_text("version = 3.6.1\n", encoding="utf-8")
    found = describe_environment("run", "HEAD", python)
    assert f"{found.python} {found.build}" == " ".join(sys.version.split())
