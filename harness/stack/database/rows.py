"""What lies in a metadata database, read by plain SQL and without any service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from itertools import chain

from psycopg2 import extensions, sql

from harness.stack.database.server import Address

TABLES = {
    "flows_v3": ("flow_id",),
    "runs_v3": ("run_number",),
    # Steps have no number of their own.
    "steps_v3": ("ts_epoch", "step_name"),
    "tasks_v3": ("task_id",),
    "metadata_v3": ("id",),
    "artifact_v3": ("task_id", "attempt_id", "name"),
}
"""The six tables of every service, each with the columns its rows are put in order by."""

# PostgreSQL's bigint: a longer number is an error there, and not just a row it has not.
_LARGEST_NUMBER = 2**63 - 1

_TABLES_THERE = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname = ANY(%s)
"""

_COLUMNS_THERE = """
    SELECT c.relname, a.attname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
    AND c.relname = ANY(%s) AND a.attname = ANY(%s) AND NOT a.attisdropped
"""

# goose appends a row for every step up or down: the latest one of a version tells its state.
_APPLIED = """
    SELECT max(version_id) FROM (
        SELECT DISTINCT ON (version_id) version_id, is_applied
        FROM public.goose_db_version ORDER BY version_id, id DESC
    ) AS latest
    WHERE is_applied
"""

# Extensions come with managed servers; what they brought along is nobody's data.
_OBJECTS = """
    SELECT EXISTS (
        SELECT FROM (
            SELECT 'pg_class'::regclass AS catalog, oid, relnamespace AS namespace FROM pg_class
            UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace FROM pg_proc
        ) AS object
        JOIN pg_namespace ON pg_namespace.oid = object.namespace
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
        AND NOT EXISTS (
            SELECT FROM pg_depend
            WHERE classid = object.catalog AND objid = object.oid AND deptype = 'e'
        )
    )
"""


def run_rows(address: Address, flow_id: str, run_id: str) -> dict[str, list[dict[str, object]]]:
    """Return every row one run left; see ``rows_of_runs``."""
    return rows_of_runs(address, flow_id, [run_id])[run_id]


def rows_of_runs(
    address: Address, flow_id: str, run_ids: Iterable[str]
) -> dict[str, dict[str, list[dict[str, object]]]]:
    """Return every row runs left, of the six tables; a table that is not there has no rows.

    Works on every schema from 1.0.0's, where runs have numbers only, to the newest.

    Args:
        address: the database.
        flow_id: name of the flow.
        run_ids: as a client shows them: digits are a run number, anything else is an id of the
            client's own (2.0.0+), just as the service takes them apart.

    Returns:
        By run, table name to its rows in a stable order, each a dict of column name to a value as
        JSON knows them. The row of the flow is among them.
    """
    # Once for all of them: to prove that one knows the password costs more than to ask.
    with closing(address.connect()) as connection, connection.cursor() as cursor:
        return {run_id: _rows_of(cursor, flow_id, run_id) for run_id in run_ids}


def _rows_of(
    cursor: extensions.cursor, flow_id: str, run_id: str
) -> dict[str, list[dict[str, object]]]:
    keys = {table: {"flow_id": flow_id, **_run_condition(table, run_id)} for table in TABLES}
    cursor.execute(_COLUMNS_THERE, [list(TABLES), list({*chain(*keys.values())})])
    there = set(cursor)
    return {
        table: _table_rows(cursor, table, key)
        # 1.0 tables hold no run by an id of its own.
        if all((table, column) in there for column in key)
        else []
        for table, key in keys.items()
    }


def tagged_runs(address: Address, flow_id: str, tag: str) -> list[int]:
    """Return the numbers of a flow's runs that have a tag, in order.

    Args:
        address: the database.
        flow_id: name of the flow.
        tag: of letters, digits and colons.
    """
    with closing(address.connect()) as connection, connection.cursor() as cursor:
        # As text: what else a client gave a run need not be JSON that PostgreSQL can take apart.
        cursor.execute(
            "SELECT run_number FROM public.runs_v3"
            " WHERE flow_id = %s AND strpos(tags::text, %s) > 0 ORDER BY run_number",
            [flow_id, f'"{tag}"'],
        )
        return [int(number) for (number,) in cursor]


def server_version(address: Address) -> str:
    """Return the version of PostgreSQL that serves a database, as it says itself."""
    with closing(address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return str(next(cursor)[0])


def schema_version(address: Address) -> int | None:
    """Return the schema version of a metadata database, as goose counts.

    Returns:
        The highest version whose latest row in goose_db_version says it is applied; 0 when
        only that bookkeeping was begun, or when a service made the tables without goose
        (1.0.x); None when there is neither that table nor one of the service's.
    """
    with closing(address.connect()) as connection, connection.cursor() as cursor:
        # to_regclass() gives NULL for what is not there, where the bare name is an error.
        cursor.execute("SELECT to_regclass('public.goose_db_version') IS NOT NULL")
        if next(cursor)[0]:
            cursor.execute(_APPLIED)
            return int(next(cursor)[0] or 0)
        return 0 if _tables_there(cursor) else None


def is_empty(address: Address) -> bool:
    """Tell whether no table, view, sequence or function of anybody's is in the database."""
    with closing(address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(_OBJECTS)
        return not next(cursor)[0]


def tables_there(address: Address) -> set[str]:
    """Return which of the six tables are in the database."""
    with closing(address.connect()) as connection, connection.cursor() as cursor:
        return _tables_there(cursor)


def _tables_there(cursor: extensions.cursor) -> set[str]:
    cursor.execute(_TABLES_THERE, [list(TABLES)])
    return {name for (name,) in cursor}


def _table_rows(
    cursor: extensions.cursor, table: str, key: Mapping[str, str | int]
) -> list[dict[str, object]]:
    # The server's own JSON keeps the columns' order and knows every type.
    query = sql.SQL("SELECT row_to_json(t) FROM {} AS t WHERE {} ORDER BY {}").format(
        sql.Identifier("public", table),
        sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(column)) for column in key),
        sql.SQL(", ").join(map(sql.Identifier, TABLES[table])),
    )
    cursor.execute(query, list(key.values()))
    return [row for (row,) in cursor]


def _run_condition(table: str, run_id: str) -> dict[str, str | int]:
    if table == "flows_v3":
        return {}
    # Python takes digits of every script for a number.
    if run_id.isdecimal() and run_id.isascii() and int(run_id) <= _LARGEST_NUMBER:
        return {"run_number": int(run_id)}
    return {"run_id": run_id}
