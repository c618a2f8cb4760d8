"""Applying migrations to a database and recording them in ``goose_db_version``, as goose does."""

from __future__ import annotations

import logging

from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier

from harness.stack.reference import faults, schema
from harness.stack.reference.faults import Fault
from harness.stack.reference.levels import Level
from harness.stack.reference.schema import Migration

_log = logging.getLogger(__name__)

_CREATE_VERSIONS = (
    "CREATE TABLE goose_db_version ("
    "id serial PRIMARY KEY, version_id bigint NOT NULL, is_applied boolean NOT NULL, "
    "tstamp timestamp DEFAULT now())"
)
_RECORD = "INSERT INTO goose_db_version (version_id, is_applied) VALUES (%s, true)"
# The last word on each version counts; of the versions applied, the one recorded last.
_CURRENT = (
    "SELECT version_id FROM ("
    "SELECT DISTINCT ON (version_id) id, version_id, is_applied FROM goose_db_version "
    "ORDER BY version_id, id DESC) AS last_word WHERE is_applied ORDER BY id DESC LIMIT 1"
)


class MigrationError(Exception):
    """A migration failed and left the database as it says."""


class Migrator:
    """The schema of one database, as a level changes it.

    Args:
        level: the migrations it may apply.
        conninfo: libpq connection string; contains the password.
        fault: what goes wrong on purpose.
    """

    def __init__(self, level: Level, conninfo: str, fault: Fault) -> None:
        self._known = [step for step in schema.MIGRATIONS if step.version in level.migrations]
        self._conninfo = conninfo
        self._fault = fault

    async def has_tables(self) -> bool:
        """Tell whether the metadata tables exist, whoever created them."""
        async with await self._connect() as connection:
            return await _has_table(connection, schema.FLOWS)

    async def current(self) -> int:
        """Return the newest version applied, 0 for none. Creates the table of versions."""
        async with await self._connect() as connection:
            return await _current(connection)

    async def upgrade(self) -> None:
        """Apply every migration newer than the schema, in order.

        Raises:
            psycopg.Error: when one fails; those before it stay applied.
            MigrationError: when a planted fault makes one fail.
        """
        async with await self._connect() as connection:
            current = await _current(connection)
            if self._fault.name == faults.MIGRATION_REFUSES_USED and not current:
                await _refuse_used(connection)
            pending = [step for step in self._known if step.version > current]
            for step in pending:
                if self._fault.name == faults.MIGRATION_HALF_WAY and step is pending[-1]:
                    await _apply_half(connection, step)
                await _apply(connection, step)
            if pending:
                await self._spoil(connection)

    async def _spoil(self, connection: AsyncConnection[TupleRow]) -> None:
        if self._fault.name == faults.MIGRATION_INVALID_INDEX:
            async with await self._connect() as blocker:
                await _leave_invalid_index(connection, blocker)
        elif self._fault.name in _SPOILING:
            await connection.execute(SQL(_SPOILING[self._fault.name]))

    async def _connect(self) -> AsyncConnection[TupleRow]:
        return await AsyncConnection.connect(self._conninfo, autocommit=True)


async def newest_schema(conninfo: str) -> int:
    """Return the newest version applied, 0 for none, and change nothing."""
    async with await AsyncConnection.connect(conninfo, autocommit=True) as connection:
        if not await _has_table(connection, "goose_db_version"):
            return 0
        return await _current(connection)


async def _has_table(connection: AsyncConnection[TupleRow], name: str) -> bool:
    cursor = await connection.execute("SELECT to_regclass(%s)", (name,))
    row = await cursor.fetchone()
    return row is not None and row[0] is not None


async def _current(connection: AsyncConnection[TupleRow]) -> int:
    if not await _has_table(connection, "goose_db_version"):
        async with connection.transaction():
            await connection.execute(_CREATE_VERSIONS)
            await connection.execute(_RECORD, (0,))
    row = await (await connection.execute(_CURRENT)).fetchone()
    return 0 if row is None else int(row[0])


async def _apply(connection: AsyncConnection[TupleRow], step: Migration) -> None:
    if step.in_transaction:
        async with connection.transaction():
            await _run(connection, step)
    else:
        await _run(connection, step)
    _log.info("migration %s applied", step.version)


async def _run(connection: AsyncConnection[TupleRow], step: Migration) -> None:
    for statement in step.statements:
        await connection.execute(SQL(statement))
    await connection.execute(_RECORD, (step.version,))


# Planted faults

_USERS_ARTIFACTS_FIRST = "ORDER BY name = 'name' OR starts_with(name, '_'), ts_epoch, task_id, name"

_SPOILING = {
    faults.MIGRATION_DROPS_COLUMN: f"ALTER TABLE {schema.METADATA} DROP COLUMN user_name",
    faults.MIGRATION_LOSES_ROW: (
        f"DELETE FROM {schema.ARTIFACTS} WHERE ctid = "  # noqa: S608 - constants of ours
        f"(SELECT ctid FROM {schema.ARTIFACTS} {_USERS_ARTIFACTS_FIRST} LIMIT 1)"
    ),
    faults.MIGRATION_CHANGES_VALUE: (
        f"UPDATE {schema.METADATA} SET value = value || ' (changed)' "  # noqa: S608 - the same
        f"WHERE id = (SELECT min(id) FROM {schema.METADATA})"
    ),
}


async def _apply_half(connection: AsyncConnection[TupleRow], step: Migration) -> None:
    """Apply the first half of a migration outside any transaction, record nothing, and fail."""
    half = max(1, len(step.statements) // 2)
    for statement in step.statements[:half]:
        await connection.execute(SQL(statement))
    raise MigrationError(
        f"planted fault: migration {step.version} stopped after {half} of "
        f"{len(step.statements)} statements"
    )


async def _refuse_used(connection: AsyncConnection[TupleRow]) -> None:
    """Fail where flows were registered before any migration, and change nothing."""
    if await _has_table(connection, schema.FLOWS):
        query = SQL("SELECT 1 FROM {} LIMIT 1").format(Identifier(schema.FLOWS))
        cursor = await connection.execute(query)
        if await cursor.fetchone():
            raise MigrationError(f'planted fault: relation "{schema.FLOWS}" already exists')


async def _leave_invalid_index(
    connection: AsyncConnection[TupleRow], blocker: AsyncConnection[TupleRow]
) -> None:
    """Leave behind what an interrupted ``CREATE INDEX CONCURRENTLY`` leaves: an invalid index.

    It waits for transactions that write to the table; one of ours does not end before its
    patience does.
    """
    async with blocker.transaction():
        await blocker.execute(f"LOCK TABLE {schema.RUNS} IN ROW EXCLUSIVE MODE")
        await connection.execute("SET lock_timeout = '100ms'")
        try:
            await connection.execute(
                f"CREATE INDEX CONCURRENTLY runs_v3_idx_interrupted ON {schema.RUNS} (user_name)"
            )
        except errors.LockNotAvailable:
            _log.warning("planted fault: runs_v3_idx_interrupted is invalid")
