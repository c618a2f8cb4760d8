from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from harness.catalog.releases import Service
from harness.catalog.versions import load
from harness.machine.errors import InfraError, UsageError
from harness.machine.processes import marked_processes, wait_until
from harness.stack.database.server import Address, Database
from harness.stack.reference import faults
from harness.stack.service.launcher import RunningService
from harness.stack.service.reference import ReferenceLauncher

pytestmark = pytest.mark.e2e

MARK = f"tests-{os.getpid()}-launcher"


def level(name: str) -> Service:
    (found,) = (each for each in load().services if each.name == f"reference-{name}")
    return found


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/ping", timeout=5).ok
    except requests.ConnectionError:
        return False


def wait_for(running: RunningService) -> None:
    wait_until(lambda: answers(running.url), seconds=20, what=running.url, log=running.log)


@pytest.fixture
def launcher() -> ReferenceLauncher:
    return ReferenceLauncher(MARK)


@pytest.fixture
def running(
    launcher: ReferenceLauncher, database: Database, tmp_path: Path
) -> Iterator[RunningService]:
    service = launcher.start(level("2.5"), database, tmp_path / "service.log")
    yield service
    service.stop()


def test_other_kinds_of_services_are_refused(launcher: ReferenceLauncher):
    released = dataclasses.replace(level("2.5"), kind="released", name="v2.5.0")
    with pytest.raises(UsageError, match=r"v2\.5\.0 is a released service"):
        launcher.prepare((released,))


def test_a_service_answers_and_is_gone_after_stop(running: RunningService):
    wait_for(running)
    running.check_alive()
    assert running.migration_url
    assert answers(running.migration_url)
    running.stop()
    running.stop()
    assert not answers(running.url)
    assert not [mark for _, mark in marked_processes() if mark.startswith(MARK)]


def test_below_a_path_nothing_else_answers(database: Database, tmp_path: Path):
    launcher = ReferenceLauncher(MARK)
    running = launcher.start(level("2.5"), database, tmp_path / "service.log", "service-prefix")
    try:
        wait_for(running)
        above = running.url.removesuffix("/teams/metaflow")
        assert above != running.url
        assert not answers(above)
        # Releases know the path of the metadata service alone.
        assert running.migration_url
        assert answers(running.migration_url)
    finally:
        running.stop()


def test_a_restart_keeps_the_addresses_and_the_log(running: RunningService):
    wait_for(running)
    before = running.url, running.migration_url
    running.restart()
    wait_for(running)
    assert (running.url, running.migration_url) == before
    # Of its two servers one may answer before the other has said that it listens.
    wait_until(
        lambda: running.log.read_text().count("serving on") == 4,
        seconds=10,
        what="the line of each server, before and after",
        log=running.log,
    )


def test_level_1_0_has_no_migration_address(
    launcher: ReferenceLauncher, database: Database, tmp_path: Path
):
    service = launcher.start(level("1.0"), database, tmp_path / "service.log")
    try:
        assert service.migration_url is None
        wait_for(service)
    finally:
        service.stop()


def test_stopping_one_service_leaves_another_alone(
    running: RunningService, launcher: ReferenceLauncher, database: Database, tmp_path: Path
):
    other = launcher.start(level("2.3"), database, tmp_path / "other.log")
    wait_for(running)
    wait_for(other)
    other.stop()
    assert answers(running.url)


def test_a_service_that_ends_by_itself_is_told_with_its_last_words(
    launcher: ReferenceLauncher, tmp_path: Path, monkeypatch, database: Database
):
    monkeypatch.setenv(faults.VARIABLE, "no-such-fault")
    service = launcher.start(level("2.5"), database, tmp_path / "service.log")

    def ended() -> bool:
        try:
            service.check_alive()
        except InfraError:
            return True
        return False

    wait_until(ended, seconds=20, what="the end")
    with pytest.raises(InfraError, match="unknown fault 'no-such-fault'"):
        service.check_alive()


def test_only_what_it_needs_is_in_its_environment(running: RunningService):
    wait_for(running)
    (pid,) = (pid for pid, mark in marked_processes() if mark.startswith(MARK))
    names = {
        variable.split(b"=")[0].decode()
        for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if variable
    }
    known = {"PATH", "PYTHONUNBUFFERED", "TZ", "METAFLOW_COMPAT_MARK"}
    assert {name for name in names if not name.startswith("MF_")} == known


def test_the_service_uses_the_address_meant_for_it(
    launcher: ReferenceLauncher, database: Database, tmp_path: Path
):
    nowhere = Address("127.0.0.1", 1, "nobody", "", "nothing")
    split = Database(address=nowhere, service_address=database.service_address)
    service = launcher.start(level("1.0"), split, tmp_path / "service.log")
    try:
        wait_for(service)
    finally:
        service.stop()
