from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from harness.proof.schema import describe, differences, invalid_indexes, renamed
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.database.server import Database
from harness.stack.reference.schema import MIGRATIONS

Execute = Callable[..., list[tuple[Any, ...]]]
Migrate = Callable[..., None]

NEWEST = MIGRATIONS[-1].version
FUNCTION = "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN {}; END'"
TRIGGER = "CREATE TRIGGER told AFTER INSERT ON flows_v3 FOR EACH ROW EXECUTE FUNCTION tell()"


@pytest.fixture
def fresh(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A second database to hold the first against."""
    name = f"fresh_{uuid.uuid4().hex}"
    yield postgres.create(name)
    postgres.drop(name)


@pytest.mark.usefixtures("first_schema")
def test_with_rows_or_without_makes_no_difference(
    database: Database, fresh: Database, migrate: Migrate
) -> None:
    migrate(NEWEST, after=1)
    migrate(NEWEST, address=fresh.address)
    migrated = describe(database.address)
    assert differences(migrated, describe(fresh.address)) == []
    kinds = {"table", "column", "primary", "unique", "foreign", "index"}
    assert {name.split(" ")[0] for name in migrated.objects} == kinds


def test_describes_columns_keys_and_indexes_in_words(database: Database, migrate: Migrate) -> None:
    migrate(NEWEST)
    objects = describe(database.address).objects
    assert objects["column runs_v3.run_number"] == (
        "integer, not null, default nextval('runs_v3_run_number_seq'::regclass)"
    )
    assert objects["column runs_v3.run_id"] == "character varying(255), nullable"
    assert objects["primary key runs_v3_pkey on runs_v3"] == "PRIMARY KEY (flow_id, run_number)"
    assert "runs_v3_idx_epoch_ts_desc" in objects["index runs_v3_idx_epoch_ts_desc on runs_v3"]


def test_the_bookkeeping_of_goose_is_left_out(database: Database, execute: Execute) -> None:
    execute("CREATE TABLE goose_db_version (id serial PRIMARY KEY)")
    assert describe(database.address).objects == {}


def test_the_order_of_columns_is_no_difference(
    database: Database, fresh: Database, execute: Execute
) -> None:
    execute("CREATE TABLE t (a int)", "ALTER TABLE t ADD COLUMN b int")
    with closing(fresh.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (b int, a int)")
    assert differences(describe(database.address), describe(fresh.address)) == []


OF_11 = "steps_v3_flow_id_fkey"
"""The name that PostgreSQL gives a foreign key of steps_v3 before 12."""


def test_a_key_that_another_postgresql_named_is_the_same(
    database: Database, fresh: Database, migrate: Migrate, execute: Execute
) -> None:
    migrate(NEWEST)
    migrate(NEWEST, address=fresh.address)
    now = "steps_v3_flow_id_run_number_fkey"
    execute(f"ALTER TABLE steps_v3 RENAME CONSTRAINT {now} TO {OF_11}")
    there, new = describe(database.address), describe(fresh.address)
    assert len(differences(there, new)) == 2
    names = renamed(there, new)
    assert names == {f"foreign key {OF_11} on steps_v3": f"foreign key {now} on steps_v3"}
    assert differences(there.named_as(names), new) == []
    # One that is gone, or is another one, is told all the same.
    execute(f"ALTER TABLE steps_v3 DROP CONSTRAINT {OF_11}")
    (said,) = differences(describe(database.address).named_as(names), new)
    assert said.startswith(f"foreign key {now} on steps_v3 is missing")
    execute(
        f"ALTER TABLE steps_v3 ADD CONSTRAINT {OF_11} FOREIGN KEY (flow_id) REFERENCES flows_v3"
    )
    assert renamed(describe(database.address), new) == {}


CHANGES = {
    "ALTER TABLE artifact_v3 DROP COLUMN sha": [
        "column artifact_v3.sha is missing; a fresh install has: character varying(255), nullable"
    ],
    "ALTER TABLE flows_v3 ADD COLUMN more text DEFAULT 'x'": [
        "column flows_v3.more is not in a fresh install: text, nullable, default 'x'::text"
    ],
    "ALTER TABLE flows_v3 ALTER COLUMN user_name TYPE text": [
        (
            "column flows_v3.user_name is: text, nullable; "
            "in a fresh install it is: character varying(255), nullable"
        )
    ],
    "ALTER TABLE flows_v3 ALTER COLUMN ts_epoch DROP NOT NULL": [
        "column flows_v3.ts_epoch is: bigint, nullable; in a fresh install it is: bigint, not null"
    ],
    "DROP INDEX metadata_v3_akey": [
        (
            "index metadata_v3_akey on metadata_v3 is missing; a fresh install has: "
            "CREATE INDEX metadata_v3_akey ON public.metadata_v3 USING btree "
            "(flow_id, run_number, step_name, task_id, field_name)"
        )
    ],
    "ALTER TABLE runs_v3 DROP CONSTRAINT runs_v3_flow_id_fkey": [
        (
            "foreign key runs_v3_flow_id_fkey on runs_v3 is missing; a fresh install has: "
            "FOREIGN KEY (flow_id) REFERENCES flows_v3(flow_id)"
        )
    ],
    "ALTER TABLE artifact_v3 DROP CONSTRAINT artifact_v3_pkey": [
        (
            "primary key artifact_v3_pkey on artifact_v3 is missing; a fresh install has: "
            "PRIMARY KEY (flow_id, run_number, step_name, task_id, attempt_id, name)"
        )
    ],
    "CREATE TABLE extra ()": ["table extra is not in a fresh install: a table"],
}


@pytest.mark.parametrize("change", CHANGES)
def test_names_each_difference(
    database: Database, fresh: Database, execute: Execute, migrate: Migrate, change: str
) -> None:
    migrate(NEWEST)
    migrate(NEWEST, address=fresh.address)
    execute(change)
    assert differences(describe(database.address), describe(fresh.address)) == CHANGES[change]


def test_triggers_and_their_functions_are_compared(
    database: Database, execute: Execute, migrate: Migrate
) -> None:
    migrate(1)
    without = describe(database.address)
    execute(FUNCTION.format("NULL"), TRIGGER)
    told = describe(database.address)
    assert [line.split(" is ")[0] for line in differences(told, without)] == [
        "function tell()",
        "trigger told on flows_v3",
    ]
    execute(FUNCTION.format("NEW").replace("CREATE", "CREATE OR REPLACE"))
    (changed,) = differences(describe(database.address), told)
    assert changed.startswith("function tell() is:")
    execute("ALTER TABLE flows_v3 DISABLE TRIGGER told")
    assert describe(database.address).objects["trigger told on flows_v3"].endswith("(disabled)")


@pytest.mark.usefixtures("first_schema")
def test_an_index_left_half_built_is_named(database: Database, execute: Execute) -> None:
    assert invalid_indexes(database.address) == []
    with pytest.raises(psycopg2.errors.UniqueViolation):
        execute("CREATE UNIQUE INDEX CONCURRENTLY half_built ON runs_v3 (flow_id)")
    assert invalid_indexes(database.address) == ["half_built"]
    description = describe(database.address).objects["index half_built on runs_v3"]
    assert description.endswith("(invalid)")
