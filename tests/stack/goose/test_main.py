"""The program on a real database, called as the migration service calls it: through a shell."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.stack.database.rows import schema_version
from harness.stack.database.server import Address, Database
from harness.stack.service.checkout import GOOSE_FOLDER

Goose = Callable[..., "subprocess.CompletedProcess[str]"]

PATH = os.pathsep.join([str(Path(sys.executable).parent), str(GOOSE_FOLDER), os.defpath])
TABLE = "-- +goose Up\nCREATE TABLE a (id int);\n-- +goose Down\nDROP TABLE a;\n"
INDEX = "-- +goose NO TRANSACTION\n-- +goose Up\nCREATE INDEX CONCURRENTLY a_id ON a (id);\n"
HALF = "-- +goose Up\nCREATE TABLE b (id int);\nSELECT 1 / 0;\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two migrations that go well."""
    (tmp_path / "1_table.sql").write_text(TABLE, encoding="utf-8")
    (tmp_path / "20200102030405_index.sql").write_text(INDEX, encoding="utf-8")
    return tmp_path


def run(database: Database, *arguments: str, url: bool = True) -> subprocess.CompletedProcess[str]:
    address = database.address
    connection = address.url if url else keywords(address)
    *options, verb = arguments
    command = ["goose", *options, "postgres", connection, verb]
    return subprocess.run(
        shlex.join(command),
        shell=True,
        env={"PATH": PATH},
        capture_output=True,
        text=True,
        check=False,
    )


def keywords(address: Address) -> str:
    return (
        f"dbname={address.name} user={address.user} password={address.password} "
        f"host={address.host} port={address.port} sslmode=disable"
    )


def query(database: Database, text: str) -> list[tuple[Any, ...]]:
    with closing(database.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(text)
        return list(cursor.fetchall())


@pytest.mark.parametrize("url", [True, False])
def test_up_then_nothing_to_do(database, folder, url):
    first = run(database, "-dir", str(folder), "up", url=url)
    assert first.returncode == 0, first.stderr
    assert not first.stdout
    assert schema_version(database.address) == 20200102030405
    assert query(database, "SELECT indisvalid FROM pg_index WHERE indrelid = 'a'::regclass") == [
        (True,)
    ]
    again = run(database, "-dir", str(folder), "up", url=url)
    assert again.returncode == 0
    assert "no migrations to run. current version: 20200102030405" in again.stderr


def test_version_makes_the_table_of_versions(database):
    finished = run(database, "version")
    assert finished.returncode == 0
    assert finished.stderr.rstrip("\n").endswith("goose: version 0")
    rows = query(database, "SELECT version_id, is_applied FROM goose_db_version")
    assert rows == [(0, True)]


def test_the_last_word_on_a_version_counts(database, folder):
    run(database, "-dir", str(folder), "up")
    with closing(database.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO goose_db_version (version_id, is_applied) VALUES (20200102030405, false)"
        )
    assert "goose: version 1\n" in run(database, "version").stderr


def test_status_tells_what_is_pending(database, folder):
    before = run(database, "-dir", str(folder), "status").stderr
    assert before.count("Pending") == 2
    run(database, "-dir", str(folder), "up")
    after = run(database, "-dir", str(folder), "status").stderr
    assert "Pending" not in after
    assert "-- 1_table.sql" in after


def test_a_migration_that_fails_leaves_nothing_of_itself(database, folder):
    (folder / "3_half.sql").write_text(HALF, encoding="utf-8")
    finished = run(database, "-dir", str(folder), "up")
    assert finished.returncode == 1
    assert "ERROR 3_half.sql: failed to run SQL migration: division by zero" in finished.stderr
    assert schema_version(database.address) == 1
    assert query(database, "SELECT to_regclass('b')") == [(None,)]


def test_a_migration_older_than_the_schema_is_refused(database, folder):
    run(database, "-dir", str(folder), "up")
    (folder / "2_late.sql").write_text(HALF, encoding="utf-8")
    finished = run(database, "-dir", str(folder), "up")
    assert finished.returncode == 1
    assert "found 1 missing migrations: 2_late.sql" in finished.stderr


def test_no_database(database, folder):
    nowhere = Database(replace(database.address, name="absent"), database.service_address)
    finished = run(nowhere, "-dir", str(folder), "up")
    assert finished.returncode == 1
    assert 'database "absent" does not exist' in finished.stderr


def test_the_password_is_never_repeated(database, folder):
    wrong = replace(database.address, password="not-the-password")
    finished = run(Database(wrong, wrong), "-dir", str(folder), "up")
    assert finished.returncode == 1
    assert "not-the-password" not in finished.stderr
