"""Stands in for the UI backend of a metadata service release: the part of its API that is judged.

It answers from the rows of a real database and from local data, is set by the variables of the
real one (MF_METADATA_DB_*, MF_UI_METADATA_HOST, MF_UI_METADATA_PORT, UI_ENABLED, DB_SCHEMA_NAME),
serves assets from ``ui/`` beside this file, keeps two worker processes in its group, and like the
real one ends on SIGKILL only. Written for the tests, not taken from anywhere; it is one file so
that it can be put in a stand-in clone or image. Needs psycopg2.

``STANDIN_FAULT`` plants a fault: status, patient (a run that fell silent is said to run), hasty
(one that runs is said to have failed), timeline, over (each task that began has ended, too), log,
card, tags, search, unreadable, dag, list, odd (a search that sends no event), matches (one whose
matches are none).
``STANDIN_HANG_ONCE`` names a file: who does not find it makes it, and hangs at its start.
``STANDIN_ENDS``, as in ``/dag:SIGSEGV`` or ``start:exit``, ends it at its start, or when a path
with this in it is asked for.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import html
import json
import mimetypes
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg2
from psycopg2.extras import RealDictCursor

ASSETS = (Path(__file__).resolve().parent / "ui").resolve()
FAULT = os.environ.get("STANDIN_FAULT", "")
ENDS, _, HOW = os.environ.get("STANDIN_ENDS", "").partition(":")
SCHEMA = os.environ.get("DB_SCHEMA_NAME", "public")
WORKER_SECONDS = 900
"""A worker that a test forgot ends by itself; the real one's never do."""

RUNS = """
    SELECT r.flow_id, r.run_number, r.run_id, r.user_name, r.tags, r.system_tags, r.ts_epoch,
        coalesce(r.run_id, r.run_number::text) AS run,
        CASE WHEN ok.value = 'True' THEN 'completed' WHEN ok.value = 'False' THEN 'failed'
            WHEN extract(epoch FROM now()) - r.last_heartbeat_ts < %(wait)s THEN 'running'
        END AS status
    FROM runs_v3 AS r LEFT JOIN LATERAL (
        SELECT value FROM metadata_v3 AS m
        WHERE m.flow_id = r.flow_id AND m.run_number = r.run_number AND m.step_name = 'end'
        AND m.field_name = 'attempt_ok' ORDER BY ts_epoch DESC LIMIT 1
    ) AS ok ON true
    WHERE (%(flow)s IS NULL OR r.flow_id = %(flow)s)
    AND (%(run)s IS NULL OR coalesce(r.run_id, r.run_number::text) = %(run)s)
    AND (r.tags || r.system_tags) @> %(tags)s::jsonb
    ORDER BY r.ts_epoch DESC LIMIT %(limit)s OFFSET %(offset)s
"""
TASKS = """
    SELECT t.flow_id, t.run_number, t.run_id, t.step_name, t.task_id, t.task_name, t.ts_epoch,
        max(m.ts_epoch) FILTER (WHERE m.field_name = 'attempt') AS started_at,
        max(m.ts_epoch) FILTER (WHERE m.field_name = 'attempt-done') AS finished_at
    FROM tasks_v3 AS t LEFT JOIN metadata_v3 AS m USING (flow_id, run_number, step_name, task_id)
    WHERE t.flow_id = %(flow)s AND coalesce(t.run_id, t.run_number::text) = %(run)s
    AND (%(task)s IS NULL OR coalesce(t.task_name, t.task_id::text) = %(task)s)
    GROUP BY t.flow_id, t.run_number, t.run_id, t.step_name, t.task_id, t.task_name, t.ts_epoch
    ORDER BY t.ts_epoch LIMIT %(limit)s OFFSET %(offset)s
"""
METADATA = """
    SELECT field_name, value FROM metadata_v3 WHERE flow_id = %(flow_id)s
    AND run_number = %(run_number)s AND step_name = %(step_name)s AND task_id = %(task_id)s
    ORDER BY ts_epoch
"""
ARTIFACTS = """
    SELECT flow_id, run_number::text, step_name, task_id::text, name, location, sha
    FROM artifact_v3 WHERE flow_id = %(flow)s
    AND coalesce(run_id, run_number::text) = %(run)s AND name = %(name)s
"""
GRAPH = """
    SELECT count(*) AS stored FROM artifact_v3 WHERE flow_id = %(flow)s
    AND coalesce(run_id, run_number::text) = %(run)s AND name = '_graph_info'
"""
STEPS = """
    SELECT step_name FROM steps_v3 WHERE flow_id = %(flow)s
    AND coalesce(run_id, run_number::text) = %(run)s AND step_name NOT LIKE '\\_%%'
    ORDER BY ts_epoch
"""

_MFLOG = re.compile(r"^\[MFLOG\|0\|([^|]*)\|[^\]]*\](.*)$")

Rows = list[dict[str, Any]]


def rows(query: str, **values: Any) -> Rows:
    """Ask the database."""
    connection = psycopg2.connect(
        host=os.environ.get("MF_METADATA_DB_HOST", "localhost"),
        port=os.environ.get("MF_METADATA_DB_PORT", "5432"),
        user=os.environ.get("MF_METADATA_DB_USER", "postgres"),
        password=os.environ.get("MF_METADATA_DB_PSWD", "postgres"),
        dbname=os.environ.get("MF_METADATA_DB_NAME", "postgres"),
        options=f"-c search_path={SCHEMA}",
    )
    with contextlib.closing(connection), connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(query, values)
        return [dict(row) for row in cursor]


def version() -> str:
    """Return the version as the real one finds it, in the installed package."""
    try:
        return metadata.version("metadata_service")
    except metadata.PackageNotFoundError:
        return "2.5.1"


def unpacked(artifact: dict[str, Any]) -> object:
    """Return an artifact's value from local data."""
    if FAULT == "unreadable":
        raise OSError("planted")
    location = artifact["location"]
    if location.startswith(":root:"):
        sha = artifact["sha"]
        location = f"{location[6:]}/{artifact['flow_id']}/data/{sha[:2]}/{sha}"
    return pickle.loads(gzip.decompress(Path(location).read_bytes()))


def log_lines(task: dict[str, Any], stream: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of a task's log, new style and old."""
    told = {row["field_name"]: row["value"] for row in rows(METADATA, **task)}
    if f"log_location_{stream}" in told:
        files = [Path(json.loads(told[f"log_location_{stream}"])["location"])]
    else:
        run, name = task["run_id"] or task["run_number"], task["task_name"] or task["task_id"]
        folder = Path(told.get("ds-root", "/")) / task["flow_id"] / str(run) / task["step_name"]
        files = [folder / str(name) / f"0.{who}_{stream}.log" for who in ("runtime", "task")]
    lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
    for number, line in enumerate(lines):
        structured = _MFLOG.match(line)
        text = structured.group(2) if structured else line
        yield {"row": number, "timestamp": None, "line": text}


def cards(task: dict[str, Any]) -> dict[str, Path]:
    """Return the files of a task's cards by hash."""
    told = {row["field_name"]: row["value"] for row in rows(METADATA, **task)}
    run, name = task["run_id"] or task["run_number"], task["task_name"] or task["task_id"]
    place = ("runs", str(run), "steps", task["step_name"], "tasks", str(name), "cards")
    folder = Path(told.get("ds-root", "/"), "mf.cards", task["flow_id"], *place)
    return {file.stem.rpartition("-")[2]: file for file in sorted(folder.glob("*.html"))}


class Api:
    """What is answered, by the parts of the path."""

    def __init__(self, query: dict[str, str]) -> None:
        self.query = query
        limit = min(int(query.get("_limit", "10")), 1000)
        self.page = {"limit": limit, "offset": limit * (int(query.get("_page", "1")) - 1)}

    def flows(self) -> Rows:
        """List flows."""
        return rows(
            "SELECT flow_id, ts_epoch FROM flows_v3 WHERE %(flow)s IS NULL OR flow_id = %(flow)s"
            " ORDER BY ts_epoch DESC LIMIT %(limit)s OFFSET %(offset)s",
            flow=self.query.get("flow_id"),
            **self.page,
        )

    def runs(self, flow: str | None = None, run: str | None = None) -> Rows:
        """List runs."""
        tags = [tag for tag in self.query.get("_tags", "").split(",") if tag]
        if FAULT == "tags":
            tags = []
        found = rows(
            RUNS,
            flow=flow or self.query.get("flow_id"),
            run=run or self.query.get("run_number") or self.query.get("run_id"),
            tags=json.dumps(tags),
            wait={"patient": 30 * 86400, "hasty": 0}.get(FAULT, 360),
            **self.page,
        )
        wanted = self.query.get("status", "").split(",")
        for one in found:
            one["status"] = (
                "running" if FAULT == "status" else one["status"] or self.old_status(one)
            )
        if FAULT == "list" and run is None:
            return []
        return [one for one in found if wanted == [""] or one["status"] in wanted]

    def old_status(self, run: dict[str, Any]) -> str:
        """Return how a run of a client before 2.2.5 ended: its last task's _task_ok says it."""
        named = rows(ARTIFACTS, flow=run["flow_id"], run=run["run"], name="_task_ok")
        last = [artifact for artifact in named if artifact["step_name"] == "end"]
        with contextlib.suppress(OSError):
            return "completed" if last and unpacked(last[-1]) else "failed"
        return "failed"

    def tasks(self, flow: str, run: str, task: str | None = None) -> Rows:
        """List tasks."""
        found = rows(TASKS, flow=flow, run=run, task=task, **self.page)
        if FAULT == "over":
            found = [{**one, "finished_at": one["started_at"]} for one in found]
        return found[:-1] if FAULT == "timeline" and task is None else found

    def dag(self, flow: str, run: str) -> dict[str, Any] | None:
        """Draw the steps in their order, where a graph was stored."""
        if FAULT == "dag":
            raise RuntimeError("planted")
        if not rows(GRAPH, flow=flow, run=run)[0]["stored"]:
            return None
        names = [row["step_name"] for row in rows(STEPS, flow=flow, run=run)]
        steps = {name: {"name": name, "next": names[i + 1 : i + 2]} for i, name in enumerate(names)}
        return {"steps": steps, "graph_structure": names}

    def log(self, task: dict[str, Any], stream: str) -> Rows:
        """Return a log."""
        return [] if FAULT == "log" else list(log_lines(task, stream))

    def cards(self, task: dict[str, Any]) -> Rows:
        """List cards."""
        if FAULT == "card":
            return []
        return [{"id": None, "hash": name, "type": "default"} for name in cards(task)]

    def search(self, flow: str, run: str) -> Rows:
        """Search artifacts by name and value."""
        if FAULT == "search":
            return []
        found = rows(ARTIFACTS, flow=flow, run=run, name=self.query["key"])
        sought = self.query.get("value")
        matches = []
        for artifact in found:
            match = {
                name: artifact[name] for name in ("flow_id", "run_number", "step_name", "task_id")
            }
            try:
                text = str(unpacked(artifact)) if sought is not None else ""
            except OSError as error:
                matches.append(
                    {**match, "searchable": False, "error": {"id": "read", "detail": str(error)}}
                )
                continue
            if sought is None or sought.lower() in text.lower():
                matches.append({**match, "searchable": True, "error": None})
        return matches


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a request."""
        end_at(self.path)
        address = urlsplit(self.path)
        parts = [unquote(part) for part in address.path.split("/") if part]
        query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        try:
            self.answer(parts, Api(query))
        except Exception as error:  # noqa: BLE001 - as the real one: whatever it is, 500
            self.send_json(500, {"data": {}, "status": 500, "title": f"{type(error).__name__}"})

    def answer(self, parts: list[str], api: Api) -> None:
        """Find the resource and send it."""
        match parts:
            case ["ping"]:
                self.send(200, b"pong", "text/plain")
            case ["version"]:
                self.send(200, version().encode(), "text/plain")
            case ["features" | "config"]:
                self.send_json(200, {})
            case ["flows"]:
                self.send_data(api.flows())
            case ["runs"]:
                self.send_data(api.runs())
            case ["flows", flow, "runs"]:
                self.send_data(api.runs(flow))
            case ["search", "flows", flow, "runs", run]:
                self.send_search(api.search(flow, run))
            case ["flows", flow, "runs", run, *rest]:
                self.run_answer(flow, run, rest, api)
            case _ if os.environ.get("UI_ENABLED", "1") == "1":
                self.send_asset(parts)
            case _:
                self.send_json(404, {"data": {}, "status": 404})

    def run_answer(self, flow: str, run: str, rest: list[str], api: Api) -> None:
        """Answer for what belongs to a run."""
        match rest:
            case []:
                self.send_data(next(iter(api.runs(flow, run)), None))
            case ["tasks"]:
                self.send_data(api.tasks(flow, run))
            case ["dag"]:
                self.send_data(api.dag(flow, run))
            case ["search"]:
                self.send_search(api.search(flow, run))
            case ["steps", _, "tasks", task, *rest]:
                found = api.tasks(flow, run, task)
                self.task_answer(found[0] if found else None, rest, api)
            case _:
                self.send_json(404, {"data": {}, "status": 404})

    def task_answer(self, task: dict[str, Any] | None, rest: list[str], api: Api) -> None:
        """Answer for what belongs to a task."""
        match rest:
            case _ if task is None:
                self.send_json(404, {"data": [], "status": 404})
            case []:
                self.send_data(task)
            case ["logs", "out"]:
                self.send_data(api.log(task, "stdout"))
            case ["logs", "err"]:
                self.send_data(api.log(task, "stderr"))
            case ["cards"]:
                self.send_data(api.cards(task))
            case ["cards", name]:
                self.send(200, cards(task)[name].read_bytes(), "text/html")
            case _:
                self.send_json(404, {"data": {}, "status": 404})

    def send_asset(self, parts: list[str]) -> None:
        """Send a file of the assets; every other path is the page's own."""
        file = ASSETS.joinpath(*parts)
        if parts and file.is_file() and ASSETS in file.resolve().parents:
            kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            self.send(200, file.read_bytes(), kind)
            return
        page = (ASSETS / "index.html").read_text(encoding="utf-8")
        where = html.escape(os.environ.get("METAFLOW_SERVICE", "/"))
        script = f'<script>window.METAFLOW_SERVICE="{where}";</script></head>'
        self.send(200, page.replace("</head>", script).encode(), "text/html")

    def send_data(self, data: Any) -> None:
        """Send an answer as the real one wraps it."""
        status = 404 if data is None else 200
        self.send_json(status, {"data": {} if data is None else data, "status": status})

    def send_json(self, status: int, body: object) -> None:
        """Send JSON."""
        self.send(status, json.dumps(body).encode(), "application/json")

    def send(self, status: int, body: bytes, kind: str) -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header("METADATA_SERVICE_VERSION", version())
        self.send_header("Access-Control-Allow-Origin", "*")  # a page may come from elsewhere
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_search(self, matches: Rows) -> None:
        """Speak websocket: shake hands, send progress and the result, and close."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        digest = hashlib.sha1(key.encode()).digest()
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(digest).decode())
        self.end_headers()
        errors = [match["error"]["detail"] for match in matches if match["error"]]
        for event in (
            {"type": "progress", "fraction": 1.0},
            *({"type": "error", "message": detail} for detail in errors),
            {"type": "result", "matches": 7 if FAULT == "matches" else matches},
        ):
            sent = [event] if FAULT == "odd" else {"event": event}
            self.send_frame(0x81, json.dumps(sent).encode())
        self.send_frame(0x88, struct.pack(">H", 1000))
        self.close_connection = True

    def send_frame(self, first: int, body: bytes) -> None:
        """Send one frame of the websocket protocol (RFC 6455, 5.2), unmasked as servers do."""
        if len(body) < 126:
            length = bytes([len(body)])
        elif len(body) < 2**16:
            length = bytes([126]) + struct.pack(">H", len(body))
        else:
            length = bytes([127]) + struct.pack(">Q", len(body))
        self.wfile.write(bytes([first]) + length + body)

    def log_message(self, form: str, *values: object) -> None:
        """Log as to a terminal, with the time."""
        sys.stderr.write(f"{datetime.now().astimezone():%H:%M:%S} {form % values}\n")


def end_at(place: str) -> None:
    """End where it is planted."""
    if ENDS and ENDS in place:
        if HOW == "exit":
            print("ModuleNotFoundError: No module named 'planted'", file=sys.stderr, flush=True)
            os._exit(1)
        os.kill(os.getpid(), signal.Signals[HOW])


def ignore_signals() -> None:
    """Do as the real one, and go on after SIGTERM and SIGINT."""
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, lambda *_: None)


def work() -> None:
    """Be a worker: there, and hard to end."""
    ignore_signals()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(WORKER_SECONDS)
    while True:
        signal.pause()


def serve() -> None:
    """Serve until killed."""
    ignore_signals()
    workers = [subprocess.Popen([sys.executable, __file__, "worker"]) for _ in range(2)]
    host = os.environ.get("MF_UI_METADATA_HOST", "0.0.0.0")
    port = int(os.environ.get("MF_UI_METADATA_PORT", "8083"))
    with contextlib.suppress(FileExistsError):
        if once := os.environ.get("STANDIN_HANG_ONCE"):
            Path(once).touch(exist_ok=False)
            signal.pause()
    end_at("start")
    rows("SELECT 1 FROM runs_v3 LIMIT 1")  # no database, or none of Metaflow's: it does not start
    server = ThreadingHTTPServer((host, port), Handler)
    print(
        "serving on", (host, port), "with workers", [worker.pid for worker in workers], flush=True
    )
    server.serve_forever()


MAIN: dict[bool, Callable[[], None]] = {True: work, False: serve}

if __name__ == "__main__":
    MAIN[sys.argv[1:] == ["worker"]]()
