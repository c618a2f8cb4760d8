"""The migration API: which schema the database has, and PATCH /upgrade to the level's newest."""

from __future__ import annotations

import asyncio
import json
import logging

import psycopg
from aiohttp import web

from harness.stack.reference.levels import Level
from harness.stack.reference.migrator import MigrationError, Migrator

_log = logging.getLogger(__name__)

_CODE_OF_OLD_SCHEMA = "v_1_0_1"
"""What a start script is told to start on a schema without string ids."""

_CODE_OF_THIS_LEVEL = "latest"


def application(level: Level, migrator: Migrator) -> web.Application:
    """Return the migration API of a level."""
    api = _MigrationApi(level, migrator)
    app = web.Application()
    app.add_routes(
        [
            web.get("/ping", api.ping),
            web.get("/version", api.version),
            web.get("/db_schema_status", api.status),
            web.patch("/upgrade", api.upgrade),
        ]
    )
    return app


class _MigrationApi:
    def __init__(self, level: Level, migrator: Migrator) -> None:
        self._level = level
        self._migrator = migrator
        self._upgrading = asyncio.Lock()

    async def ping(self, _request: web.Request) -> web.Response:
        return web.Response(text="pong")

    async def version(self, _request: web.Request) -> web.Response:
        """Tell which code fits the schema; create the schema when there is none yet.

        A schema newer than the level knows is an error 500, as it is with the released service:
        that is what keeps an older image from starting after an upgrade.
        """
        if not await self._migrator.has_tables():
            await self._upgrade()
            return web.Response(text=_CODE_OF_THIS_LEVEL)
        current = await self._migrator.current()
        # These two lead to 1.0.1, which the images hold beside their own release.
        if current in (0, 1):
            return web.Response(text=_CODE_OF_OLD_SCHEMA)
        if current not in self._level.migrations:
            raise web.HTTPInternalServerError(
                text=f"schema {current} is newer than level {self._level.name} knows"
            )
        newest = current >= self._level.latest_from
        return web.Response(text=_CODE_OF_THIS_LEVEL if newest else str(current))

    async def status(self, _request: web.Request) -> web.Response:
        try:
            current = await self._migrator.current()
        except psycopg.Error as error:
            return _json({"detail": f"{type(error).__name__}: {error}"}, status=500)
        pending = self._pending(current)
        return _json(
            {
                "is_up_to_date": not pending,
                "current_version": str(current),
                "migration_in_progress": self._upgrading.locked(),
                "db_schema_versions": [str(version) for version in self._level.migrations],
                "unapplied_migrations": [str(version) for version in pending],
            }
        )

    async def upgrade(self, _request: web.Request) -> web.Response:
        try:
            await self._upgrade()
        except (MigrationError, psycopg.Error):
            _log.exception("upgrade")
            return web.Response(text="upgrade failed", status=500)
        return web.Response(text="upgrade success")

    async def _upgrade(self) -> None:
        async with self._upgrading:
            await self._migrator.upgrade()

    def _pending(self, current: int) -> tuple[int, ...]:
        """Return what is not applied; on a schema the level does not know, everything."""
        known = self._level.migrations
        return known[known.index(current) + 1 :] if current in known else known


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(
        body=json.dumps(body).encode(), status=status, content_type="application/json"
    )
