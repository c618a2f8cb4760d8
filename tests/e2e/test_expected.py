"""Declared failures: expected ones keep a run green, and one that passes makes it red."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.stack.reference import faults
from tests.e2e.nox_runs import NoxRun, declare, environment, run

pytestmark = pytest.mark.e2e


def _run(tmp_path: Path, fault: str) -> NoxRun:
    file = declare(tmp_path, client=">=2.19", service="reference >=2.3", check="artifacts")
    options = ("--metaflow", "2.19.39", "--service", "2.5", "--probe", "hello")
    env = environment(**({faults.VARIABLE: fault} if fault else {}))
    return run("compat", tmp_path / "results", *options, "--expectations", file, env=env)


def test_a_declared_failure_is_expected(tmp_path: Path) -> None:
    found = _run(tmp_path, "lose-artifact:greeting")
    assert found.code == 0, found.output
    assert found.checks() == {"run": "pass", "artifacts": "expected-fail"}


def test_a_declared_failure_that_passes_is_red(tmp_path: Path) -> None:
    found = _run(tmp_path, "")
    assert found.code != 0
    assert found.checks() == {"run": "pass", "artifacts": "unexpected-pass"}
