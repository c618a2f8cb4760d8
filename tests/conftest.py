"""Fixtures shared by all tests: real servers, one of each per test session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from harness.machine.errors import InfraError
from harness.machine.tools import ROOT
from harness.stack.containers.engine import Engine, find_engine
from harness.stack.database.binaries import majors_with_tls
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.database.server import Database
from harness.stack.database.tls import PROGRAM
from tests.images.build import push_all, push_page, push_s3
from tests.images.registry import serve_registry
from tests.tls import Encrypted, serve

ENGINE = {
    "tests/stack/containers/test_engine.py",
    "tests/stack/containers/test_images.py",
    "tests/stack/containers/test_own.py",
    "tests/stack/database/test_container.py",
    "tests/stack/store/test_container.py",
    "tests/e2e/test_containers.py",
    "tests/e2e/test_dying_containers.py",
    "tests/e2e/test_killed.py",
    "tests/e2e/test_resume.py",
    "tests/e2e/test_s3_image.py",
    "tests/e2e/test_ui.py",
    "tests/e2e/test_ui_containers.py",
    "tests/stack/service/test_container.py",
    "tests/cli/test_clean.py",
}
"""Files that look at all there is on the Docker engine, or clean up after any run: one worker's."""


class ByFile(LoadFileScheduling):
    """Gives a worker a whole file, whose tests share servers and runs, or all of ENGINE."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return "engine" if file in ENGINE else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Share the tests out among the workers of ``-n N``."""
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first: workers are idle at the end for as long as the last file."""
    for item in items:
        if item.get_closest_marker("docker") and _file(item) not in ENGINE:
            raise pytest.UsageError(f"{_file(item)} needs the engine: name it in {__name__}.ENGINE")
        if _file(item) not in ENGINE and _cleans(item.path):
            raise pytest.UsageError(f"{_file(item)} cleans: name it in {__name__}.ENGINE")
        # What needs an engine, a browser or a database server runs servers of its own.
        if any(map(item.get_closest_marker, ("docker", "browser"))) or _uses_postgres(item):
            item.add_marker(pytest.mark.e2e)
    items.sort(key=_place)


def _uses_postgres(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and "postgres" in item.fixturenames


@cache
def _cleans(file: Path) -> bool:
    """Tell whether a file's tests clean up after any run, and take from others what they tell."""
    return 'nox("-s", "clean"' in file.read_text(encoding="utf-8")


def _place(item: pytest.Item) -> int:
    if _file(item) in ENGINE:
        return 0
    return 1 if item.get_closest_marker("e2e") else 2


def _file(item: pytest.Item) -> str:
    return item.path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """The embedded PostgreSQL, started at the first test that needs it."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), f"tests-{os.getpid()}")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """An empty database of the test's own."""
    name = f"test_{uuid4().hex}"
    yield postgres.create(name)
    postgres.drop(name)


@pytest.fixture(scope="session")
def with_tls() -> str:
    """The newest major of the system's PostgreSQL that speaks TLS."""
    found = majors_with_tls()
    if not found or shutil.which(PROGRAM) is None:
        _cannot("TLS needs a PostgreSQL of the system's, which the wheel's is not, and openssl")
    return found[-1]


@pytest.fixture(scope="session")
def encrypted(with_tls: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    """A PostgreSQL of the system's that takes encrypted connections alone."""
    del with_tls  # what it needs is there
    with serve(tmp_path_factory.mktemp("encrypted")) as server:
        yield server


def _cannot(why: str) -> NoReturn:
    """Skip what needs Docker, with the reason; on CI, which brings it, fail."""
    if os.environ.get("COMPAT_REQUIRE_DOCKER"):
        pytest.fail(f"COMPAT_REQUIRE_DOCKER is set, but {why}", pytrace=False)
    pytest.skip(why)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The Docker engine of this machine."""
    try:
        found = find_engine()
    except InfraError as error:
        _cannot(str(error))
    yield found
    found.close()


@pytest.fixture(scope="session")
def registry(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a registry with images that stand in for the published ones.

    COMPAT_REGISTRY names one that the engine uses as its mirror; without it one is started here.
    """
    for program in ("mmdebstrap", "docker-registry"):
        if shutil.which(program) is None:
            _cannot(f"{program} is not installed, which the stand-in images need")
    with serve_registry(tmp_path_factory.mktemp("registry")) as address:
        push_all(engine.client, address)
        yield address
        for image in engine.client.images.list():
            for tag in image.tags:
                if tag.startswith(f"{address}/"):
                    engine.client.images.remove(tag, force=True)


@pytest.fixture(scope="session")
def s3_registry(engine: Engine, registry: str) -> str:
    """The registry, with images that stand in for S3 servers, too; they take a while to build."""
    push_s3(engine.client, registry)
    return registry


@pytest.fixture(scope="session")
def page_registry(engine: Engine, registry: str) -> str:
    """The registry, with an image that stands in for Netflix/metaflow-ui, too."""
    push_page(engine.client, registry)
    return registry
