"""The metadata API: registering and reading flows, runs, steps, tasks, artifacts and metadata.

Where a level answers otherwise than the next one, the difference follows the releases of that
level.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable
from typing import Any

import psycopg
from aiohttp import web
from aiohttp.typedefs import Handler
from psycopg import errors

from harness.stack.reference import faults, paths, schema
from harness.stack.reference.answers import VERSION_HEADER, answer, as_text, errors_of, missing
from harness.stack.reference.faults import Fault
from harness.stack.reference.levels import Level
from harness.stack.reference.paths import Columns, columns_of, run_of
from harness.stack.reference.store import HEARTBEAT_SECONDS, Row, Store
from harness.stack.reference.strikes import struck_by

# As in the service: https://github.com/Netflix/metaflow-service/pull/243
_FIRST_CLIENT_WITH_HEARTBEAT = (2, 2, 12)
_SHOWS_TAGS_OF_RUN = (schema.STEPS, schema.TASKS, schema.ARTIFACTS)
_KINDS = {
    schema.FLOWS: "flow",
    schema.RUNS: "run",
    schema.STEPS: "step",
    schema.TASKS: "task",
    schema.ARTIFACTS: "artifact",
    schema.METADATA: "metadata",
}
"""What a planted fault calls the write that adds to a table."""
_BLANK = " "
"""What stands where a client left out a text that the table requires."""

_FAR_SIGN = re.compile("[\U00010000-\U0010ffff]")

_log = logging.getLogger(__name__)


def application(level: Level, store: Store, fault: Fault, prefix: str = "") -> web.Application:
    """Return the metadata API of a level over an open store, below a path where one is given."""
    api = _MetadataApi(level, store, fault)
    # 0 lifts the limit on bodies: one request registers all artifacts of a task.
    app = web.Application(middlewares=[errors_of(level), struck_by(fault)], client_max_size=0)
    app.add_routes(api.routes())
    if not prefix:
        return app
    whole = web.Application(client_max_size=0)
    whole.add_subapp(prefix, app)
    return whole


class _MetadataApi:
    def __init__(self, level: Level, store: Store, fault: Fault) -> None:
        self._level = level
        self._store = store
        self._fault = fault

    def routes(self) -> list[web.RouteDef]:
        """Return the routes the level has; every other path is a 404."""
        return [*self._first_routes(), *self._later_routes()]

    def _first_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/ping", self._ping),
            web.get(paths.FLOWS, self._list_of(schema.FLOWS)),
            web.get(paths.FLOW, self._one_of(schema.FLOWS)),
            web.post(paths.FLOW, self._add_flow),
            web.get(paths.RUNS, self._list_of(schema.RUNS)),
            web.get(paths.RUN, self._one_of(schema.RUNS)),
            web.post(paths.FLOW + "/run", self._add_run),
            web.get(paths.STEPS, self._list_of(schema.STEPS)),
            web.get(paths.STEP, self._one_of(schema.STEPS)),
            web.post(paths.STEP + "/step", self._add_step),
            web.get(paths.TASKS, self._list_of(schema.TASKS)),
            web.get(paths.TASK, self._one_of(schema.TASKS)),
            web.post(paths.STEP + "/task", self._add_task),
            web.get(paths.RUN + "/metadata", self._list_of(schema.METADATA)),
            web.get(paths.TASK + "/metadata", self._list_of(schema.METADATA)),
            web.post(paths.TASK + "/metadata", self._add_metadata),
            web.get(paths.RUN + "/artifacts", self._artifacts),
            web.get(paths.STEP + "/artifacts", self._artifacts),
            web.get(paths.ARTIFACTS, self._artifacts),
            web.get(paths.ARTIFACT, self._artifact),
            web.post(paths.TASK + "/artifact", self._add_artifacts),
        ]

    def _later_routes(self) -> Iterable[web.RouteDef]:
        level = self._level
        if level.has_migrations:
            yield web.get("/version", self._version)
        if level.has_heartbeat:
            yield web.post(paths.RUN + "/heartbeat", self._beat_run)
            yield web.post(paths.TASK + "/heartbeat", self._beat_task)
        if level.has_attempts:
            yield web.get("/healthcheck", self._healthcheck)
            yield web.get(paths.ARTIFACT + "/attempt/{attempt_id}", self._one_of(schema.ARTIFACTS))
            yield web.get(
                paths.TASK + "/attempt/{attempt_id}/artifacts", self._artifacts_of_attempt
            )
        if level.has_run_tags:
            # https://github.com/Netflix/metaflow-service/pull/320
            yield web.patch(paths.RUN + "/tag/mutate", self._mutate_tags)
        if level.has_filtered_tasks:
            yield web.get(paths.STEP + "/filtered_tasks", self._filtered_tasks)

    # The service itself

    async def _ping(self, _request: web.Request) -> web.Response:
        return web.Response(text="pong", headers={VERSION_HEADER: self._level.reported})

    async def _version(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._level.reported)

    async def _healthcheck(self, _request: web.Request) -> web.Response:
        up = await self._store.answers()
        response = self._answer(
            as_text({"status": "UP" if up else "DOWN"}), status=200 if up else 500
        )
        response.headers["Content-Type"] = "application/json"
        return response

    # Reading

    def _list_of(self, table: str) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            rows = await self._store.find(table, self._columns(request))
            # An empty list was an empty object before 2.0.
            nothing: object = [] if self._level.has_string_ids else {}
            if self._fault.name == faults.HIDE_NAMED and table in (schema.RUNS, schema.TASKS):
                name = "run_id" if table == schema.RUNS else "task_name"
                rows = [row for row in rows if row.get(name) is None]
            shown = await self._shown(table, rows)
            if self._fault.name == faults.CHANGE_LISTS and table != schema.METADATA:
                shown = [{**row, "user_name": "another", "system_tags": []} for row in shown]
            if self._fault.name == faults.LATEST_METADATA and table == schema.METADATA:
                shown = list({row["field_name"]: row for row in shown}.values())
            return self._answer(shown or nothing)

        return handler

    def _one_of(self, table: str) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            return await self._one(table, self._columns(request))

        return handler

    async def _one(self, table: str, where: Columns) -> web.Response:
        row = await self._store.find_one(table, where)
        if row is None:
            return missing(self._level)
        return self._answer((await self._shown(table, [row]))[0])

    async def _artifacts(self, request: web.Request) -> web.Response:
        """List the artifacts of the latest attempt of each task; before 2.0.6, of all tasks."""
        rows = await self._store.artifacts(self._columns(request))

        def judged_with(row: Row) -> object:
            return row["task_id"] if self._level.has_attempts else None

        latest: dict[object, object] = {}
        for row in rows:
            latest.setdefault(judged_with(row), row["attempt_id"])
        kept = [row for row in rows if row["attempt_id"] == latest[judged_with(row)]]
        return self._answer(await self._shown(schema.ARTIFACTS, kept))

    async def _artifacts_of_attempt(self, request: web.Request) -> web.Response:
        where = self._columns(request)
        attempt = int(request.match_info["attempt_id"])
        del where["attempt_id"]
        rows = await self._store.artifacts(where)
        kept = [row for row in rows if row["attempt_id"] == attempt]
        return self._answer(await self._shown(schema.ARTIFACTS, kept))

    async def _artifact(self, request: web.Request) -> web.Response:
        where = self._columns(request)
        # https://github.com/Netflix/metaflow-service/pull/256
        if self._level.takes_latest_attempt:
            # An attempt may lack what an earlier one had; every attempt has an artifact ``name``.
            always = await self._store.find_one(schema.ARTIFACTS, {**where, "name": "name"})
            where["attempt_id"] = always["attempt_id"] if always else 0
        return await self._one(schema.ARTIFACTS, where)

    async def _filtered_tasks(self, request: web.Request) -> web.Response:
        where = self._columns(request)
        query = {} if self._fault.name == faults.IGNORE_FILTERS else request.query
        if query.get("metadata_field_name"):
            where["field_name"] = query["metadata_field_name"]
        rows = await self._store.tasks_with(where, query.get("pattern", ""))
        return self._answer([_pathspec(row) for row in rows])

    async def _shown(self, table: str, rows: list[Row]) -> list[Row]:
        """Return rows of one run as bodies show them: one id each, and the tags of the run."""
        shown = [self._with_one_id(table, row) for row in rows]
        if self._fault.name == faults.MOVE_TIMES:
            shown = [{**row, "ts_epoch": int(time.time() * 1000)} for row in shown]
        if self._fault.name == faults.TIMES_OF_FIRST:
            shown = [{**row, "ts_epoch": shown[0]["ts_epoch"]} for row in shown]
        if self._fault.name == faults.LOSE_FIELD:
            lost = self._fault.argument
            shown = [{key: row[key] for key in row if key != lost} for row in shown]
        if self._fault.name == faults.SORT_TAGS:
            shown = [{**row, "tags": sorted(_texts(row["tags"]))} for row in shown]
        if rows and self._level.has_run_tags and table in _SHOWS_TAGS_OF_RUN:
            run = await self._run({key: rows[0][key] for key in ("flow_id", "run_number")})
            for row in shown:
                # https://github.com/Netflix/metaflow-service/pull/315
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

    # Writing

    async def _add_flow(self, request: web.Request) -> web.Response:
        body = await _body(request)
        return await self._add(schema.FLOWS, {**self._columns(request), **_written_by(body)})

    async def _add_run(self, request: web.Request) -> web.Response:
        body = await _body(request)
        values = {**self._columns(request), **_written_by(body)}
        values["tags"] = self._fault.kept(values["tags"])
        if self._level.has_string_ids:
            values["run_id"] = _name(body.get("run_number"))
        if self._level.has_run_tags and self._heeds_heartbeats(body):
            values["last_heartbeat_ts"] = int(time.time())
        return await self._add(schema.RUNS, values)

    async def _add_step(self, request: web.Request) -> web.Response:
        body = await _body(request)
        values = {**self._columns(request), **_written_by({"user_name": "", **body})}
        if self._level.has_string_ids:
            values |= await self._ids_of_run(request)
            values["run_id"] = values["run_id"] or str(values["run_number"])
        return await self._add(schema.STEPS, values)

    async def _add_task(self, request: web.Request) -> web.Response:
        body = await _body(request)
        values = {**self._columns(request), **_written_by(body)}
        if self._level.has_string_ids:
            values["task_name"] = _name(body.get("task_id"))
            values |= await self._ids_of_run(request)
        beats = self._level.has_run_tags and self._heeds_heartbeats(body)
        if beats:
            values["last_heartbeat_ts"] = int(time.time())
        response = await self._add(schema.TASKS, values)
        if beats:
            await self._store.beat(schema.RUNS, run_of(self._columns(request)))
        return response

    async def _add(self, table: str, values: Columns) -> web.Response:
        row = await self._store.add(table, values, keep=self._keeps(table))
        if self._fault.stores_twice(_KINDS[table]):
            await self._store.add(table, values)
        return self._answer((await self._shown(table, [row]))[0])

    def _keeps(self, table: str) -> bool:
        return not self._fault.loses_write(_KINDS[table])

    async def _add_artifacts(self, request: web.Request) -> web.Response:
        texts = ("name", "location", "ds_type", "sha", "type", "content_type", "user_name")
        rows = [
            {
                **_written_by(artifact),
                **{text: artifact.get(text, _BLANK) for text in texts},
                "attempt_id": artifact.get("attempt_id", 0),
            }
            for artifact in await _body(request)
        ]
        return await self._add_to_task(request, schema.ARTIFACTS, rows, "artifacts_created")

    async def _add_metadata(self, request: web.Request) -> web.Response:
        texts = ("field_name", "value", "type")
        rows = [
            {**_written_by(datum), **{text: datum.get(text, _BLANK) for text in texts}}
            for datum in await _body(request)
        ]
        return await self._add_to_task(request, schema.METADATA, rows, "metadata_created")

    async def _add_to_task(
        self, request: web.Request, table: str, rows: Iterable[Row], counted_as: str
    ) -> web.Response:
        """Add what belongs to a task, row by row; what cannot be added is only not counted."""
        try:
            task = await self._task(request)
        except LookupError:
            return self._answer({"message": "register the run and the task first"}, status=400)
        count = 0
        for row in rows:
            try:
                if not self._fault.loses(str(row.get("name", ""))):
                    await self._store.add(table, {**task, **row}, keep=self._keeps(table))
                if self._fault.stores_twice(_KINDS[table]):
                    await self._store.add(table, {**task, **row})
                count += 1
            except psycopg.Error as error:
                _log.warning("%s: row refused: %s", table, error)
        return self._answer({counted_as: count})

    async def _task(self, request: web.Request) -> Columns:
        """Return the columns of what belongs to the task of a path; 1.0 does not look it up."""
        where = self._columns(request)
        if not self._level.has_string_ids:
            return where
        ids = await self._ids_of_run(request)
        task = await self._store.find_one(schema.TASKS, where)
        if task is None:
            raise LookupError(f"there is no task {request.match_info['task']}")
        return {
            **ids,
            **{key: task[key] for key in ("flow_id", "step_name", "task_id", "task_name")},
        }

    async def _ids_of_run(self, request: web.Request) -> Columns:
        """Return both ids of the run, whichever of them the path names."""
        run = await self._run(run_of(self._columns(request)))
        return {"run_number": run["run_number"], "run_id": run["run_id"]}

    async def _run(self, where: Columns) -> Row:
        run = await self._store.find_one(schema.RUNS, where)
        if run is None:
            raise LookupError(f"there is no run {where}")
        return run

    # Heartbeats and tags

    def _heeds_heartbeats(self, body: Columns) -> bool:
        return not self._fault.loses_write(faults.HEARTBEAT) and _sends_heartbeats(body)

    async def _beat_run(self, request: web.Request) -> web.Response:
        if self._fault.loses_write(faults.HEARTBEAT):
            return self._beaten(taken=True)
        taken = await self._store.beat(schema.RUNS, run_of(self._columns(request)))
        return self._beaten(taken=taken)

    async def _beat_task(self, request: web.Request) -> web.Response:
        where = self._columns(request)
        if self._fault.loses_write(faults.HEARTBEAT):
            return self._beaten(taken=True)
        if self._level.has_attempts:
            await self._store.beat(schema.RUNS, run_of(where))
        return self._beaten(taken=await self._store.beat(schema.TASKS, where))

    def _beaten(self, *, taken: bool) -> web.Response:
        body = as_text({"wait_time_in_seconds": HEARTBEAT_SECONDS})
        return self._answer(body, status=200 if taken else 404)

    async def _mutate_tags(self, request: web.Request) -> web.Response:
        body = await _body(request)
        add, remove = body.get("tags_to_add", []), body.get("tags_to_remove", [])
        for name, tags in (("tags_to_add", add), ("tags_to_remove", remove)):
            if not isinstance(tags, list):
                return self._answer(f"{name} is not a list", status=400)
            if not all(isinstance(tag, str) for tag in tags):
                return self._answer(f"{name} holds what is no string", status=400)
        try:
            return await self._mutated(run_of(self._columns(request)), set(add), set(remove))
        except errors.SerializationFailure:
            return self._answer("another change of the tags came between; retry", status=409)

    async def _mutated(self, where: Columns, add: set[str], remove: set[str]) -> web.Response:
        async with self._store.serializable() as connection:
            run = await self._store.find_one(schema.RUNS, where, connection=connection)
            if run is None:
                return missing(self._level)
            tags, system_tags = set(_texts(run["tags"])), set(_texts(run["system_tags"]))
            if remove & system_tags:
                refused = ", ".join(sorted(remove & system_tags))
                return self._answer(f"system tags cannot be removed: {refused}", status=422)
            changed = sorted((tags - remove) | (add - system_tags))
            if self._fault.name == faults.REPEAT_TAGS:
                changed = sorted([*_texts(run["tags"]), *(add - system_tags)])
            if changed != sorted(tags) and not self._fault.loses_write(faults.TAGS):
                await self._store.set_tags(where, changed, connection)
            return self._answer({"tags": changed})

    def _columns(self, request: web.Request) -> Columns:
        return columns_of(self._level, request)

    def _answer(self, body: object, status: int = 200) -> web.Response:
        if self._fault.name == faults.REVERSE_LISTS and isinstance(body, list):
            body = body[::-1]
        if self._fault.name == faults.LOSE_FAR_SIGNS:
            body = json.loads(_FAR_SIGN.sub("?", json.dumps(body, ensure_ascii=False)))
        return answer(self._level, body, status)


def _pathspec(task: Row) -> str:
    run = task["run_id"] or task["run_number"]
    return f"{task['flow_id']}/{run}/{task['step_name']}/{task['task_name'] or task['task_id']}"


async def _body(request: web.Request) -> Any:
    return json.loads(await request.read())


def _written_by(body: Row) -> Row:
    return {name: body.get(name) for name in ("user_name", "tags", "system_tags")}


def _texts(value: object) -> list[str]:
    """Return a list of JSON as texts; nothing of anything else."""
    return list(map(str, value)) if isinstance(value, list) else []


def _name(chosen: str | None) -> str | None:
    """Return the id a client chose for its run or task; numbers are the service's to give."""
    # isnumeric() as in the service, though it takes more than digits for a number.
    if chosen and chosen.isnumeric():
        raise ValueError(f"{chosen} is a number: only names can be registered")
    return chosen


def _sends_heartbeats(body: Row) -> bool:
    """Tell by its version tag whether the client that sent this body will send heartbeats."""
    for tag in _texts(body.get("system_tags")):
        version = re.match(r"metaflow_version:(\d+(?:\.\d+)*)", tag)
        if version:
            number = tuple(int(part) for part in version[1].split("."))
            return number >= _FIRST_CLIENT_WITH_HEARTBEAT
    return False
