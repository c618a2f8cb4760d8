from __future__ import annotations

import pytest

from harness.stack.reference import schema
from harness.stack.reference.levels import LEVELS


def test_what_postgresql_refuses_in_a_transaction_is_outside_one():
    for migration in schema.MIGRATIONS:
        concurrently = any("CONCURRENTLY" in statement for statement in migration.statements)
        assert concurrently != migration.in_transaction, migration.version


def test_migrations_are_in_order():
    versions = [migration.version for migration in schema.MIGRATIONS]
    assert versions == sorted(versions)


@pytest.mark.parametrize(
    ("level", "table", "has", "lacks"),
    [
        ("1.0", schema.RUNS, "run_number", "run_id"),
        ("2.0", schema.RUNS, "run_id", "last_heartbeat_ts"),
        ("2.0.4", schema.TASKS, "last_heartbeat_ts", "id"),
        ("2.5", schema.STEPS, "run_id", "last_heartbeat_ts"),
    ],
)
def test_a_level_knows_the_columns_of_its_time(level: str, table: str, has: str, lacks: str):
    columns = schema.columns(table, LEVELS[level])
    assert has in columns
    assert lacks not in columns
