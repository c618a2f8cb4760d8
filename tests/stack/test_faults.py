"""What breaks of a stack breaks really, and is there again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest

from harness.catalog.versions import load
from harness.machine.errors import InfraError
from harness.machine.processes import wait_until
from harness.stack.database.admin import answers
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.database.server import Database, DatabaseServer
from harness.stack.faults import break_in
from harness.stack.stacks import Stack
from tests.marks import mark_of

pytestmark = pytest.mark.e2e

URL = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server of these tests alone, which they may break."""
    folder = tmp_path_factory.mktemp("postgres")
    server = EmbeddedPostgres(folder, mark_of(folder))
    server.start()
    yield server
    server.stop()


def stack_over(database: Database | None, home: DatabaseServer | None) -> Stack:
    running: Any = SimpleNamespace(service=load().reference[-1], url=URL, log=Path("log"))
    migration: Any = None
    return Stack(running, database, migration, None, 0, home=home)


def test_connections_of_this_database_are_cut_and_no_others(own: EmbeddedPostgres):
    database, other = own.create("cut"), own.create("other")
    mine, theirs = database.address.connect(), other.address.connect()
    assert break_in(stack_over(database, own), "cut-connections").do() == URL
    with pytest.raises(psycopg2.OperationalError, match="terminat"):
        mine.cursor().execute("SELECT 1")
    theirs.cursor().execute("SELECT 1")
    for one in (mine, theirs):
        one.close()


def test_a_database_that_is_restarted_is_away_and_has_what_was_committed(own: EmbeddedPostgres):
    database = own.create("restarted")
    connection = database.address.connect()
    connection.cursor().execute("CREATE TABLE kept AS SELECT 7 AS number")
    breaks = break_in(stack_over(database, own), "database-restart=3")
    assert breaks.is_broken is not None
    assert not breaks.is_broken()
    restart = threading.Thread(target=breaks.do)
    restart.start()
    wait_until(breaks.is_broken, seconds=30, what="the end of the database", log=own.log)
    restart.join(60)
    assert answers(database.address)
    again = database.address.connect()
    with again.cursor() as cursor:
        cursor.execute("SELECT number FROM kept")
        assert cursor.fetchall() == [(7,)]
    for one in (connection, again):
        one.close()


def test_what_is_not_the_runs_own_is_not_broken(own: EmbeddedPostgres):
    database = own.create("theirs")
    for stack in (stack_over(None, None), stack_over(database, None)):
        with pytest.raises(InfraError, match=r"reference-\S+ is not the run's own to break"):
            break_in(stack, "service-restart")
