"""Packages that are asked for beside clients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.catalog.interpreters import find_interpreters
from tests.e2e.nox_runs import NoxRun, finished_run, nox, run

pytestmark = pytest.mark.e2e

DAY = {
    "boto3": "1.28.66",
    "botocore": "1.31.66",
    "certifi": "2023.7.22",
    "charset-normalizer": "3.3.0",
    "idna": "3.4",
    "jmespath": "1.0.1",
    "metaflow": "2.10.3",
    "python-dateutil": "2.8.2",
    "requests": "2.31.0",
    "s3transfer": "0.7.0",
    "setuptools": "68.2.2",
    "six": "1.16.0",
    "urllib3": "2.0.7",
}
"""What 2.10.3 and a setuptools required on the day it was released."""


@pytest.mark.exhaustive
def test_the_card_of_a_data_frame_fails_before_the_client_knows_pandas_3(tmp_path: Path) -> None:
    if "3.12" not in find_interpreters():
        pytest.skip("there is no Python 3.12 here")
    # The first release with metaflow PR #3290, and the one before it.
    options = ("--metaflow", "2.19.36,2.19.37", "--python", "3.12")
    found = run("local", tmp_path / "results", *options, "--with", "pandas>=3")
    # Unasked: a check of this probe is about pandas.
    cells = {cell["client"]: cell for cell in found.cells if cell["probe"] == "card"}
    assert found.code == 0, found.output
    old, new = cells["2.19.36"], cells["2.19.37"]
    wrong = {name: check["status"] for name, check in old["checks"].items()}
    assert {name for name, status in wrong.items() if status != "pass"} == {"frame"}, old
    assert wrong["frame"] == "expected-fail"
    assert "the data frame's rows are not in the card" in old["checks"]["frame"]["reason"]
    assert "packages=pandas>=3" in old["id"]
    assert "--with 'pandas>=3'" in old["rerun"]
    assert new["checks"]["frame"]["status"] == "pass", new


def _hello(results: Path, *options: str, flags: Sequence[str] = ()) -> NoxRun:
    words = ("--", "--results", str(results), "--metaflow", "2.19.39", "--probe", "hello", *options)
    done = nox(*flags, "-s", "local", *words)
    return finished_run(done.returncode, done.stdout + done.stderr, results)


def _packages(found: NoxRun) -> dict[str, str]:
    (entry,) = (entry for entry in found.entries if entry["kind"] == "environment")
    packages: dict[str, str] = entry["packages"]
    return packages


def test_what_is_planned_is_what_is_installed(tmp_path: Path) -> None:
    small = _hello(tmp_path / "with", "--with", "iniconfig")
    assert small.code == 0, small.output
    assert "iniconfig" in _packages(small)
    # nox makes no environment anew for another option, and its name does not tell it.
    missing = _hello(tmp_path / "missing", "--with", "iniconfig>=999", flags=["-R"])
    (cell,) = missing.cells
    assert cell["status"] == "infra"
    assert "its environment lacks iniconfig>=999: without -R nox" in missing.output
    kept = _hello(tmp_path / "kept", flags=["-R"])
    assert kept.code == 0, kept.output
    assert "iniconfig is installed, too, and not planned" in kept.output
    plain = _hello(tmp_path / "plain")
    assert plain.code == 0, plain.output
    assert "iniconfig" not in _packages(plain)
    # An older one of what the client requires itself, and an installer.
    older = _hello(tmp_path / "older", "--with", "idna<3.7 wheel")
    assert older.code == 0, older.output
    assert _packages(older)["idna"] == "3.6"
    again = _hello(tmp_path / "again")
    assert again.code == 0, again.output
    assert _packages(again) == _packages(plain)


BACKEND = """
import zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name, info = "tiny-1.0-py3-none-any.whl", "tiny-1.0.dist-info/"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as archive:
        archive.write("tiny.py")
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n")
        told = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        archive.writestr(info + "WHEEL", told)
        files = ("tiny.py", info + "METADATA", info + "WHEEL", info + "RECORD")
        archive.writestr(info + "RECORD", "".join(file + ",,\\n" for file in files))
    return name
"""
"""Builds a package without anything of an index."""


def test_a_package_that_is_changed_in_its_folder_is_installed_anew_and_its_cell_runs(
    tmp_path: Path,
) -> None:
    folder, results = tmp_path / "tiny", tmp_path / "results"
    folder.mkdir()
    builds = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    for file, text in {"pyproject.toml": builds, "backend.py": BACKEND, "tiny.py": "A = 1"}.items():
        (folder / file).write_text(text, encoding="utf-8")
    options = ("--with", f"tiny@{folder.as_uri()}", "--reuse")
    first = _hello(results, *options)
    same = _hello(results, *options)
    assert [cell["reused"]["run"] for cell in same.cells] == [first.folder.name], same.output
    # Of the same version, at the same place, and of a file that no installer looks at.
    (folder / "tiny.py").write_text("A = 2", encoding="utf-8")
    other = _hello(results, *options)
    assert [cell["reused"] for cell in other.cells] == [None], other.output
    assert other.code == 0, other.output
    assert _packages(other)["tiny"] != _packages(same)["tiny"] == _packages(first)["tiny"]


def test_what_rests_on_a_pin_is_red_without_it_and_a_day_gives_one_list(tmp_path: Path) -> None:
    options = ("--metaflow", "2.10.3", "--probe", "hello")
    # The last release that imports pkg_resources, which setuptools has no more since 82.
    found = run("local", tmp_path / "one", *options, "--deps", "release-day,latest")
    cells = {cell["deps"]: cell for cell in found.cells}
    assert found.code == 1, found.output
    assert cells["release-day"]["status"] == "pass", cells["release-day"]
    assert "No module named 'pkg_resources'" in cells["latest"]["checks"]["run"]["reason"]
    assert cells["latest"]["id"] == "local/2.10.3/no-service/local/hello/deps=latest"
    assert cells["latest"]["rerun"].endswith("--deps latest")
    by_digest = {one["digest"]: one for one in found.entries if one["kind"] == "environment"}
    day, newest = (
        by_digest[cells[name]["provenance"]["environment"]]["packages"]
        for name in ("release-day", "latest")
    )
    # What there was on 2023-10-18, and will always have been: the whole list, from run to run.
    assert day == DAY
    assert int(newest["setuptools"].partition(".")[0]) >= 82


def test_a_file_that_does_not_resolve_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "req.txt").write_text("six\nrequests==0.0.99\n", encoding="utf-8")
    words = ("--results", str(tmp_path / "results"), "--deps", str(tmp_path / "req.txt"))
    done = nox("-s", "local", "--", "--metaflow", "2.19.39", *words)
    assert done.returncode != 0
    assert "req.txt, line 2: No solution found" in done.stderr
    assert not (tmp_path / "results").exists()
