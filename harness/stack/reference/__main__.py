"""Serve one API level: the metadata API and, from level 2.0, the migration API beside it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Mapping

from aiohttp import web
from psycopg.conninfo import make_conninfo
from psycopg_pool import PoolTimeout

from harness.stack.reference import faults, metadata, migration
from harness.stack.reference.faults import Fault
from harness.stack.reference.levels import LEVELS, Level
from harness.stack.reference.migrator import Migrator, newest_schema
from harness.stack.reference.store import Store, open_pool

_DATABASE_SECONDS = 10.0
"""How long to wait for the database at start."""

_SHUTDOWN_SECONDS = 1.0
"""How long requests under way may take to end once the service is told to stop."""

_METADATA, _MIGRATION = "metadata", "migration"

_log = logging.getLogger("harness.stack.reference")


def main() -> int:
    """Serve until a signal ends it; return the exit code."""
    options = _parse(sys.argv[1:])
    level = LEVELS[options.level]
    try:
        fault = faults.parse(os.environ.get(faults.VARIABLE, ""), level)
    except faults.FaultError as error:
        print(error, file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if fault.name:
        _log.warning("planted fault: %s", fault)
    try:
        asyncio.run(_serve(level, options.only, fault, os.environ))
    except _StartError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


class _StartError(Exception):
    """The service cannot start on this database."""


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m harness.stack.reference", description=__doc__)
    parser.add_argument("--level", required=True, choices=LEVELS)
    parser.add_argument(
        "--only", choices=(_METADATA, _MIGRATION), help="serve one of the two APIs alone"
    )
    options = parser.parse_args(arguments)
    if options.only == _MIGRATION and not LEVELS[options.level].has_migrations:
        parser.error(f"level {options.level} has no migration API")
    return options


async def _serve(
    level: Level, only: str | None, fault: Fault, environment: Mapping[str, str]
) -> None:
    conninfo = _conninfo(environment)
    async with contextlib.AsyncExitStack() as stack:
        pool = open_pool(conninfo)
        stack.push_async_callback(pool.close)
        try:
            await pool.open(wait=True, timeout=_DATABASE_SECONDS)
        except PoolTimeout as error:
            raise _StartError(f"the database does not answer: {error}") from error
        if fault.name == faults.NO_START_ON_NEWER_SCHEMA:
            await _check_schema(level, conninfo)
        host = environment.get("MF_METADATA_HOST", "0.0.0.0")  # noqa: S104 - as released
        if only != _MIGRATION:
            store = Store(level, pool, fault)
            if not level.has_migrations:
                await store.create_tables()
            port = int(environment.get("MF_METADATA_PORT", "8080"))
            prefix = environment.get("PATH_PREFIX", "")
            await _listen(stack, metadata.application(level, store, fault, prefix), host, port)
        if only != _METADATA and level.has_migrations:
            port = int(environment.get("MF_MIGRATION_PORT", "8082"))
            migrator = Migrator(level, conninfo, fault)
            await _listen(stack, migration.application(level, migrator), host, port)
        await _signalled()
        if only != _MIGRATION and fault.name == faults.DROP_AT_STOP:
            await store.drop_newest()


def _conninfo(environment: Mapping[str, str]) -> str:
    """Return the libpq connection string of the released service's variables."""
    prefix = "MF_METADATA_DB_"
    # As releases from 2.4.4 on read them; libpq decides where nothing is said.
    tls = {
        name: environment[prefix + variable]
        for name, variable in (
            ("sslmode", "SSL_MODE"),
            ("sslrootcert", "SSL_ROOT_CERT_PATH"),
            ("sslcert", "SSL_CERT_PATH"),
            ("sslkey", "SSL_KEY_PATH"),
        )
        if prefix + variable in environment
    }
    return make_conninfo(
        "",
        host=environment.get(prefix + "HOST", "localhost"),
        port=environment.get(prefix + "PORT", "5432"),
        user=environment.get(prefix + "USER", "postgres"),
        password=environment.get(prefix + "PSWD", "postgres"),
        dbname=environment.get(prefix + "NAME", "postgres"),
        connect_timeout=5,
        **tls,
    )


async def _check_schema(level: Level, conninfo: str) -> None:
    newest = await newest_schema(conninfo)
    if newest > max(level.migrations, default=0):
        raise _StartError(f"planted fault: schema {newest} is newer than level {level.name} knows")


async def _listen(
    stack: contextlib.AsyncExitStack, app: web.Application, host: str, port: int
) -> None:
    # Unasked aiohttp gives them a minute, once for every service that is stopped.
    runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, port).start()
    _log.info("serving on %s:%s", host, port)


async def _signalled() -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # No exception: what is on the stack ends in order.
        loop.add_signal_handler(number, ended.set)
    await ended.wait()


if __name__ == "__main__":
    sys.exit(main())
