"""What a UI is deployed over, and which databases are refused."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from harness.catalog.versions import load
from harness.machine import locks
from harness.machine.errors import InfraError, UsageError
from harness.stack.database.cluster import remove_leftovers
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.database.rows import TABLES
from harness.stack.database.server import Address, Database
from harness.stack.kept_stack import Kept
from harness.ui.options import has_ui
from harness.ui.source import GivenDatabase, KeptProcesses, check_database

AVAILABLE = tuple(one for one in load().released if has_ui(one))
NEWEST = AVAILABLE[-1]


def execute(address: Address, *statements: str) -> None:
    with closing(address.connect()) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def make_tables(address: Address, schema: int) -> None:
    """Make what looks like the tables of a metadata service at a schema version."""
    execute(
        address,
        *(f"CREATE TABLE {table} (flow_id text)" for table in TABLES),
        "CREATE TABLE goose_db_version (id serial, version_id bigint, is_applied boolean)",
        f"INSERT INTO goose_db_version (version_id, is_applied) VALUES ({schema}, true)",
    )


def test_an_empty_database_is_refused(database: Database):
    with pytest.raises(UsageError, match=r"'test_\w+' at 127\.0\.0\.1:\d+ is empty: it is no"):
        check_database(database.address, [NEWEST], AVAILABLE)


def test_a_database_of_something_else_is_refused(database: Database):
    execute(database.address, "CREATE TABLE cats (name text)")
    with pytest.raises(UsageError, match="has no table artifact_v3: it is no database of a"):
        check_database(database.address, [NEWEST], AVAILABLE)


def test_a_schema_too_old_for_the_ui_names_one_that_fits(database: Database):
    make_tables(database.address, 20220503175500)
    with pytest.raises(UsageError) as caught:
        check_database(database.address, [NEWEST], AVAILABLE)
    fitting = [one.name for one in AVAILABLE if one.schema <= 20220503175500]
    assert f"has schema 20220503175500, too old for the UI of {NEWEST.name}" in str(caught.value)
    assert f"or --ui-version {fitting[-1]}" in str(caught.value)
    check_database(database.address, [AVAILABLE[0]], AVAILABLE)


def test_a_schema_older_than_every_ui_is_to_be_migrated(database: Database):
    make_tables(database.address, 1)
    with pytest.raises(UsageError, match=r"migrate it with the service first$"):
        check_database(database.address, [NEWEST], AVAILABLE)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run's cluster with one table in its database, kept."""
    monkeypatch.setattr(locks, "RUNS", tmp_path / "runs")
    folder = tmp_path / "run"
    server = EmbeddedPostgres(folder / "work" / "postgres", f"test-{tmp_path.name}")
    server.start()
    address = server.create("metaflow").address
    execute(address, "CREATE TABLE t AS SELECT 7 AS n")
    cluster = server.cluster
    assert cluster is not None
    server.stop(keep=True)
    (folder / "work" / "data").mkdir()
    place = {"home": str(cluster.home), "binaries": str(cluster.binaries)}
    yield Kept("run", folder, "embedded", "reference-2.5", address, place)
    remove_leftovers(folder / "work" / "postgres")


def test_a_kept_database_is_served_again(kept: Kept, tmp_path: Path):
    source = KeptProcesses(kept, {}, tmp_path / "logs", f"test-{tmp_path.name}/ui", outlives=False)
    database = source.start()
    with closing(database.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT n FROM t")
        assert cursor.fetchone() == (7,)
    source.stop()
    assert source.environment == {}
    assert source.folders == (kept.data / "data",)
    assert Path(kept.place["home"]).is_dir()


@pytest.mark.parametrize("outlives", [False, True])
def test_just_who_is_to_run_on_writes_its_log_itself(kept: Kept, tmp_path: Path, outlives: bool):
    logs, key = tmp_path / "logs", "AKIAIOSFODNN7EXAMPLE"
    source = KeptProcesses(kept, {}, logs, f"test-{tmp_path.name}/ui", outlives=outlives)
    database = source.start()
    try:
        with (
            closing(database.address.connect()) as connection,
            connection.cursor() as cursor,
            pytest.raises(psycopg2.Error),
        ):
            cursor.execute(f"SELECT {key}")
    finally:
        source.stop()
    log = (logs / "postgres.log").read_text(encoding="utf-8")
    assert "STATEMENT:  SELECT" in log
    assert (key in log) is outlives


def test_a_store_of_the_user_s_own_is_read_by_their_variables(kept: Kept, tmp_path: Path):
    stores = {"s3": {"root": "s3://bucket/prefix", "endpoint": "http://127.0.0.1:1"}}
    given = Kept(
        kept.run, kept.folder, kept.backend, kept.service, kept.database, kept.place, stores
    )
    environ = {"AWS_ACCESS_KEY_ID": "key", "HOME": str(tmp_path), "OTHER": "x"}
    source = KeptProcesses(
        given, environ, tmp_path / "logs", f"test-{tmp_path.name}/ui", outlives=False
    )
    source.start()
    source.stop()
    assert source.environment == {
        "AWS_ACCESS_KEY_ID": "key",
        "METAFLOW_DATASTORE_SYSROOT_S3": "s3://bucket/prefix",
        "METAFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:1",
    }


def test_a_kept_database_whose_files_are_gone_is_said(kept: Kept, tmp_path: Path):
    remove_leftovers(kept.data / "postgres")
    source = KeptProcesses(kept, {}, tmp_path / "logs", f"test-{tmp_path.name}/ui", outlives=False)
    with pytest.raises(InfraError, match=r"kept database cannot be served: .* is gone"):
        source.start()


def test_a_given_database_brings_the_user_s_variables_of_data(database: Database, tmp_path: Path):
    environ = {
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(tmp_path),
        "METAFLOW_SERVICE_URL": "http://elsewhere",
        "HOME": str(tmp_path),
    }
    source = GivenDatabase(database.address.url, environ)
    assert source.start().address == database.address
    assert source.environment == {"METAFLOW_DATASTORE_SYSROOT_LOCAL": str(tmp_path)}
    assert source.folders == (tmp_path,)
    assert database.address.password not in source.description


def test_a_given_database_that_cannot_be_reached_is_said():
    source = GivenDatabase("postgresql://u:secret@127.0.0.1:1/db", {"HOME": "/none"})
    with pytest.raises(UsageError, match=r"'db' at 127\.0\.0\.1:1 cannot be reached"):
        source.start()
