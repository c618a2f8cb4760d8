"""A service that somebody else runs: here a reference level, started by the test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.catalog.versions import load
from harness.stack.database.server import Database
from harness.stack.database.wheel import MAJORS
from harness.stack.service.launcher import RunningService
from harness.stack.service.migration import bring_up
from harness.stack.service.reference import ReferenceLauncher
from tests.e2e.nox_runs import nox, run

pytestmark = pytest.mark.e2e


@pytest.fixture
def somebodys(database: Database, tmp_path: Path) -> Iterator[RunningService]:
    """A service that runs, over a database without flows."""
    launcher = ReferenceLauncher(f"tests-{os.getpid()}-url")
    running = launcher.start(load().reference[-1], database, tmp_path / "service.log")
    bring_up(running)
    yield running
    running.stop()


def test_it_is_asked_and_never_stopped_and_not_asked_again_without_leave(
    somebodys: RunningService, tmp_path: Path
):
    results = tmp_path / "results"
    given = ("--metaflow", "2.19.39", "--probe", "hello", "--service-url", somebodys.url)
    found = run("compat", results, *given)
    assert found.code == 0, found.output
    (cell,) = found.cells
    assert (cell["service"], cell["service_kind"], cell["status"]) == ("external",) * 2 + ("pass",)
    assert f"--service-url {somebodys.url} --allow-existing" in cell["rerun"]
    (stage,) = (entry for entry in found.entries if entry["kind"] == "stage")
    assert (stage["status"], stage["problems"]) == ("pass", [])
    notes = [entry["text"] for entry in found.entries if entry["kind"] == "note"]
    assert any(note.startswith("no rows of external were seen") for note in notes)
    assert any("left in it" in note and cell["flow_run"] in note for note in notes)
    somebodys.check_alive()
    again = nox("-s", "compat", "--", "--results", str(results), *given)
    assert again.returncode
    assert f"error: --service-url {somebodys.url}: it has somebody's flows already" in again.stderr


def test_the_rows_of_its_database_are_compared_where_that_is_named(
    somebodys: RunningService, database: Database, tmp_path: Path
):
    where = ("--service-url", somebodys.url, "--database-url", database.address.url)
    found = run("compat", tmp_path, "--metaflow", "2.19.39", "--probe", "hello", *where)
    assert found.code == 0, found.output
    (cell,) = found.cells
    assert (cell["service"], cell["status"]) == ("external", "pass")
    assert cell["provenance"]["database"].split(".")[0] == next(iter(MAJORS))
    (stage,) = (entry for entry in found.entries if entry["kind"] == "stage")
    assert (stage["status"], stage["problems"]) == ("pass", [])
    notes = [entry["text"] for entry in found.entries if entry["kind"] == "note"]
    assert not any(note.startswith("no rows of external were seen") for note in notes)
    somebodys.check_alive()
