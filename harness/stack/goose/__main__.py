"""``goose [-dir FOLDER] postgres CONNECTION up|version|status``.

As with the real one, all output goes to stderr, a failure ends with exit code 1, and every verb
creates the table ``goose_db_version`` where it is missing. CONNECTION is what libpq takes: a
keyword string or a ``postgresql://`` URL.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import psycopg2
from psycopg2 import extensions, sql

from harness.stack.goose.migrations import Migration, MigrationFileError, find_migrations, parse

_TABLE = sql.Identifier("goose_db_version")
_RECORD = sql.SQL("INSERT INTO {} (version_id, is_applied) VALUES (%s, true)").format(_TABLE)
_CREATE = sql.SQL(
    "CREATE TABLE {} (id serial PRIMARY KEY, version_id bigint NOT NULL,"
    " is_applied boolean NOT NULL, tstamp timestamp NULL DEFAULT now()); "
).format(_TABLE)
# The last word on each version counts.
_APPLIED = sql.SQL(
    "SELECT version_id, tstamp FROM (SELECT DISTINCT ON (version_id) * FROM {}"
    " ORDER BY version_id, id DESC) AS latest WHERE is_applied ORDER BY id"
).format(_TABLE)


class GooseError(Exception):
    """A verb failed; the message is what goose would end with."""


def main(arguments: list[str]) -> int:
    """Run one verb; return the exit code."""
    options = _parse(arguments)
    try:
        with closing(psycopg2.connect(options.connection)) as connection:
            connection.autocommit = True
            _VERBS[options.verb](connection, options.dir)
    except (psycopg2.Error, MigrationFileError, GooseError) as error:
        _say(f"goose run: {str(error).strip()}")
        return 1
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="goose", description=__doc__)
    # Real goose, too, looks into the current folder when none is named.
    parser.add_argument("-dir", "--dir", type=Path, default=Path())
    parser.add_argument("dialect", choices=["postgres"])
    parser.add_argument("connection")
    parser.add_argument("verb", choices=list(_VERBS))
    return parser.parse_args(arguments)


def _say(line: str) -> None:
    moment = datetime.now(timezone.utc).strftime("%Y/%m/%d %H:%M:%S")
    # The migration service reads nothing else: get_goose_version and is_migration_in_progress in
    # services/migration_service/api/utils.py of Netflix/metaflow-service.
    print(f"{moment} {line}", file=sys.stderr, flush=True)


def _up(connection: extensions.connection, folder: Path) -> None:
    applied = _applied(connection)
    current = max(applied, default=0)
    migrations = find_migrations(folder)
    missing = [one for one in migrations if one.version < current and one.version not in applied]
    # As goose without its -allow-missing.
    if missing:
        names = ", ".join(one.path.name for one in missing)
        raise GooseError(f"error: found {len(missing)} missing migrations: {names}")
    for migration in migrations:
        if migration.version > current:
            _apply(connection, migration)
            current = migration.version
    _say(f"goose: no migrations to run. current version: {current}")


def _apply(connection: extensions.connection, migration: Migration) -> None:
    script = parse(migration.path.read_text(encoding="utf-8"))
    # CREATE INDEX CONCURRENTLY is refused within one.
    connection.autocommit = not script.in_transaction
    started = time.monotonic()
    try:
        with connection.cursor() as cursor:
            for statement in script.statements:
                cursor.execute(statement)
            # In the migration's own transaction: one is never there without the other.
            cursor.execute(_RECORD, [migration.version])
        if script.in_transaction:
            connection.commit()
    except psycopg2.Error as error:
        raise GooseError(
            f"ERROR {migration.path.name}: failed to run SQL migration: {str(error).strip()}"
        ) from error
    connection.autocommit = True
    _say(f"OK   {migration.path.name} ({(time.monotonic() - started) * 1000:.2f}ms)")


def _version(connection: extensions.connection, _folder: Path) -> None:
    # The service takes what follows "goose: version " for the schema.
    _say(f"goose: version {next(reversed(_applied(connection)), 0)}")


def _status(connection: extensions.connection, folder: Path) -> None:
    applied = _applied(connection)
    _say("    Applied At                  Migration")
    _say("    =======================================")
    for migration in find_migrations(folder):
        moment = applied.get(migration.version)
        # The service takes this word, anywhere, for a migration that is in progress.
        when = moment.strftime("%a %b %e %H:%M:%S %Y") if moment else "Pending"
        _say(f"    {when:<24} -- {migration.path.name}")


def _applied(connection: extensions.connection) -> dict[int, datetime]:
    """Return the applied versions and when, the one recorded last at the end."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('goose_db_version') IS NOT NULL")
        if not next(cursor)[0]:
            cursor.execute(_CREATE + _RECORD, [0])
        cursor.execute(_APPLIED)
        return dict(cursor.fetchall())


_VERBS: dict[str, Callable[[extensions.connection, Path], None]] = {
    "up": _up,
    "version": _version,
    "status": _status,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
