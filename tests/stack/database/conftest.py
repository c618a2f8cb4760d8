"""The six tables at every schema, with the rows of a run, to read, fingerprint and compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from harness.stack.database.server import Address, Database
from harness.stack.reference.schema import MIGRATIONS

Execute = Callable[..., list[tuple[Any, ...]]]
Migrate = Callable[..., None]


def execute_at(address: Address, *statements: str) -> list[tuple[Any, ...]]:
    with closing(address.connect()) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def execute(database: Database) -> Execute:
    """Run statements in the test's database; the rows of the last one come back."""
    return lambda *statements: execute_at(database.address, *statements)


@pytest.fixture
def migrate(database: Database) -> Iterator[Migrate]:
    """Bring a database (the test's own unless told) from a schema version up to another."""

    def migrate(to: int, after: int = 0, address: Address = database.address) -> None:
        for migration in MIGRATIONS:
            if after < migration.version <= to:
                execute_at(address, *migration.statements)

    return migrate


RUN = (
    "INSERT INTO flows_v3 VALUES ('HelloFlow', 'ann', 1), ('Other', 'ann', 1)",
    (
        "INSERT INTO runs_v3 (flow_id, run_number, ts_epoch, tags) VALUES"
        """ ('HelloFlow', 1, 5, '["a", "é"]'), ('HelloFlow', 2, 6, NULL), ('Other', 1, 7, NULL)"""
    ),
    (
        "INSERT INTO steps_v3 (flow_id, run_number, step_name, ts_epoch) VALUES"
        " ('HelloFlow', 1, 'start', 8), ('HelloFlow', 1, 'end', 9), ('HelloFlow', 2, 'start', 9)"
    ),
    (
        "INSERT INTO tasks_v3 (flow_id, run_number, step_name, task_id, ts_epoch) VALUES"
        " ('HelloFlow', 1, 'start', 1, 8), ('HelloFlow', 1, 'end', 2, 9),"
        " ('HelloFlow', 2, 'start', 3, 9)"
    ),
    (
        "INSERT INTO metadata_v3 (flow_id, run_number, step_name, task_id, field_name, value, type,"
        " ts_epoch) VALUES ('HelloFlow', 1, 'start', 1, 'attempt', '0', 'attempt', 8),"
        " ('HelloFlow', 1, 'end', 2, 'attempt', '0', 'attempt', 9)"
    ),
    (
        "INSERT INTO artifact_v3 (flow_id, run_number, step_name, task_id, name, location, ds_type,"
        " attempt_id, ts_epoch) VALUES ('HelloFlow', 1, 'start', 1, 'x', '/x', 'local', 0, 8),"
        " ('HelloFlow', 1, 'start', 1, 'name', '/n', 'local', 0, 8)"
    ),
)


@pytest.fixture
def first_schema(execute: Execute, migrate: Migrate) -> None:
    """The tables as 1.0 makes them, with two runs of HelloFlow and one of another flow."""
    migrate(1)
    execute(*RUN)
