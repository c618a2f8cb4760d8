from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from harness.stack.database.rows import TABLES, is_empty, run_rows, schema_version
from harness.stack.database.server import Database
from harness.stack.reference.schema import MIGRATIONS

Execute = Callable[..., list[tuple[Any, ...]]]

GOOSE_TABLE = (
    (
        "CREATE TABLE goose_db_version (id serial PRIMARY KEY, version_id bigint NOT NULL,"
        " is_applied boolean NOT NULL, tstamp timestamp DEFAULT now())"
    ),
    "INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, true)",
)


@pytest.mark.parametrize("version", [migration.version for migration in MIGRATIONS])
@pytest.mark.usefixtures("first_schema")
def test_reads_a_numbered_run_on_every_schema(
    database: Database, migrate: Callable[..., None], version: int
) -> None:
    migrate(version, after=1)
    rows = run_rows(database.address, "HelloFlow", "1")
    assert {table: len(found) for table, found in rows.items()} == {
        "flows_v3": 1,
        "runs_v3": 1,
        "steps_v3": 2,
        "tasks_v3": 2,
        "metadata_v3": 2,
        "artifact_v3": 2,
    }
    assert rows["runs_v3"][0]["tags"] == ["a", "é"]
    assert [step["step_name"] for step in rows["steps_v3"]] == ["start", "end"]
    assert [artifact["name"] for artifact in rows["artifact_v3"]] == ["name", "x"]
    assert json.loads(json.dumps(rows)) == rows


@pytest.mark.usefixtures("first_schema")
def test_reads_a_run_by_an_id_of_its_own(
    database: Database, execute: Execute, migrate: Callable[..., None]
) -> None:
    migrate(20200603104139, after=1)
    execute(
        "UPDATE runs_v3 SET run_id = 'argo-abc' WHERE flow_id = 'HelloFlow' AND run_number = 2",
        "UPDATE steps_v3 SET run_id = 'argo-abc' WHERE run_number = 2",
    )
    rows = run_rows(database.address, "HelloFlow", "argo-abc")
    assert [run["run_number"] for run in rows["runs_v3"]] == [2]
    assert [step["step_name"] for step in rows["steps_v3"]] == ["start"]


@pytest.mark.usefixtures("first_schema")
@pytest.mark.parametrize("run_id", ["argo-abc", "99", "9" * 30, "²", ""])
def test_a_run_that_is_not_there_has_no_rows_but_its_flows(database: Database, run_id: str) -> None:
    rows = run_rows(database.address, "HelloFlow", run_id)
    assert [table for table, found in rows.items() if found] == ["flows_v3"]


def test_tables_that_are_not_there_have_no_rows(database: Database) -> None:
    assert run_rows(database.address, "HelloFlow", "1") == {table: [] for table in TABLES}


def test_an_empty_database_has_no_schema_version(database: Database) -> None:
    assert schema_version(database.address) is None


@pytest.mark.usefixtures("first_schema")
def test_tables_without_goose_are_schema_0(database: Database) -> None:
    assert schema_version(database.address) == 0


def test_only_the_bookkeeping_is_schema_0(database: Database, execute: Execute) -> None:
    execute(*GOOSE_TABLE)
    assert schema_version(database.address) == 0


def test_the_latest_row_of_a_version_tells_whether_it_is_applied(
    database: Database, execute: Execute
) -> None:
    execute(
        *GOOSE_TABLE,
        "INSERT INTO goose_db_version (version_id, is_applied) VALUES"
        " (1, true), (20200603104139, true), (20201002000616, true), (20201002000616, false)",
    )
    assert schema_version(database.address) == 20200603104139
    execute("INSERT INTO goose_db_version (version_id, is_applied) VALUES (20201002000616, true)")
    assert schema_version(database.address) == 20201002000616


def test_a_new_database_is_empty(database: Database) -> None:
    assert is_empty(database.address)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE t ()",
        "CREATE VIEW v AS SELECT 1",
        "CREATE SEQUENCE s",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA apart CREATE TABLE t ()",
    ],
)
def test_anything_in_it_makes_it_not_empty(
    database: Database, execute: Execute, statement: str
) -> None:
    execute(statement)
    assert not is_empty(database.address)


def test_what_an_extension_brings_is_nobodys_data(database: Database, execute: Execute) -> None:
    execute("CREATE EXTENSION vector")  # the one the wheel brings beside PostgreSQL's own
    assert is_empty(database.address)
