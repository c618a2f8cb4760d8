from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from harness.proof import fingerprint
from harness.proof.fingerprint import Loss, compare, take
from harness.stack.database.server import Database
from harness.stack.reference.schema import MIGRATIONS

Execute = Callable[..., list[tuple[Any, ...]]]
Migrate = Callable[..., None]

NEWEST = MIGRATIONS[-1].version
TASK = "flow_id=HelloFlow run_number=1 step_name=start task_id=1"


@pytest.mark.usefixtures("first_schema")
def test_counts_the_rows_of_every_table(database: Database) -> None:
    assert take(database.address).counts == {
        "flows_v3": 2,
        "runs_v3": 3,
        "steps_v3": 3,
        "tasks_v3": 3,
        "metadata_v3": 2,
        "artifact_v3": 2,
    }


def test_an_empty_database_has_no_tables_to_lose(database: Database) -> None:
    before = take(database.address)
    assert before.counts == {}
    assert compare(before, database.address) == []


@pytest.mark.usefixtures("first_schema")
def test_all_migrations_lose_nothing(database: Database, migrate: Migrate) -> None:
    before = take(database.address)
    migrate(NEWEST, after=1)
    assert compare(before, database.address) == []


@pytest.mark.usefixtures("first_schema")
def test_new_rows_columns_and_tables_are_no_loss(database: Database, execute: Execute) -> None:
    before = take(database.address)
    execute(
        "INSERT INTO flows_v3 VALUES ('New', 'ann', 3)",
        "ALTER TABLE flows_v3 ADD COLUMN kind text DEFAULT 'x'",
        "CREATE TABLE more_v3 (id int PRIMARY KEY)",
    )
    assert compare(before, database.address) == []


@pytest.mark.usefixtures("first_schema")
def test_only_tables_that_differ_are_read(
    database: Database, execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, read = take(database.address), []

    def noting(connection: Any, table: str, *rest: Any) -> Any:
        read.append(table)
        return take_table(connection, table, *rest)

    take_table = fingerprint._take_table
    monkeypatch.setattr(fingerprint, "_take_table", noting)
    # Another order, and a column more, are no difference.
    execute(
        "UPDATE runs_v3 SET user_name = user_name WHERE run_number = 1",
        "ALTER TABLE tasks_v3 ADD COLUMN kind text DEFAULT 'x'",
    )
    assert compare(before, database.address) == []
    assert read == []
    execute("UPDATE steps_v3 SET user_name = 'other'")
    assert {loss.what for loss in compare(before, database.address)} == {"value changed"}
    assert read == ["steps_v3"]


LOSSES = {
    "DELETE FROM artifact_v3 WHERE name = 'x'": Loss(
        "artifact_v3", f"{TASK} attempt_id=0 name=x", None, "row lost"
    ),
    "UPDATE metadata_v3 SET value = '1' WHERE task_id = 1": Loss(
        "metadata_v3", f"{TASK} field_name=attempt", "value", "value changed"
    ),
    "UPDATE flows_v3 SET user_name = '' WHERE flow_id = 'Other'": Loss(
        "flows_v3", "flow_id=Other", "user_name", "value changed"
    ),
    "UPDATE runs_v3 SET tags = NULL WHERE tags IS NOT NULL": Loss(
        "runs_v3", "flow_id=HelloFlow run_number=1", "tags", "value changed"
    ),
    "ALTER TABLE artifact_v3 DROP COLUMN sha": Loss("artifact_v3", "", "sha", "column dropped"),
    "ALTER TABLE artifact_v3 RENAME TO artifacts": Loss("artifact_v3", "", None, "table dropped"),
}


@pytest.mark.usefixtures("first_schema")
@pytest.mark.parametrize("migrated", [False, True], ids=["same schema", "migrated"])
@pytest.mark.parametrize("statement", LOSSES)
def test_names_table_key_and_column_of_a_loss(
    database: Database, execute: Execute, migrate: Migrate, statement: str, migrated: bool
) -> None:
    before = take(database.address)
    if migrated:
        migrate(NEWEST, after=1)
    execute(statement)
    assert compare(before, database.address) == [LOSSES[statement]]


@pytest.mark.usefixtures("first_schema")
def test_null_and_the_empty_text_are_told_apart(database: Database, execute: Execute) -> None:
    execute("UPDATE flows_v3 SET user_name = NULL")
    before = take(database.address)
    execute("UPDATE flows_v3 SET user_name = ''")
    assert [loss.column for loss in compare(before, database.address)] == ["user_name"] * 2


@pytest.mark.usefixtures("first_schema")
def test_a_changed_key_is_a_lost_row(database: Database, execute: Execute) -> None:
    before = take(database.address)
    execute("UPDATE artifact_v3 SET name = 'y' WHERE name = 'x'")
    (loss,) = compare(before, database.address)
    assert str(loss) == f"artifact_v3: row lost at {TASK} attempt_id=0 name=x"


def test_the_sentences_name_the_place() -> None:
    assert str(Loss("t", "id=1", "c", "value changed")) == "t.c: value changed at id=1"
    assert str(Loss("t", "", "c", "column dropped")) == "t.c: column dropped"


@pytest.mark.usefixtures("first_schema")
def test_rows_that_repeat_under_a_wider_key_answer_for_themselves(
    database: Database, execute: Execute, migrate: Migrate
) -> None:
    before = take(database.address)
    migrate(NEWEST, after=1)
    repeat = (
        "INSERT INTO metadata_v3 (flow_id, run_number, step_name, task_id, field_name, value,"
        " type, ts_epoch) VALUES ('HelloFlow', 1, 'start', 1, 'attempt', '1', 'attempt', 10)"
    )
    execute(repeat, repeat)
    assert compare(before, database.address) == []
    execute("UPDATE metadata_v3 SET type = 'other' WHERE value = '0' AND task_id = 1")
    assert compare(before, database.address) == [
        Loss("metadata_v3", f"{TASK} field_name=attempt", "type", "value changed")
    ]


@pytest.mark.usefixtures("first_schema")
def test_a_dropped_key_column_is_named_and_the_rest_still_tells_rows_apart(
    database: Database, execute: Execute
) -> None:
    before = take(database.address)
    execute(
        "ALTER TABLE artifact_v3 DROP COLUMN attempt_id",
        "UPDATE artifact_v3 SET location = '/y' WHERE name = 'x'",
    )
    assert compare(before, database.address) == [
        Loss("artifact_v3", "", "attempt_id", "column dropped"),
        Loss("artifact_v3", f"{TASK} name=x", "location", "value changed"),
    ]


def test_without_a_primary_key_equal_rows_are_counted(database: Database, execute: Execute) -> None:
    execute("CREATE TABLE t_v3 (a text, b int)", "INSERT INTO t_v3 VALUES ('x', 1), ('x', 1)")
    before = take(database.address)
    assert before.counts == {"t_v3": 2}
    execute(
        "DELETE FROM t_v3 WHERE ctid IN (SELECT ctid FROM t_v3 LIMIT 1)",
        "INSERT INTO t_v3 VALUES ('y', 1)",
    )
    assert compare(before, database.address) == [Loss("t_v3", "a=x b=1", None, "row lost")]


def test_without_a_key_in_common_rows_are_lost_not_changed(
    database: Database, execute: Execute
) -> None:
    execute("CREATE TABLE t_v3 (a int PRIMARY KEY, b text)", "INSERT INTO t_v3 VALUES (1, 'x')")
    before = take(database.address)
    execute(
        "ALTER TABLE t_v3 DROP COLUMN a, ADD COLUMN id int PRIMARY KEY DEFAULT 1",
    )
    dropped = Loss("t_v3", "", "a", "column dropped")
    assert compare(before, database.address) == [dropped]
    execute("UPDATE t_v3 SET b = 'y'")
    assert compare(before, database.address) == [
        dropped,
        Loss("t_v3", "", None, "row lost"),
    ]


def test_names_and_values_that_need_quoting(database: Database, execute: Execute) -> None:
    execute(
        'CREATE TABLE "odd""%s_v3" ("a b" text PRIMARY KEY, "c%s" text)',
        """INSERT INTO "odd""%s_v3" VALUES ('"é\\\n', 'x')""",
    )
    before = take(database.address)
    execute('ALTER TABLE "odd""%s_v3" ADD COLUMN d int', """UPDATE "odd""%s_v3" SET "c%s" = 'y'""")
    assert compare(before, database.address) == [
        Loss('odd"%s_v3', 'a b="é\\\n', "c%s", "value changed")
    ]


def test_a_hundred_thousand_rows_are_held_small(
    database: Database, execute: Execute, migrate: Migrate
) -> None:
    migrate(1)
    execute(
        "INSERT INTO artifact_v3 (flow_id, run_number, step_name, task_id, name, location, ds_type,"
        " attempt_id, ts_epoch) SELECT 'HelloFlow', n / 100, 'start', n, 'x', repeat('v', 250),"
        " 'local', 0, n FROM generate_series(1, 100000) AS n"
    )
    tracemalloc.start()
    began = time.monotonic()
    before = take(database.address)
    seconds = time.monotonic() - began
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    execute("UPDATE artifact_v3 SET sha = 's' WHERE task_id = 77777")
    (loss,) = compare(before, database.address)
    assert (loss.column, loss.what) == ("sha", "value changed")
    assert held < 80_000_000
    assert seconds < 30
