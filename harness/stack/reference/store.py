"""Rows in PostgreSQL: what the metadata API reads and writes, level by level."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from psycopg import AsyncConnection, InterfaceError
from psycopg.errors import UndefinedTable
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composable, Identifier, Placeholder
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from harness.stack.reference import faults, schema
from harness.stack.reference.faults import Fault
from harness.stack.reference.levels import Level

Row = dict[str, object]

_POOL_SIZE = 10
_TOUCHED = ", ts_epoch = (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_LATEST_FIRST = " ORDER BY attempt_id DESC"
HEARTBEAT_SECONDS = 10
"""Time between heartbeats: what clients are told, and how old one must be to be replaced."""


def open_pool(conninfo: str) -> AsyncConnectionPool[AsyncConnection[Row]]:
    """Return a closed pool for this database; the caller opens it inside its event loop."""
    return AsyncConnectionPool(
        conninfo,
        connection_class=AsyncConnection[Row],
        # A migration changes the tables under a running service, which a prepared plan refuses.
        kwargs={"row_factory": dict_row, "autocommit": True, "prepare_threshold": None},
        min_size=1,
        max_size=_POOL_SIZE,
        open=False,
    )


class Store:
    """The tables as one level knows them.

    Args:
        level: decides which columns exist for this service.
        pool: an open pool of connections in autocommit mode.
        fault: what goes wrong with times on purpose.
    """

    def __init__(
        self, level: Level, pool: AsyncConnectionPool[AsyncConnection[Row]], fault: Fault
    ) -> None:
        self.level = level
        self._pool = pool
        self._swaps_units = fault.name == faults.SECONDS
        self._also = SQL(_TOUCHED if fault.name == faults.TOUCH_TIMES else "")

    async def create_tables(self) -> None:
        """Create the first tables where they are missing, as the 1.0 service does at start."""
        async with self._own() as connection:
            for statement in schema.create_tables():
                await connection.execute(SQL(statement))

    async def answers(self) -> bool:
        """Tell whether the database answers a query."""
        async with self._own() as connection:
            cursor = await connection.execute("SELECT 1")
            return await cursor.fetchone() is not None

    async def find(
        self,
        table: str,
        where: Mapping[str, object],
        *,
        order: str = "",
        connection: AsyncConnection[Row] | None = None,
    ) -> list[Row]:
        """Return the rows whose columns equal ``where``, all rows where it is empty.

        Raises:
            psycopg.InterfaceError: when the schema is too new for the level.
        """
        query = SQL("SELECT {} FROM {} WHERE {}{}").format(
            self._columns(table), Identifier(table), _equal(where), SQL(order)
        )
        async with self._connection(connection) as used:
            rows = await (await used.execute(query, where)).fetchall()
        for row in rows:
            self._check_columns(table, row)
        return rows

    async def artifacts(self, where: Mapping[str, object]) -> list[Row]:
        """Return artifacts, those of later attempts first."""
        return await self.find(schema.ARTIFACTS, where, order=_LATEST_FIRST)

    async def find_one(
        self,
        table: str,
        where: Mapping[str, object],
        *,
        connection: AsyncConnection[Row] | None = None,
    ) -> Row | None:
        """Return the row whose columns equal ``where``, or None; the latest of an artifact's."""
        order = _LATEST_FIRST if table == schema.ARTIFACTS else ""
        rows = await self.find(table, where, order=order, connection=connection)
        return rows[0] if rows else None

    async def add(self, table: str, values: Mapping[str, object], *, keep: bool = True) -> Row:
        """Insert one row, stamped with the time now, and return it as the table holds it.

        Args:
            table: its name.
            values: by column.
            keep: False for a planted fault: the row is gone when this returns.

        Raises:
            psycopg.errors.UniqueViolation: when the object is registered already.
            psycopg.errors.ForeignKeyViolation: when what it belongs to is not.
            psycopg.InterfaceError: when the schema is too new for the level; the row is written.
        """
        row = {**values, "ts_epoch": round(time.time() * (1 if self._swaps_units else 1000))}
        row.update({name: Jsonb(row[name]) for name in ("tags", "system_tags")})
        query = SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING {}").format(
            Identifier(table),
            SQL(", ").join(map(Identifier, row)),
            SQL(", ").join(map(Placeholder, row)),
            self._columns(table),
        )
        async with self._own() as connection, _undone(connection, when=not keep):
            added = await (await connection.execute(query, row)).fetchone()
        assert added is not None
        self._check_columns(table, added)
        return added

    async def beat(self, table: str, where: Mapping[str, object]) -> bool:
        """Set the heartbeat to now, in seconds; tell whether exactly one row took it."""
        now, unit = int(time.time()), 1000 if self._swaps_units else 1
        condition = _equal(where)
        if self.level.has_attempts:
            # As the service does: who beats more often than told changes nothing.
            condition = SQL(
                "{} AND (last_heartbeat_ts IS NULL OR last_heartbeat_ts <= %(old)s)"
            ).format(condition)
        query = SQL("UPDATE {} SET last_heartbeat_ts = %(now)s{} WHERE {}").format(
            Identifier(table), self._also, condition
        )
        async with self._own() as connection:
            cursor = await connection.execute(
                query, {**where, "now": now * unit, "old": now * unit - HEARTBEAT_SECONDS}
            )
            return cursor.rowcount == 1

    @asynccontextmanager
    async def serializable(self) -> AsyncIterator[AsyncConnection[Row]]:
        """Run a block in one serializable transaction.

        Raises:
            psycopg.errors.SerializationFailure: when another one came between.
        """
        async with self._own() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            yield connection

    async def set_tags(
        self, run: Mapping[str, object], tags: list[str], connection: AsyncConnection[Row]
    ) -> None:
        """Replace the user tags of the one run that ``run`` describes."""
        query = SQL("UPDATE {} SET tags = %(tags)s{} WHERE {}").format(
            Identifier(schema.RUNS), self._also, _equal(run)
        )
        await connection.execute(query, {**run, "tags": Jsonb(tags)})

    async def drop_newest(self) -> None:
        """Delete the artifact that was stored last, if there is one."""
        query = SQL(
            "DELETE FROM {0} WHERE ctid ="
            " (SELECT ctid FROM {0} ORDER BY ts_epoch DESC, ctid DESC LIMIT 1)"
        ).format(Identifier(schema.ARTIFACTS))
        async with self._own() as connection:
            # Before the first migration there is no such table.
            with contextlib.suppress(UndefinedTable):
                await connection.execute(query)

    async def tasks_with(self, where: Mapping[str, object], pattern: str) -> list[Row]:
        """Return the tasks with metadata equal to ``where`` and matching a regular expression."""
        identity = map(
            Identifier, ("flow_id", "run_number", "run_id", "step_name", "task_name", "task_id")
        )
        matches = SQL(" AND value ~ %(pattern)s" if pattern else "")
        query = SQL("SELECT DISTINCT {} FROM {} WHERE {}{} ORDER BY task_id").format(
            SQL(", ").join(identity), Identifier(schema.METADATA), _equal(where), matches
        )
        async with self._own() as connection:
            cursor = await connection.execute(query, {**where, "pattern": pattern})
            return await cursor.fetchall()

    @asynccontextmanager
    async def _connection(
        self, given: AsyncConnection[Row] | None
    ) -> AsyncIterator[AsyncConnection[Row]]:
        if given is not None:
            yield given
            return
        async with self._own() as own:
            yield own

    @asynccontextmanager
    async def _own(self) -> AsyncIterator[AsyncConnection[Row]]:
        async with self._pool.connection() as connection:
            try:
                yield connection
            finally:
                # What cut it has cut others, too: each would cost the request it is given to.
                if connection.broken:
                    await self._pool.check()

    def _columns(self, table: str) -> Composable:
        # As 1.0 asks, which is how a newer schema breaks it.
        if not self.level.has_string_ids:
            return SQL("*")
        return SQL(", ").join(map(Identifier, schema.columns(table, self.level)))

    def _check_columns(self, table: str, row: Row) -> None:
        """Refuse a row with columns the level does not know: 1.0 breaks on newer schemas so."""
        unknown = set(row) - set(schema.columns(table, self.level))
        if unknown:
            raise InterfaceError(
                f"{table} has columns unknown to level {self.level.name}: {sorted(unknown)}"
            )


@asynccontextmanager
async def _undone(connection: AsyncConnection[Row], *, when: bool) -> AsyncIterator[None]:
    if not when:
        yield
        return
    async with connection.transaction(force_rollback=True):
        yield


def _equal(where: Mapping[str, object]) -> Composable:
    if not where:
        return SQL("true")
    return SQL(" AND ").join(
        SQL("{} = {}").format(Identifier(column), Placeholder(column)) for column in where
    )
