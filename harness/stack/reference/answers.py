"""Answers of the metadata API: bodies as the releases of each level send them, errors included."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback

import psycopg
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from psycopg import errors

from harness.stack.reference.levels import Level

VERSION_HEADER = "METADATA_SERVICE_VERSION"

_log = logging.getLogger(__name__)


def answer(level: Level, body: object, status: int = 200) -> web.Response:
    """Return a body as JSON; the releases send it as text/plain."""
    return web.Response(
        text=json.dumps(body), status=status, headers={VERSION_HEADER: level.reported}
    )


def missing(level: Level) -> web.Response:
    """Return the 404 of an object that was never registered."""
    return answer(level, {} if level.encodes_missing_once else "{}", status=404)


def as_text(body: object) -> str:
    """Return JSON to be encoded once more: errors, health and heartbeats are sent so."""
    return json.dumps(body)


def errors_of(level: Level) -> Middleware:
    """Return the middleware that turns every failure of a request into its answer."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except (web.HTTPException, asyncio.CancelledError):
            raise
        except psycopg.Error as error:
            status = _status(error)
            _log.warning("%s %s: %s: %s", request.method, request.path, status, error)
            return answer(level, as_text({"err_msg": _message(level, error)}), status)
        except Exception as error:  # noqa: BLE001 - a client sees every failure as a body
            _log.exception("%s %s", request.method, request.path)
            return answer(level, _problem(error), status=500)

    return middleware


def _status(error: psycopg.Error) -> int:
    if isinstance(error, errors.UniqueViolation):
        return 409
    if isinstance(error, errors.ForeignKeyViolation):
        return 404
    return 500


def _message(level: Level, error: psycopg.Error) -> object:
    if not level.has_run_tags:
        return str(error)
    diagnosis = {
        "message_primary": error.diag.message_primary,
        "severity": error.diag.severity,
    }
    return {"pgerror": str(error), "pgcode": error.sqlstate, "diag": diagnosis}


def _problem(error: Exception) -> dict[str, object]:
    return {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }
