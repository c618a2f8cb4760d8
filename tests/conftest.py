"""Fixtures shared by all tests: one real PostgreSQL per test session, one database per test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest

from harness.database import Database
from harness.database.embedded import EmbeddedPostgres


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
