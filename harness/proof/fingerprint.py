"""Fingerprints of the data: what a migration lost or changed, by table, key and column.

Values stay in the database; held here is, per row, its key and one short digest per column.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from psycopg2 import extensions, sql

from harness.stack.database.server import Address

_DIGEST = 8
"""Bytes of md5 kept per value. Among a million values, one wrongly called equal is as likely
as 1 in 10**13."""

_ROWS_AT_ONCE = 5000

_TABLES = """
    SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
    AND c.relname LIKE '%\\_v3' AND a.attnum > 0 AND NOT a.attisdropped
    GROUP BY c.relname ORDER BY c.relname
"""

_PRIMARY_KEYS = """
    SELECT c.relname, array_agg(a.attname::text ORDER BY array_position(i.indkey, a.attnum))
    FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)
    WHERE c.relnamespace = 'public'::regnamespace
    GROUP BY c.relname
"""


@dataclass(frozen=True)
class TableFingerprint:
    """One table as it was.

    Attributes:
        key: the columns that tell rows apart: the primary key, or all columns without one.
        columns: all columns; the order of the digests.
        rows: JSON array of a row's key values (as text) to its digests, 8 bytes per column,
            end to end. Rows that share a key (there is no primary key, or a wider one) follow
            each other in one value.
    """

    key: tuple[str, ...]
    columns: tuple[str, ...]
    rows: Mapping[str, bytearray]

    @property
    def count(self) -> int:
        """How many rows there are."""
        return sum(map(len, self.rows.values())) // (len(self.columns) * _DIGEST)

    @property
    def digest(self) -> str:
        """One digest of all rows, in whatever order they are; the server's, of the same."""
        width = len(self.columns) * _DIGEST
        rows = [
            # No secret: it is the server's own function.
            hashlib.md5(row.hex().encode(), usedforsecurity=False).hexdigest()
            for rows in self.rows.values()
            for row in _pieces(rows, width)
        ]
        return hashlib.md5("".join(sorted(rows)).encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Fingerprint:
    """All ``*_v3`` tables of a database as they were at one moment, by name."""

    tables: Mapping[str, TableFingerprint]

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows of each table."""
        return {name: table.count for name, table in self.tables.items()}


@dataclass(frozen=True)
class Loss:
    """Something that was in the database before and is not, or not the same, after.

    Attributes:
        table: where.
        key: which row, readable: ``flow_id=HelloFlow run_number=3``; empty for all rows.
        column: which column; None for whole rows and tables.
        what: ``row lost``, ``value changed``, ``column dropped`` or ``table dropped``.
    """

    table: str
    key: str
    column: str | None
    what: str

    def __str__(self) -> str:
        place = self.table if self.column is None else f"{self.table}.{self.column}"
        return f"{place}: {self.what}" + (f" at {self.key}" if self.key else "")


def take(address: Address) -> Fingerprint:
    """Take the fingerprint of a database, all tables at the same moment."""
    with closing(_open(address)) as connection:
        with connection.cursor() as cursor:
            cursor.execute(_PRIMARY_KEYS)
            keys = {table: tuple(key) for table, key in cursor}
        return Fingerprint(
            {
                table: _take_table(connection, table, names, keys.get(table, ()))
                for table, names in _columns(connection).items()
            }
        )


def compare(before: Fingerprint, after: Address) -> list[Loss]:
    """Return what was lost or changed over the tables, rows and columns there were before.

    New tables, rows and columns are no loss. Rows are told apart by the key of ``before``, also
    where the primary key has changed since (as 20201002000616 does for metadata_v3). Those of a
    table that has nothing else than before are not read: the server tells it by one digest.

    Args:
        before: the earlier fingerprint.
        after: the database to hold against it now.
    """
    losses: list[Loss] = []
    with closing(_open(after)) as connection:
        there = _columns(connection)
        for name, table in before.tables.items():
            columns = there.get(name)
            if columns is None:
                losses.append(Loss(name, "", None, "table dropped"))
            elif not _is_same(connection, name, table, columns):
                later = _take_table(connection, name, columns, table.key)
                losses.extend(_compare_table(name, table, later))
    return losses


def _open(address: Address) -> extensions.connection:
    """Return a connection that sees all tables as they are at one moment."""
    connection = address.connect()
    # One snapshot for all tables; server-side cursors need a transaction anyway.
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True, autocommit=False)
    return connection


def _columns(connection: extensions.connection) -> dict[str, tuple[str, ...]]:
    """Return the columns of each table."""
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        return {table: tuple(names) for table, names in cursor}


def _digests(columns: tuple[str, ...]) -> sql.Composable:
    """Return the expression of a row's digests in hexadecimal, end to end."""
    # As text, which the server writes alike for equal values of any type, jsonb among them.
    # NULL is told from the empty text: its digest is all zeros.
    return sql.SQL(" || ").join(
        sql.SQL("coalesce(left(md5({}::text), {digits}), repeat('0', {digits}))").format(
            sql.Identifier(name), digits=sql.Literal(2 * _DIGEST)
        )
        for name in columns
    )


def _is_same(
    connection: extensions.connection,
    name: str,
    before: TableFingerprint,
    columns: tuple[str, ...],
) -> bool:
    """Tell whether a table has the rows it had before in the columns it had, and no others."""
    if not set(before.columns) <= set(columns):
        return False
    query = sql.SQL(
        "SELECT md5(coalesce(string_agg(row, '' ORDER BY row), ''))"
        ' FROM (SELECT md5({}) COLLATE "C" AS row FROM {}) AS rows'
    ).format(_digests(before.columns), sql.Identifier("public", name))
    with connection.cursor() as cursor:
        cursor.execute(query)
        return bool(next(cursor)[0] == before.digest)


def _take_table(
    connection: extensions.connection, table: str, columns: tuple[str, ...], wanted: tuple[str, ...]
) -> TableFingerprint:
    key = tuple(column for column in wanted if column in columns) or columns
    query = sql.SQL("SELECT jsonb_build_array({})::text, decode({}, 'hex') FROM {}").format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in key),
        _digests(columns),
        sql.Identifier("public", table),
    )
    rows: defaultdict[str, bytearray] = defaultdict(bytearray)
    # A named cursor stays in the server: another brings all rows into memory first.
    with connection.cursor(name="fingerprint") as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        cursor.execute(query)
        for row_key, row_digests in cursor:
            rows[row_key] += row_digests
    return TableFingerprint(key, columns, rows)


def _compare_table(name: str, before: TableFingerprint, after: TableFingerprint) -> Iterator[Loss]:
    for column in before.columns:
        if column not in after.columns:
            yield Loss(name, "", column, "column dropped")
    common = tuple(column for column in before.columns if column in after.columns)
    if not common:
        return
    key = tuple(column for column in before.key if column in after.key)
    earlier, later = before.rows, after.rows
    if (before.key, before.columns) != (after.key, after.columns):
        earlier, later = _narrowed(before, key, common), _narrowed(after, key, common)
    for row_key, rows in earlier.items():
        there = later.get(row_key, bytearray())
        if rows != there:
            yield from _compare_rows(name, _readable(key, row_key), common, rows, there)


def _narrowed(
    table: TableFingerprint, key: tuple[str, ...], columns: tuple[str, ...]
) -> Mapping[str, bytearray]:
    """Return the table's rows as they are told apart by fewer columns, with fewer digests."""
    positions = [table.key.index(column) for column in key]
    offsets = [table.columns.index(column) * _DIGEST for column in columns]
    rows: defaultdict[str, bytearray] = defaultdict(bytearray)
    for row_key, digests in table.rows.items():
        values = json.loads(row_key)
        narrow_key = json.dumps([values[position] for position in positions])
        for row in _pieces(digests, len(table.columns) * _DIGEST):
            for offset in offsets:
                rows[narrow_key] += row[offset : offset + _DIGEST]
    return rows


def _compare_rows(
    table: str, key: str, columns: tuple[str, ...], before: bytearray, after: bytearray
) -> Iterator[Loss]:
    """Compare the rows that share one key: mostly one before and one or none after."""
    width = len(columns) * _DIGEST
    earlier, later = Counter(_pieces(before, width)), Counter(_pieces(after, width))
    # A row that is there unchanged answers for itself; each other one is held against the one
    # most like it. Without any key in common no row can be said to be another's successor.
    successors = list((later - earlier).elements()) if key else []
    for row in (earlier - later).elements():
        if not successors:
            yield Loss(table, key, None, "row lost")
            continue
        successor = min(successors, key=lambda other: len(_changed(row, other, columns)))
        successors.remove(successor)
        for column in _changed(row, successor, columns):
            yield Loss(table, key, column, "value changed")


def _changed(row: bytes, other: bytes, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns whose digests differ between two rows."""
    pairs = zip(columns, _pieces(row, _DIGEST), _pieces(other, _DIGEST), strict=True)
    return tuple(column for column, one, another in pairs if one != another)


def _pieces(digests: bytes | bytearray, width: int) -> Iterator[bytes]:
    for start in range(0, len(digests), width):
        yield bytes(digests[start : start + width])


def _readable(key: tuple[str, ...], row_key: str) -> str:
    return " ".join(
        f"{column}={value}" for column, value in zip(key, json.loads(row_key), strict=True)
    )
