"""The migration API, and what migrations do to a database and to the data in it."""

from __future__ import annotations

import pytest

from harness.stack.reference import faults
from harness.stack.reference.levels import LEVELS

pytestmark = pytest.mark.e2e

MIGRATING = [name for name, level in LEVELS.items() if level.has_migrations]
NEWEST = MIGRATING[-1]


def applied(api) -> list[tuple[int, bool]]:
    return api.sql("SELECT version_id, is_applied FROM goose_db_version ORDER BY id")


def catalogue(api) -> list[tuple[object, ...]]:
    """Every column and index of the tables, as PostgreSQL describes them."""
    columns = api.sql(
        "SELECT table_name, column_name, data_type, is_nullable, column_default "
        "FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
    )
    indexes = api.sql(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    )
    return [*columns, *indexes]


def test_ping_and_unknown_paths(api):
    if not api.level.has_migrations:
        assert api.running.migration_url is None
        return
    assert api.migrate("GET", "/ping").text == "pong"
    assert api.migrate("GET", "/upgrade").status_code == 405
    assert api.migrate("GET", "/nothing").status_code == 404


@pytest.mark.parametrize("level", MIGRATING)
def test_upgrading_an_empty_database(serve, level: str):
    api = serve(level)
    known = [str(version) for version in LEVELS[level].migrations]
    assert api.migrate("GET", "/db_schema_status").json() == {
        "is_up_to_date": False,
        "current_version": "0",
        "migration_in_progress": False,
        "db_schema_versions": known,
        "unapplied_migrations": known,
    }
    assert api.status("GET", "/flows") == 500, "the service does not create tables from 2.0 on"
    upgraded = api.migrate("PATCH", "/upgrade")
    assert (upgraded.status_code, upgraded.text) == (200, "upgrade success")
    status = api.migrate("GET", "/db_schema_status").json()
    assert (status["is_up_to_date"], status["current_version"]) == (True, known[-1])
    assert status["unapplied_migrations"] == []
    assert applied(api) == [(0, True), *((int(version), True) for version in known)]
    assert api.migrate("GET", "/version").text == "latest"
    assert api.get("/flows") == []


def test_asking_for_the_version_creates_the_schema_when_there_is_none(serve):
    api = serve("2.0.6")
    assert api.migrate("GET", "/version").text == "latest"
    assert applied(api)[-1] == (20201002000616, True)


def test_upgrading_twice_changes_nothing(serve):
    api = serve(NEWEST)
    api.migrate("PATCH", "/upgrade")
    before = applied(api)
    assert api.migrate("PATCH", "/upgrade").ok
    assert applied(api) == before


def test_a_walk_through_all_levels_keeps_the_data_and_ends_as_a_fresh_start_does(serve):
    api = serve("1.0")
    task = api.register_task()
    api.post(f"{task}/metadata", [{"field_name": "f", "value": "v", "type": "t"}])
    for level in MIGRATING:
        api.running.stop()
        api = serve(level)
        assert api.migrate("PATCH", "/upgrade").ok
        found = api.get(task)
        assert (found["tags"], found["task_id"]) == (["a", "b"], int(task.rsplit("/", 1)[1]))
        assert [each["value"] for each in api.get(f"{task}/metadata")] == ["v"]
        assert api.register_task()
    walked = catalogue(api)
    api.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert api.migrate("PATCH", "/upgrade").ok
    assert catalogue(api) == walked


def test_tables_of_1_0_need_an_upgrade(serve):
    serve("1.0").running.stop()
    api = serve("2.0")
    assert api.migrate("GET", "/version").text == "v_1_0_1"
    assert api.migrate("GET", "/db_schema_status").json()["is_up_to_date"] is False


def test_an_older_schema_asks_for_the_code_of_its_time(serve):
    api = serve("2.0.6")
    api.migrate("PATCH", "/upgrade")
    api.running.stop()
    assert serve("2.5").migrate("GET", "/version").text == "20201002000616"


def test_a_newer_schema_is_no_place_for_an_older_level(serve):
    newer = serve("2.5")
    newer.migrate("PATCH", "/upgrade")
    newer.running.stop()
    older = serve("2.0.6")
    assert older.migrate("GET", "/version").status_code == 500
    status = older.migrate("GET", "/db_schema_status").json()
    assert (status["is_up_to_date"], status["current_version"]) == (False, "20230118020300")
    assert status["unapplied_migrations"] == status["db_schema_versions"]
    # The metadata API itself never looks at the schema.
    assert older.get(older.register_task())["step_name"] == "start"


def test_level_1_0_breaks_on_a_newer_schema_after_it_has_written(serve, stamp):
    newer = serve("2.0")
    newer.migrate("PATCH", "/upgrade")
    newer.running.stop()
    older = serve("1.0")
    assert older.status("POST", "/flows/F", stamp) == 200
    assert older.status("POST", "/flows/F/run", stamp) == 500
    assert older.sql("SELECT flow_id FROM runs_v3") == [("F",)]
    assert older.status("GET", "/flows/F/runs") == 500


# Planted faults


def plant(monkeypatch, fault: str) -> None:
    monkeypatch.setenv(faults.VARIABLE, fault)


def filled(serve):
    """Return a level that has one artifact and one row of metadata, stopped."""
    api = serve("2.0")
    api.migrate("PATCH", "/upgrade")
    task = api.register_task()
    names = ("_task_ok", "x", "name")
    api.post(f"{task}/artifact", [{"name": name, "location": "l"} for name in names])
    api.post(f"{task}/metadata", [{"field_name": "f", "value": "v", "type": "t"}])
    api.running.stop()
    return api


def test_a_fault_of_another_level_leaves_the_migration_alone(serve, monkeypatch):
    plant(monkeypatch, "migration-half-way@2.3")
    assert serve("2.5").migrate("PATCH", "/upgrade").ok


def test_a_dropped_column(serve, monkeypatch):
    plant(monkeypatch, "migration-drops-column")
    api = serve("2.5")
    assert api.migrate("PATCH", "/upgrade").ok
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'metadata_v3'"
    assert ("user_name",) not in api.sql(columns)
    assert ("value",) in api.sql(columns)


def test_an_invalid_index(serve, monkeypatch):
    plant(monkeypatch, "migration-invalid-index")
    api = serve("2.5")
    assert api.migrate("PATCH", "/upgrade").ok
    invalid = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
    assert api.sql(invalid) == [("runs_v3_idx_interrupted",)]


HAS_COLUMN = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'run_id'"
HAS_INDEX = "SELECT count(*) FROM pg_indexes WHERE indexname = "


@pytest.mark.parametrize(
    ("level", "query", "left"),
    [
        ("2.0", HAS_COLUMN, 4),
        ("2.0.4", HAS_COLUMN, 4),
        ("2.0.6", HAS_INDEX + "'metadata_v3_pkey'", 0),
        ("2.3", HAS_INDEX + "'runs_v3_idx_epoch_ts_desc'", 1),
        ("2.5", HAS_INDEX + "'runs_v3_idx_str_ids_primary_key_v2'", 1),
    ],
)
def test_half_a_migration(serve, monkeypatch, level: str, query: str, left: int):
    plant(monkeypatch, "migration-half-way")
    api = serve(level)
    failed = api.migrate("PATCH", "/upgrade")
    assert (failed.status_code, failed.text) == (500, "upgrade failed")
    *before, last = LEVELS[level].migrations
    assert [version for version, _ in applied(api)] == [0, *before]
    assert api.migrate("GET", "/db_schema_status").json()["unapplied_migrations"] == [str(last)]
    assert api.sql(query) == [(left,)]


def test_a_database_that_was_used_before_any_migration_is_refused_unchanged(serve, monkeypatch):
    plant(monkeypatch, "migration-refuses-used@2.0")
    old = serve("1.0")
    old.register_task()
    old.running.stop()
    api = serve("2.0")
    failed = api.migrate("PATCH", "/upgrade")
    assert (failed.status_code, failed.text) == (500, "upgrade failed")
    assert [version for version, _ in applied(api)] == [0]
    assert api.sql("SELECT count(*) FROM flows_v3") == [(1,)]


def test_an_empty_database_is_not_refused(serve, monkeypatch):
    plant(monkeypatch, "migration-refuses-used")
    assert serve("2.0").migrate("PATCH", "/upgrade").ok


def test_a_lost_row_is_an_artifact_of_the_user(serve, monkeypatch):
    filled(serve)
    plant(monkeypatch, "migration-loses-row")
    api = serve("2.5")
    assert api.migrate("PATCH", "/upgrade").ok
    assert api.sql("SELECT name FROM artifact_v3 ORDER BY name") == [("_task_ok",), ("name",)]


def test_a_changed_value(serve, monkeypatch):
    filled(serve)
    plant(monkeypatch, "migration-changes-value")
    api = serve("2.5")
    assert api.migrate("PATCH", "/upgrade").ok
    assert api.sql("SELECT value FROM metadata_v3") == [("v (changed)",)]
