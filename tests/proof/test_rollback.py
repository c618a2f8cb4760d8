from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path

import pytest

from harness.catalog.versions import load
from harness.proof.contract import exercise
from harness.proof.rollback import verdict
from harness.stack.database.server import Database
from harness.stack.reference import faults
from harness.stack.service.launcher import RunningService
from harness.stack.service.migration import bring_up
from harness.stack.service.reference import ReferenceLauncher

pytestmark = pytest.mark.e2e

SERVICES = {service.name: service for service in load().services}
RUNS = [("FlowNewer", "1"), ("FlowNewer", "contract-run")]

Start = Callable[[str], RunningService]


@pytest.fixture
def start(database: Database, tmp_path: Path) -> Iterator[Start]:
    """Start a level over the test's database and leave it as it comes up."""
    launcher = ReferenceLauncher(f"tests-{os.getpid()}-rollback")
    started: list[RunningService] = []

    def start(level: str) -> RunningService:
        service = SERVICES[f"reference-{level}"]
        started.append(launcher.start(service, database, tmp_path / f"{level}.log"))
        return started[-1]

    yield start
    for running in started:
        running.stop()


@pytest.fixture
def upgraded(start: Start, database: Database) -> Callable[[str], None]:
    """Bring the database to a level's schema, with the runs it writes, and stop the level."""

    def upgraded(level: str) -> None:
        running = start(level)
        bring_up(running)
        assert exercise(running.url, database.address, "FlowNewer").problems == ()
        running.stop()

    return upgraded


def test_a_service_that_brings_the_same_schema_may_return(
    start: Start, upgraded: Callable[[str], None], database: Database
):
    upgraded("2.0.4")
    found = verdict(start("2.0"), database.address, RUNS, attrgetter("problems"))
    assert found.safe
    assert found.evidence == (
        "Its migration API answers GET /version with 200: latest.",
        "Its metadata API starts and answers /ping.",
        "It reads 2 of 2 runs with their steps and tasks.",
        "It writes, and what it writes can be read back.",
    )


def test_an_image_does_not_boot_on_a_newer_schema_though_its_metadata_service_would(
    start: Start, upgraded: Callable[[str], None], database: Database
):
    upgraded("2.3")
    found = verdict(start("2.0.6"), database.address, RUNS, attrgetter("problems"))
    assert not found.safe
    migration, *others = found.evidence
    assert "answers GET /version with 500: schema 20220503175500 is newer" in migration
    assert "the image does not boot" in migration
    assert [sentence.split(" ", 2)[1] for sentence in others] == ["metadata", "reads", "writes,"]


def test_a_service_that_does_not_start_is_unsafe_with_its_last_words(
    start: Start,
    upgraded: Callable[[str], None],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
):
    upgraded("2.3")
    monkeypatch.setenv(faults.VARIABLE, f"{faults.NO_START_ON_NEWER_SCHEMA}@2.0.6")
    found = verdict(start("2.0.6"), database.address, RUNS, attrgetter("problems"))
    assert not found.safe
    migration, metadata = found.evidence
    assert migration.startswith("Its migration API does not answer: the service reference-2.0.6")
    assert metadata.startswith("Its metadata API does not start: the service reference-2.0.6 ended")
    assert "schema 20220503175500 is newer than level 2.0.6 knows" in metadata


def test_the_first_service_writes_what_it_refuses_on_a_newer_schema(
    start: Start, upgraded: Callable[[str], None], database: Database
):
    upgraded("2.0")
    found = verdict(start("1.0"), database.address, [], attrgetter("problems"))
    assert not found.safe
    assert "refused, yet rows were written: POST /flows/" in found.evidence[0]
    assert found.evidence[1] == "It has no migration API that could refuse the schema."
    found = verdict(start("1.0"), database.address, RUNS, attrgetter("problems"))
    assert "FlowNewer/runs/1 answers 500" in found.evidence[0]


def test_a_run_that_is_not_read_makes_it_unsafe(
    start: Start, upgraded: Callable[[str], None], database: Database
):
    upgraded("2.5")
    found = verdict(
        start("2.5"), database.address, [*RUNS, ("FlowNewer", "31")], attrgetter("problems")
    )
    assert not found.safe
    (bad,) = [sentence for sentence in found.evidence if "does not read" in sentence]
    assert "/flows/FlowNewer/runs/31 answers 404" in bad
