"""What nox lists and prints without starting anything."""

from __future__ import annotations

import pytest

from tests.e2e.nox_runs import nox

pytestmark = pytest.mark.e2e


def _listed(output: str, session: str) -> int:
    return sum(line[2:].startswith(f"{session}(") for line in output.splitlines())


def test_one_session_per_default_client_and_kind():
    finished = nox("-l")
    assert finished.returncode == 0, finished.stderr
    for session in ("compat", "local"):
        assert _listed(finished.stdout, session) == 20
    assert "compat(2.19.39)" in finished.stdout


def test_all_clients():
    finished = nox("-l", "--", "--metaflow", "all")
    assert finished.returncode == 0, finished.stderr
    assert _listed(finished.stdout, "compat") == 267


def test_the_plan(tmp_path):
    finished = nox(
        *("-s", "compat", "--", "--metaflow", "2.2.1,2.2.2", "--service", ">=2.3", "--plan"),
        *("--results", str(tmp_path / "results")),
    )
    assert finished.returncode == 0, finished.stderr
    cells = [line.partition(":")[0] for line in finished.stdout.splitlines() if "/" in line]
    assert cells == [
        f"compat/{client}/reference-{level}/local/basics"
        for client in ("2.2.1", "2.2.2")
        for level in ("2.3", "2.5")
    ]
    assert not (tmp_path / "results").exists()


def test_help():
    finished = nox("-s", "compat", "--", "--help")
    assert finished.returncode == 0, finished.stderr
    assert "examples:" in finished.stdout
    assert "--metaflow" in finished.stdout
