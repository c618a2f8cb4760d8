"""Declared failures: expected ones keep a run green, and one that passes makes it red."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.stack.reference import faults
from tests.e2e.nox_runs import NoxRun, declare, environment, run

pytestmark = pytest.mark.e2e


FAULT = "lose-artifact:greeting"


def _run(folder: Path, fault: str, *options: str, service: str = "reference >=2.3") -> NoxRun:
    file = declare(folder, client=">=2.19", service=service, check="artifacts")
    chosen = ("--metaflow", "2.19.39", "--service", "2.5", "--probe", "hello", *options)
    env = environment(**({faults.VARIABLE: fault} if fault else {}))
    return run("compat", folder / "results", *chosen, "--expectations", file, env=env)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where all of them leave their results, so that later ones find those of the first."""
    return tmp_path_factory.mktemp("expected")


@pytest.fixture(scope="module")
def declared(folder: Path) -> NoxRun:
    return _run(folder, FAULT)


def test_a_declared_failure_is_expected(declared: NoxRun) -> None:
    assert declared.code == 0, declared.output
    assert declared.checks() == {"run": "pass", "artifacts": "expected-fail"}


def test_what_is_reused_is_judged_by_what_is_declared_now(declared: NoxRun, folder: Path) -> None:
    found = _run(folder, FAULT, "--reuse", service="reference <2.3")
    assert found.checks() == {"run": "pass", "artifacts": "fail"}
    assert found.code != 0, "red, though it did not run"
    (cell,) = found.cells
    assert cell["reused"]["run"] == declared.folder.name
    (alone,) = (entry for entry in found.entries if entry["kind"] == "stage")
    assert alone["reused"]["run"] == declared.folder.name
    assert not list(found.folder.glob("logs/services/*")), "no service was started"
    assert f"as run {declared.folder.name} found" in found.output
    again = cell["evidence"]["readback"]
    assert (found.folder / again).is_file()


def test_a_declared_failure_that_passes_is_red(declared: NoxRun, folder: Path) -> None:
    # The code without the fault is another one: its cell is run.
    assert declared.folder.is_dir()
    found = _run(folder, "", "--reuse")
    assert found.code != 0
    assert found.checks() == {"run": "pass", "artifacts": "unexpected-pass"}
    assert [cell["reused"] for cell in found.cells] == [None]
    assert "reused, not run" not in found.output
