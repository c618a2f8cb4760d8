"""The metadata API: registering and reading flows, runs, steps, tasks, artifacts and metadata.

Bodies are JSON sent as text/plain, as the released service sends them. Where a level answers
otherwise than the next one, the difference follows the releases of that level.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import traceback
from collections.abc import Iterable
from typing import Any

import psycopg
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from psycopg import errors

from harness.reference import faults, schema
from harness.reference.faults import Fault
from harness.reference.levels import Level
from harness.reference.store import Row, Store

VERSION_HEADER = "METADATA_SERVICE_VERSION"

_RUNS = "/flows/{flow_id}/runs"
_RUN = _RUNS + "/{run}"
_STEPS = _RUN + "/steps"
_STEP = _STEPS + "/{step_name}"
_TASKS = _STEP + "/tasks"
_TASK = _TASKS + "/{task}"

_SECONDS_BETWEEN_HEARTBEATS = 10
_FIRST_CLIENT_WITH_HEARTBEAT = (2, 2, 12)
_SHOWS_RUN_TAGS = (schema.STEPS, schema.TASKS, schema.ARTIFACTS)
_BLANK = " "
"""What stands where a client left out a text that the table requires."""

_log = logging.getLogger(__name__)


def application(level: Level, store: Store, fault: Fault) -> web.Application:
    """Return the metadata API of a level over an open store."""
    api = _MetadataApi(level, store, fault)
    # 0 lifts the limit on bodies: one request registers all artifacts of a task.
    app = web.Application(middlewares=[_errors(level), _strike(fault)], client_max_size=0)
    app.add_routes(api.routes())
    return app


class _MetadataApi:
    def __init__(self, level: Level, store: Store, fault: Fault) -> None:
        self._level = level
        self._store = store
        self._fault = fault

    def routes(self) -> list[web.RouteDef]:
        """Return the routes the level has; every other path is a 404."""
        level = self._level
        routes = [
            web.get("/ping", self._ping),
            web.get("/flows", self._list_of(schema.FLOWS)),
            web.get("/flows/{flow_id}", self._one_of(schema.FLOWS)),
            web.post("/flows/{flow_id}", self._add_flow),
            web.get(_RUNS, self._list_of(schema.RUNS)),
            web.get(_RUN, self._one_of(schema.RUNS)),
            web.post("/flows/{flow_id}/run", self._add_run),
            web.get(_STEPS, self._list_of(schema.STEPS)),
            web.get(_STEP, self._one_of(schema.STEPS)),
            web.post(_STEP + "/step", self._add_step),
            web.get(_TASKS, self._list_of(schema.TASKS)),
            web.get(_TASK, self._one_of(schema.TASKS)),
            web.post(_STEP + "/task", self._add_task),
            web.get(_RUN + "/metadata", self._list_of(schema.METADATA)),
            web.get(_TASK + "/metadata", self._list_of(schema.METADATA)),
            web.post(_TASK + "/metadata", self._add_metadata),
            web.get(_RUN + "/artifacts", self._artifacts),
            web.get(_STEP + "/artifacts", self._artifacts),
            web.get(_TASK + "/artifacts", self._artifacts),
            web.get(_TASK + "/artifacts/{name}", self._artifact),
            web.post(_TASK + "/artifact", self._add_artifacts),
        ]
        if level.has_migrations:
            routes.append(web.get("/version", self._version))
        if level.has_heartbeat:
            routes += [
                web.post(_RUN + "/heartbeat", self._beat_run),
                web.post(_TASK + "/heartbeat", self._beat_task),
            ]
        if level.has_attempts:
            routes += [
                web.get("/healthcheck", self._healthcheck),
                web.get(
                    _TASK + "/artifacts/{name}/attempt/{attempt_id}", self._artifact_of_attempt
                ),
                web.get(_TASK + "/attempt/{attempt_id}/artifacts", self._artifacts_of_attempt),
            ]
        if level.has_run_tags:
            routes.append(web.patch(_RUN + "/tag/mutate", self._mutate_tags))
        if level.has_filtered_tasks:
            routes.append(web.get(_STEP + "/filtered_tasks", self._filtered_tasks))
        return routes

    # The service itself

    async def _ping(self, _request: web.Request) -> web.Response:
        return web.Response(text="pong", headers={VERSION_HEADER: self._level.reported})

    async def _version(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._level.reported)

    async def _healthcheck(self, _request: web.Request) -> web.Response:
        up = await self._store.answers()
        body = _twice({"status": "UP" if up else "DOWN"})
        return web.Response(
            text=body,
            status=200 if up else 500,
            content_type="application/json",
            headers={VERSION_HEADER: self._level.reported},
        )

    # Reading

    def _list_of(self, table: str) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            rows = await self._show(table, await self._store.find(table, self._where(request)))
            # An empty list was an empty object before 2.0.
            return self._json(rows if rows or self._level.has_string_ids else {})

        return handler

    def _one_of(self, table: str) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            return await self._found(table, self._where(request))

        return handler

    async def _found(self, table: str, where: dict[str, Any]) -> web.Response:
        row = await self._store.find_one(table, where)
        if row is None:
            return self._missing()
        return self._json((await self._show(table, [row]))[0])

    def _missing(self) -> web.Response:
        body: Any = {} if self._level.has_attempts else "{}"
        return self._json(body, status=404)

    async def _artifacts(self, request: web.Request) -> web.Response:
        """List the artifacts of the latest attempt of each task; before 2.0.6, of all tasks."""
        rows = await self._artifact_rows(request)
        latest: dict[Any, int] = {}
        for row in rows:
            task = row["task_id"] if self._level.has_attempts else None
            latest[task] = max(latest.get(task, 0), row["attempt_id"])
        kept = [
            row
            for row in rows
            if row["attempt_id"] == latest[row["task_id"] if self._level.has_attempts else None]
        ]
        return self._json(await self._show(schema.ARTIFACTS, kept))

    async def _artifacts_of_attempt(self, request: web.Request) -> web.Response:
        attempt = int(request.match_info["attempt_id"])
        rows = await self._artifact_rows(request)
        kept = [row for row in rows if row["attempt_id"] == attempt]
        return self._json(await self._show(schema.ARTIFACTS, kept))

    async def _artifact_rows(self, request: web.Request) -> list[Row]:
        where = self._where(request)
        where.pop("attempt_id", None)
        return await self._store.find(schema.ARTIFACTS, where, latest_attempt_first=True)

    async def _artifact(self, request: web.Request) -> web.Response:
        where = self._where(request)
        if self._level.has_attempts:
            # An attempt may lack what an earlier one had; every attempt has an artifact ``name``.
            always = await self._store.find_one(schema.ARTIFACTS, {**where, "name": "name"})
            where["attempt_id"] = always["attempt_id"] if always else 0
        return await self._found(schema.ARTIFACTS, where)

    async def _artifact_of_attempt(self, request: web.Request) -> web.Response:
        return await self._found(schema.ARTIFACTS, self._where(request))

    async def _filtered_tasks(self, request: web.Request) -> web.Response:
        where = self._where(request)
        if request.query.get("metadata_field_name"):
            where["field_name"] = request.query["metadata_field_name"]
        rows = await self._store.tasks_with(where, request.query.get("pattern"))
        return self._json(
            [
                f"{row['flow_id']}/{row['run_id'] or row['run_number']}"
                f"/{row['step_name']}/{row['task_name'] or row['task_id']}"
                for row in rows
            ]
        )

    # Writing

    async def _add_flow(self, request: web.Request) -> web.Response:
        body = await _body(request)
        return await self._added(schema.FLOWS, {**self._where(request), **_written_by(body)})

    async def _add_run(self, request: web.Request) -> web.Response:
        body = await _body(request)
        values = {**self._where(request), **_written_by(body)}
        if self._fault.name == faults.DROP_TAG and values["tags"]:
            values["tags"] = sorted(values["tags"])[1:]
        if self._level.has_string_ids:
            values["run_id"] = body.get("run_number")
            if values["run_id"] and values["run_id"].isnumeric():
                raise ValueError("a run cannot be registered under a number")
        if self._level.has_run_tags and _beats(body):
            values["last_heartbeat_ts"] = _now()
        return await self._added(schema.RUNS, values)

    async def _add_step(self, request: web.Request) -> web.Response:
        body = await _body(request)
        values = {**self._where(request), **_written_by(body)}
        values["user_name"] = body.get("user_name", "")
        if self._level.has_string_ids:
            values |= await self._run_ids(request)
            values["run_id"] = values["run_id"] or str(values["run_number"])
        return await self._added(schema.STEPS, values)

    async def _add_task(self, request: web.Request) -> web.Response:
        body = await _body(request)
        values = {**self._where(request), **_written_by(body)}
        beats = self._level.has_run_tags and _beats(body)
        if self._level.has_string_ids:
            values["task_name"] = body.get("task_id")
            if values["task_name"] and values["task_name"].isnumeric():
                raise ValueError("a task cannot be registered under a number")
            values |= await self._run_ids(request)
        if beats:
            values["last_heartbeat_ts"] = _now()
        response = await self._added(schema.TASKS, values)
        if beats:
            await self._store.beat(schema.RUNS, self._run(request))
        return response

    async def _run_ids(self, request: web.Request) -> Row:
        """Return both ids of the run, whichever of them the path names."""
        run = await self._store.find_one(schema.RUNS, self._run(request))
        if run is None:
            raise LookupError(f"there is no run {request.match_info['run']}")
        return {"run_number": run["run_number"], "run_id": run["run_id"]}

    async def _added(self, table: str, values: dict[str, Any]) -> web.Response:
        row = await self._store.add(table, values)
        return self._json((await self._show(table, [row]))[0])

    async def _add_artifacts(self, request: web.Request) -> web.Response:
        rows = []
        for artifact in await _body(request):
            texts = ("name", "location", "ds_type", "sha", "type", "content_type", "user_name")
            rows.append(
                {
                    **{text: artifact.get(text, _BLANK) for text in texts},
                    "attempt_id": artifact.get("attempt_id", 0),
                    "tags": artifact.get("tags"),
                    "system_tags": artifact.get("system_tags"),
                }
            )
        return await self._add_to_task(request, schema.ARTIFACTS, rows, "artifacts_created")

    async def _add_metadata(self, request: web.Request) -> web.Response:
        rows = [
            {
                **{text: datum.get(text, _BLANK) for text in ("field_name", "value", "type")},
                **_written_by(datum),
            }
            for datum in await _body(request)
        ]
        return await self._add_to_task(request, schema.METADATA, rows, "metadata_created")

    async def _add_to_task(
        self, request: web.Request, table: str, rows: Iterable[Row], counted_as: str
    ) -> web.Response:
        """Add what belongs to a task, row by row; what cannot be added is only not counted."""
        try:
            place = await self._task_place(request)
        except LookupError:
            return self._json({"message": "register the run and the task first"}, status=400)
        count = 0
        for row in rows:
            if table == schema.ARTIFACTS and self._fault.loses(row["name"]):
                count += 1
                continue
            try:
                await self._store.add(table, {**place, **row})
            except psycopg.Error as error:
                _log.warning("%s row refused: %s", table, error)
            else:
                count += 1
        return self._json({counted_as: count})

    async def _task_place(self, request: web.Request) -> Row:
        where = self._where(request)
        if not self._level.has_string_ids:
            return where
        ids = await self._run_ids(request)
        task = await self._store.find_one(schema.TASKS, where)
        if task is None:
            raise LookupError(f"there is no task {request.match_info['task']}")
        return {
            "flow_id": where["flow_id"],
            "step_name": where["step_name"],
            "task_id": task["task_id"],
            "task_name": task["task_name"],
            **ids,
        }

    # Heartbeats and tags

    async def _beat_run(self, request: web.Request) -> web.Response:
        return self._beaten(await self._store.beat(schema.RUNS, self._run(request)))

    async def _beat_task(self, request: web.Request) -> web.Response:
        if self._level.has_attempts:
            await self._store.beat(schema.RUNS, self._run(request))
        return self._beaten(await self._store.beat(schema.TASKS, self._where(request)))

    def _beaten(self, taken: bool) -> web.Response:
        body = json.dumps({"wait_time_in_seconds": _SECONDS_BETWEEN_HEARTBEATS})
        return self._json(body, status=200 if taken else 404)

    async def _mutate_tags(self, request: web.Request) -> web.Response:
        body = await _body(request)
        add, remove = body.get("tags_to_add", []), body.get("tags_to_remove", [])
        for name, tags in (("tags_to_add", add), ("tags_to_remove", remove)):
            if not isinstance(tags, list):
                return self._json(f"{name} is not a list", status=400)
            if not all(isinstance(tag, str) for tag in tags):
                return self._json(f"{name} holds what is no string", status=400)
        try:
            return await self._mutated(self._run(request), set(add), set(remove))
        except errors.SerializationFailure:
            return self._json("another change of the same tags came between; retry", status=409)

    async def _mutated(
        self, where: dict[str, Any], add: set[str], remove: set[str]
    ) -> web.Response:
        async with self._store.serializable() as connection:
            run = await self._store.find_one(schema.RUNS, where, connection=connection)
            if run is None:
                return self._missing()
            tags, system_tags = set(run["tags"]), set(run["system_tags"])
            if remove & system_tags:
                refused = ", ".join(sorted(remove & system_tags))
                return self._json(f"system tags cannot be removed: {refused}", status=422)
            changed = sorted((tags - remove) | (add - system_tags))
            if set(changed) != tags:
                await self._store.set_tags(where, changed, connection)
            return self._json({"tags": changed})

    # From a path to rows and back

    def _where(self, request: web.Request) -> dict[str, Any]:
        """Return the columns a path fixes; a run or task that is no number is a name."""
        where: dict[str, Any] = {}
        for part, value in request.match_info.items():
            if part == "run":
                where["run_id" if self._is_name(value) else "run_number"] = value
            elif part == "task":
                where["task_name" if self._is_name(value) else "task_id"] = value
            else:
                where[part] = value
        return where

    def _run(self, request: web.Request) -> dict[str, Any]:
        where = self._where(request)
        return {key: where[key] for key in ("flow_id", "run_number", "run_id") if key in where}

    def _is_name(self, value: str) -> bool:
        return self._level.has_string_ids and not value.isnumeric()

    async def _show(self, table: str, rows: list[Row]) -> list[Row]:
        """Return rows as bodies show them: one id each, and the tags of the run."""
        shown = [self._with_one_id(table, row) for row in rows]
        if self._level.has_run_tags and table in _SHOWS_RUN_TAGS and rows:
            key = {name: rows[0][name] for name in ("flow_id", "run_number")}
            run = await self._store.find_one(schema.RUNS, key)
            if run is None:
                raise LookupError(f"there is no run {key['run_number']}")
            for row in shown:
                row.update(tags=run["tags"], system_tags=run["system_tags"])
        return shown

    def _with_one_id(self, table: str, row: Row) -> Row:
        shown = dict(row)
        run_id, task_name = shown.pop("run_id", None), shown.pop("task_name", None)
        if run_id is not None:
            shown["run_number"] = run_id
        elif table == schema.STEPS and self._level.has_string_ids:
            shown["run_number"] = str(shown["run_number"])
        if task_name is not None:
            shown["task_id"] = task_name
        return shown

    def _json(self, body: Any, status: int = 200) -> web.Response:
        return web.Response(
            text=json.dumps(body), status=status, headers={VERSION_HEADER: self._level.reported}
        )


# Errors and planted faults, around every request


def _errors(level: Level) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except (web.HTTPException, asyncio.CancelledError):
            raise
        except psycopg.Error as error:
            status = _status(error)
            log = _log.info if status != web.HTTPInternalServerError.status_code else _log.error
            log("%s %s: %s", request.method, request.path, error)
            return _answer(level, status, _twice({"err_msg": _error_message(level, error)}))
        except Exception as error:  # noqa: BLE001 - a client sees every failure as a body
            _log.exception("%s %s", request.method, request.path)
            return _answer(level, 500, json.dumps(_problem(error)))

    return middleware


def _strike(fault: Fault) -> Middleware:
    seen = 0

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal seen
        # Only requests of clients count: who waits for a service pings it any number of times.
        counted = request.path.startswith("/flows") and (
            fault.name == faults.STATUS_500
            or (fault.name == faults.STATUS_500_COMMITS and request.method != "GET")
        )
        seen += counted
        if not counted or seen != fault.count:
            return await handler(request)
        if fault.name == faults.STATUS_500_COMMITS:
            await handler(request)
        raise web.HTTPInternalServerError(text=f"planted fault {fault.name}:{fault.count}")

    return middleware


def _status(error: psycopg.Error) -> int:
    if isinstance(error, errors.UniqueViolation):
        return 409
    if isinstance(error, errors.ForeignKeyViolation):
        return 404
    return 500


def _error_message(level: Level, error: psycopg.Error) -> Any:
    if not level.has_run_tags:
        return str(error)
    return {
        "pgerror": str(error),
        "pgcode": error.sqlstate,
        "diag": {
            "message_primary": error.diag.message_primary,
            "severity": error.diag.severity,
        },
    }


def _problem(error: Exception) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


def _answer(level: Level, status: int, text: str) -> web.Response:
    return web.Response(text=text, status=status, headers={VERSION_HEADER: level.reported})


def _twice(body: Any) -> str:
    """Encode JSON inside JSON, as the released service does with errors and health."""
    return json.dumps(json.dumps(body))


# Bodies of requests


async def _body(request: web.Request) -> Any:
    return json.loads(await request.read())


def _written_by(body: Row) -> Row:
    return {name: body.get(name) for name in ("user_name", "tags", "system_tags")}


def _beats(body: Row) -> bool:
    """Tell whether the client that sent this body will send heartbeats, by its version tag."""
    for tag in body.get("system_tags") or ():
        version = re.match(r"metaflow_version:(\d+(?:\.\d+)*)", tag)
        if version:
            number = tuple(int(part) for part in version[1].split("."))
            return number >= _FIRST_CLIENT_WITH_HEARTBEAT
    return False


def _now() -> int:
    return int(time.time())
