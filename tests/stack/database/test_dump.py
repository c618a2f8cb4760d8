"""A database becomes a file, and the file a database that nothing tells from it."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from harness.machine.errors import InfraError
from harness.proof import fingerprint, schema
from harness.stack.database.dump import dump, restore
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.database.server import Database
from harness.stack.reference.schema import MIGRATIONS
from tests.stack.database.conftest import Migrate


@pytest.mark.usefixtures("first_schema")
def test_it_is_the_same_database(
    database: Database, migrate: Migrate, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    migrate(MIGRATIONS[-1].version, after=1)
    # A folder that has none of the programs leaves it to the wheel's.
    dump(database.address, tmp_path / "file", tmp_path)
    name = f"again {uuid4().hex}"
    again = postgres.create(name).address
    try:
        restore(tmp_path / "file", again)
        assert fingerprint.take(again) == fingerprint.take(database.address)
        assert fingerprint.take(again).counts["runs_v3"] == 3
        wanted = schema.describe(database.address)
        assert schema.differences(schema.describe(again), wanted) == []
    finally:
        postgres.drop(name)


@pytest.mark.usefixtures("first_schema")
def test_what_is_not_whole_is_told(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "file"
    dump(database.address, file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InfraError, match="pg_restore of the database"):
        restore(file, database.address)
    with pytest.raises(InfraError, match=r"pg_dump of .* No such file"):
        dump(database.address, tmp_path / "none" / "file")
