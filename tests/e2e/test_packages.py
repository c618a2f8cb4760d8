"""Packages that are asked for beside clients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.catalog.interpreters import find_interpreters
from tests.e2e.nox_runs import NoxRun, finished_run, nox, run

pytestmark = pytest.mark.e2e


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
