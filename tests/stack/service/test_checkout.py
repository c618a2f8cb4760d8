"""Services of a clone as processes, over a real database."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from harness.catalog.releases import Catalog
from harness.machine.dependencies import Dependencies
from harness.machine.errors import InfraError, UsageError
from harness.machine.processes import marked_processes, wait_until
from harness.machine.tools import tool_python
from harness.stack.database.rows import schema_version
from harness.stack.database.server import Database
from harness.stack.reference.levels import LEVELS
from harness.stack.service.checkout import (
    GOOSE_FOLDER,
    CheckoutLauncher,
    check_service_file,
    find_pythons,
    service_pins,
)
from harness.stack.service.git import open_clone
from harness.stack.service.identity import identity_notes, reported_version
from harness.stack.service.launcher import RunningService
from harness.stack.service.migration import MigrationError, bring_up
from harness.stack.service.reference import REQUIREMENTS
from harness.stack.service.refs import select_from_clone
from tests.stack.service import upstream

NEWEST_SCHEMA = 20230118020300

Start = Callable[..., RunningService]


@pytest.fixture(scope="session")
def runnable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository, with stand-ins that become the reference service."""
    reference = tool_python("reference", REQUIREMENTS)
    return upstream.build(tmp_path_factory.mktemp("upstream") / "clone", reference)


@pytest.fixture
def start(runnable: Path, catalog: Catalog, tmp_path: Path, database: Database) -> Iterator[Start]:
    """Return a function that starts a service of the clone over the test's database."""
    mark = f"test-{uuid4().hex}"
    started: list[RunningService] = []

    def start(
        name: str,
        *,
        scenario: str = "",
        folder: Path = runnable,
        over: Database = database,
    ) -> RunningService:
        clone = open_clone(str(folder))
        launcher = CheckoutLauncher(
            clone,
            catalog.service_requirements,
            catalog.service_pythons,
            mark,
        )
        (service,) = select_from_clone(clone, catalog, name)
        log = tmp_path / "logs" / f"{service.slug}.log"
        running = launcher.start(service, over, log, scenario)
        started.append(running)
        return running

    yield start
    for running in started:
        running.stop()
    assert not [found for _, found in marked_processes() if found.startswith(mark)]


def notes(running: RunningService, database: Database) -> tuple[str, ...]:
    schema = schema_version(database.address) or 0
    return identity_notes(running, reported_version(running), schema)


@pytest.mark.e2e
@pytest.mark.parametrize("tag", list(upstream.TAGS)[:-1])
def test_each_layout_comes_up_as_what_it_is(start, database, tag):
    running = start(tag)
    migration = bring_up(running)
    assert schema_version(database.address) == running.service.schema
    assert notes(running, database) == ()
    assert migration.applied == tuple(map(str, LEVELS[upstream.TAGS[tag]].migrations))
    flow = requests.post(f"{running.url}/flows/F", json={"user_name": "u"}, timeout=10)
    assert flow.status_code == 200
    running.check_alive()


@pytest.mark.e2e
def test_another_version_than_its_tag_is_noted(start, database):
    running = start("v2.5.1")
    bring_up(running)
    assert notes(running, database) == ("v2.5.1 reports 2.5.0 to clients; 2.5.1 was expected",)


@pytest.mark.e2e
def test_the_metadata_service_waits_for_the_migration(start):
    running = start("2.0.0")
    wait_until(
        lambda: _answers(f"{running.migration_url}/ping"), seconds=30, what="the migration service"
    )
    assert not _answers(f"{running.url}/ping")
    bring_up(running)
    assert _answers(f"{running.url}/ping")


@pytest.mark.e2e
@pytest.mark.parametrize(("tag", "breaks"), [("2.0.0", True), ("v2.3.0", False)])
def test_the_wrong_order(start, tag, breaks):
    running = start(tag, scenario="wrong-order")
    assert _answers(f"{running.url}/ping")
    if not breaks:
        bring_up(running)
        return
    with pytest.raises(MigrationError) as error:
        bring_up(running)
    assert "from schema 0 to 20200603104139 failed" in str(error.value)
    assert 'column "run_id" of relation "runs_v3" already exists' in str(error.value)


@pytest.mark.e2e
def test_one_database_through_every_release(start, database):
    for tag in (*list(upstream.TAGS), "HEAD"):
        running = start(tag)
        bring_up(running)
        written = requests.post(f"{running.url}/flows/{tag}", json={"user_name": "u"}, timeout=10)
        assert written.ok
        running.stop()
    assert schema_version(database.address) == NEWEST_SCHEMA
    with closing(database.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT flow_id FROM flows_v3")
        assert {name for (name,) in cursor.fetchall()} == {*upstream.TAGS, "HEAD"}


@pytest.mark.e2e
def test_the_log_tells_which_goose_ran(start, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _name: None)
    running = start("v2.5.0")
    bring_up(running)
    log = running.log.read_text(encoding="utf-8")
    assert log.startswith(f"--- v2.5.0: goose: {GOOSE_FOLDER / 'goose'}\n")
    assert "OK   1_step.sql" in log


@pytest.mark.e2e
def test_a_goose_on_the_path_is_taken(start, monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    real = tmp_path / "bin" / "goose"
    real.write_text(f'#!/bin/sh\ntouch {tmp_path}/ran\nexec "{GOOSE_FOLDER}/goose" "$@"\n')
    real.chmod(0o755)
    monkeypatch.setenv("PATH", str(real.parent), prepend=":")
    running = start("v2.5.0")
    bring_up(running)
    assert (tmp_path / "ran").exists()
    assert running.log.read_text(encoding="utf-8").startswith(f"--- v2.5.0: goose: {real}\n")


@pytest.mark.e2e
def test_a_service_that_ends_by_itself(start, runnable, tmp_path):
    broken = tmp_path / "broken"
    upstream.git(runnable, "clone", "--quiet", ".", str(broken))
    server = broken / "services" / "metadata_service" / "server.py"
    server.write_text("raise SystemExit('out of order')\n", encoding="utf-8")
    running = start("HEAD", folder=broken)
    assert running.service.label.endswith(", with uncommitted changes")
    with pytest.raises(InfraError) as error:
        bring_up(running)
    assert "the metadata service of HEAD ended with exit code 1" in str(error.value)
    assert "out of order" in str(error.value)


def test_requirements_that_do_not_install(folder, catalog):
    path = folder / "services" / "metadata_service" / "requirements.txt"
    path.write_text("aiohttp>=3.8,<4\naiohttp==0.0.0\n", encoding="utf-8")
    clone = open_clone(str(folder))
    services = select_from_clone(clone, catalog, "HEAD")
    launcher = CheckoutLauncher(clone, ["packaging"], catalog.service_pythons, "test")
    with pytest.raises(UsageError, match="what HEAD requires does not install"):
        launcher.prepare(services)


@pytest.fixture
def resolving(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What was asked to be resolved; there is nothing of it."""
    asked: list[tuple[object, ...]] = []

    def resolve(*words: object) -> object:
        asked.append(words)
        raise InfraError("no solution")

    pythons = {minor: Path(f"/p/{minor}") for minor in ("3.7", "3.9", "3.10", "3.11", "3.12")}
    monkeypatch.setattr("harness.stack.service.checkout.resolved_tool", resolve)
    monkeypatch.setattr("harness.stack.service.checkout.find_interpreters", lambda: pythons)
    return asked


def test_what_is_not_pinned_is_what_a_release_asks_for_itself(
    folder, catalog, resolving, database, tmp_path
):
    path = folder / "services" / "metadata_service" / "requirements.txt"
    path.write_text("aiohttp >= 3.8.1, < 4\npsycopg2\n", encoding="utf-8")
    clone = open_clone(str(folder))
    (head,) = select_from_clone(clone, catalog, "HEAD")
    pins = ["aiohttp>=3.7", "setuptools<81"]
    launcher = CheckoutLauncher(clone, pins, catalog.service_pythons, "test")
    for word in ("latest", "release-day"):
        service = replace(head, released=date(2021, 10, 3), deps=Dependencies(word, word))
        # One that cannot be had is nobody else's fault.
        launcher.prepare((service,))
        with pytest.raises(InfraError, match="no solution"):
            launcher.start(service, database, tmp_path / "service.log")
    latest, day = resolving
    assert latest[1] == ["aiohttp", "setuptools", "aiohttp >= 3.8.1, < 4", "psycopg2-binary"]
    assert day[1:2] + day[3:] == (latest[1], service.deps, date(2021, 10, 3))
    assert latest[2] == ["/p/3.11", "/p/3.10", "/p/3.9", "/p/3.7"]
    # Those that came after that day come last: nothing of it was built for them.
    assert day[2] == ["/p/3.9", "/p/3.7", "/p/3.11", "/p/3.10"]


def test_a_file_may_be_for_any_python_a_service_gets(monkeypatch, tmp_path):
    # uv knows nothing of the first: as of one for which a package of the file has nothing.
    pythons = {"3.11": Path("/bin/false"), "3.9": Path(sys.executable)}
    monkeypatch.setattr("harness.stack.service.checkout.find_interpreters", lambda: pythons)
    path = tmp_path / "req.txt"
    path.write_text("--no-index\n", encoding="utf-8")
    deps = Dependencies(path.name, str(path), path)
    check_service_file(deps, ["3.11"])
    del pythons["3.9"]
    with pytest.raises(UsageError, match=r"--service-deps \S+req\.txt: .*/bin/false"):
        check_service_file(deps, ["3.11"])


def test_what_services_rest_on_is_told_of_those_it_is_pinned_for(clone, catalog):
    services = select_from_clone(clone, catalog, "latest,HEAD")
    one, other = services
    told = service_pins([one, replace(other, deps=Dependencies("latest", "latest"))])
    (sentence,) = told
    assert f"setuptools<81 are pinned for {one.name}, which may not work" in sentence
    assert "boto3" not in sentence
    assert service_pins([replace(one, deps=Dependencies("latest", "latest"))]) == []


def test_no_python_fits(clone, catalog, monkeypatch):
    launcher = CheckoutLauncher(clone, ["packaging"], ["3.99"], "test")
    with pytest.raises(InfraError, match=r"services run on Python 3\.99, and none is here"):
        launcher.prepare(select_from_clone(clone, catalog, "latest"))
    monkeypatch.setattr("harness.stack.service.checkout.find_interpreters", dict)
    with pytest.raises(InfraError, match=r"services run on Python 3\.99"):
        find_pythons(["3.99"], Dependencies("latest"), date(2021, 1, 1))


def test_a_level_of_the_reference_service(clone, catalog):
    launcher = CheckoutLauncher(clone, ["packaging"], catalog.service_pythons, "test")
    with pytest.raises(UsageError, match=r"reference-2\.5 is a reference service, which no clone"):
        launcher.prepare((catalog.reference[-1],))


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=10).ok
    except requests.ConnectionError:
        return False
