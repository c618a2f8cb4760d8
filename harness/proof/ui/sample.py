"""Draws from a database the runs a Metaflow UI is judged by, and what it must show of them.

What there is to look for is read from the rows that clients wrote, so any metadata database will
do, whoever filled it. Of the project's own probes more is known: what they print, store and draw,
which steps they have with how many tasks, and how their runs ended: rows may say otherwise,
https://github.com/Netflix/metaflow/pull/2087. When a task began and ended only rows tell.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from packaging.version import InvalidVersion, Version
from psycopg2 import extensions, sql

from harness.core.actions import COMPLETED, FAILED
from harness.core.probes import FLOWS, Probe, find_probes
from harness.proof.ui.sample_run import SampleArtifact, SampleLog, SampleRun, SampleStep
from harness.stack.database.server import Address

CLIENT_TAG = "metaflow_version:"
SERVICE_TAG = "service_version:"
UNKNOWN_SERVICE = "unknown service"

T = TypeVar("T")

_CARDS_SINCE = Version("2.4.7")

# For so long UI backends wait, unasked, for the next heartbeat of a run whose task failed.
_HEARTBEAT_SECONDS = 6 * 60

# After so long without a sign of life a run is over for every UI backend: up to v2.3.3 they wait
# six days, from v2.3.11 on one.
_SILENT_SECONDS = 6 * 24 * 60 * 60

# Clients name an artifact's object by the SHA-1 of its pickle: that tells the value of _task_ok.
_BY_SHA = {
    hashlib.sha1(pickle.dumps(ok, protocol)).hexdigest(): ok  # noqa: S324 - what clients use
    for ok in (True, False)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
}

# What follows a prefix in the first tag that has it. '[]' makes a list of whatever a client wrote.
_TAGGED = """
    SELECT substr(tag, length({prefix}) + 1)
    FROM jsonb_array_elements_text('[]' || {tags}) WITH ORDINALITY AS t (tag, place)
    WHERE left(tag, length({prefix})) = {prefix} ORDER BY place LIMIT 1
"""


class _Run(NamedTuple):
    """A row of ``_RUNS``.

    Attributes:
        silent: seconds since its heartbeat; None where it has none.
        age: seconds since it began.
        place: among those of its kind, 1 for the newest.
    """

    flow_id: str
    run_number: int
    run_id: str | None
    tags: list[str] | None
    system_tags: list[str] | None
    ts_epoch: int
    silent: Decimal | float | None
    age: Decimal | float
    client: str
    service: str
    datastore: str
    place: int


# The newest runs of each kind. A run has one datastore, whichever of its rows tells it.
_RUNS = """
    SELECT * FROM (SELECT *, row_number() OVER (
        PARTITION BY client, service, flow_id, datastore ORDER BY ts_epoch DESC, run_number DESC
    ) AS place FROM (
        SELECT r.flow_id, r.run_number, r.run_id, r.tags, r.system_tags, r.ts_epoch,
            extract(epoch FROM now()) - r.last_heartbeat_ts AS silent,
            extract(epoch FROM now()) - r.ts_epoch / 1000.0 AS age,
            ({client}) AS client,
            coalesce(nullif(({service}), ''), {unknown}) AS service,
            coalesce(
                (
                    SELECT trim('"' FROM m.value::text) FROM {metadata} AS m
                    WHERE m.flow_id = r.flow_id AND m.run_number = r.run_number
                    AND m.field_name = 'ds-type' LIMIT 1
                ),
                (
                    SELECT a.ds_type FROM {artifacts} AS a
                    WHERE a.flow_id = r.flow_id AND a.run_number = r.run_number LIMIT 1
                ),
                ''
            ) AS datastore
        FROM {runs} AS r WHERE r.flow_id NOT LIKE '\\_%%'
    ) AS run
    WHERE client <> '' AND (%(every)s OR client = ANY(%(clients)s))) AS newest
    WHERE place <= %(most)s ORDER BY client, service, flow_id, datastore, place
"""

_MOST = 12
"""Of so many runs of a kind, the newest, one in each state is drawn."""


class _State(NamedTuple):
    """How a run ended, and what happened on the way."""

    status: str
    resumed: bool
    retried: bool


# Clients write them of every task: of one that goes on from no other run, None.
_ON_THE_WAY = """
    SELECT coalesce(bool_or(field_name = 'origin-run-id' AND text NOT IN ('None', '')), false),
        coalesce(bool_or(field_name = 'attempt' AND text <> '0'), false)
    FROM (SELECT field_name, trim('"' FROM value::text) AS text FROM {metadata} WHERE {run}) AS m
"""


class _Step(NamedTuple):
    """A row of ``_TASKS``; ``first`` is the id of the step's first task."""

    step: str
    tasks: int
    timed: int
    first: int


# A task's beginning and end, as every UI backend finds them: metadata, or the row of _task_ok.
_TASKS = """
    SELECT t.step_name AS step, count(*) AS tasks,
        count(*) FILTER (WHERE m.begun AND (m.ended OR EXISTS (
            SELECT FROM {artifacts} AS a
            WHERE a.flow_id = t.flow_id AND a.run_number = t.run_number
            AND a.step_name = t.step_name AND a.task_id = t.task_id AND a.name = '_task_ok'
        ))) AS timed,
        min(t.task_id) AS first
    FROM {tasks} AS t LEFT JOIN LATERAL (
        SELECT bool_or(field_name = 'attempt') AS begun,
            bool_or(field_name = 'attempt-done') AS ended
        FROM {metadata} AS m
        WHERE m.flow_id = t.flow_id AND m.run_number = t.run_number
        AND m.step_name = t.step_name AND m.task_id = t.task_id
    ) AS m ON true
    WHERE t.flow_id = %(flow_id)s AND t.run_number = %(run_number)s AND t.step_name NOT LIKE '\\_%%'
    GROUP BY t.step_name ORDER BY min(t.ts_epoch), t.step_name
"""

_TASK_NAME = (
    "SELECT task_name FROM {tasks} WHERE {run} AND step_name = %(step)s AND task_id = %(task)s"
)

_METADATA = """
    SELECT value FROM {metadata} WHERE {run} AND step_name = %(step)s AND field_name = %(field)s
    ORDER BY ts_epoch DESC LIMIT 1
"""

_ANY_METADATA = (
    "SELECT EXISTS (SELECT FROM {metadata} WHERE {run} AND field_name = ANY(%(fields)s))"
)


class _Artifact(NamedTuple):
    """A row of ``_ARTIFACTS``."""

    name: str
    sha: str


_ARTIFACTS = """
    SELECT name, sha FROM {artifacts} WHERE {run} AND step_name = %(step)s
    ORDER BY attempt_id DESC, name LIMIT 1000
"""

_SAME_ARTIFACT = """
    SELECT count(DISTINCT (step_name, task_id)) AS tasks FROM {artifacts}
    WHERE {run} AND name = %(name)s AND (sha = %(sha)s OR NOT %(value)s)
"""


def sample(
    database: Address,
    clients: Sequence[str] = (),
    schema: str = "public",
    *,
    ended: Mapping[str, str] = MappingProxyType({}),
) -> tuple[SampleRun, ...]:
    """Return runs of each client, service, flow and datastore, ordered by these four.

    Of each kind the newest run in every state that it can be in, drawn from the newest ones. A run
    without a tag that names its client is passed over.

    Args:
        database: with the schema of service 2.1.0 or newer, which is what UI backends read.
        clients: releases to draw from; empty for whatever is there.
        schema: the PostgreSQL schema its tables are in.
        ended: by ``FLOW/RUN``, how runs ended that the harness started; empty where nobody knows.

    Raises:
        psycopg2.Error: when the database does not answer, or has no such tables.
    """
    with closing(database.connect()) as connection, connection.cursor() as cursor:
        return _Rows(cursor, schema, ended).draw(clients)


class _Rows:
    """The tables of one database."""

    def __init__(self, cursor: extensions.cursor, schema: str, ended: Mapping[str, str]) -> None:
        self._cursor = cursor
        self._ended = ended
        self._names: dict[str, sql.Composable] = {
            name: sql.Identifier(schema, table)
            for name, table in (
                ("runs", "runs_v3"),
                ("tasks", "tasks_v3"),
                ("metadata", "metadata_v3"),
                ("artifacts", "artifact_v3"),
            )
        }
        self._names["client"] = _tagged(CLIENT_TAG, "system_tags", "tags")
        self._names["service"] = _tagged(SERVICE_TAG, "tags")
        self._names["unknown"] = sql.Literal(UNKNOWN_SERVICE)
        self._names["run"] = sql.SQL("flow_id = %(flow_id)s AND run_number = %(run_number)s")
        # The project's own: what other people's flows print or store nobody here knows.
        self._probes = {probe.flow: probe for probe in find_probes(FLOWS).values()}

    def draw(self, clients: Sequence[str]) -> tuple[SampleRun, ...]:
        values = {"every": not clients, "clients": list(clients), "most": _MOST}
        drawn: dict[tuple[object, ...], tuple[_Run, _State]] = {}
        for run in sorted(self._all(_RUNS, values, _Run), key=_in_order):
            state = self._state(run)
            drawn.setdefault((*_in_order(run), *state), (run, state))
        return tuple(self._run(run, state) for run, state in drawn.values())

    def _all(self, query: str, values: Mapping[str, object], make: Callable[..., T]) -> list[T]:
        """Return what ``make`` makes of the columns of each row."""
        self._cursor.execute(sql.SQL(query).format(**self._names), values)
        return [make(*row) for row in self._cursor]

    def _text(self, query: str, run: _Run, **values: object) -> str:
        """Return the text of a query's first row; empty where there is none."""
        rows = self._all(query, {**run._asdict(), **values}, _text)
        return rows[0] if rows else ""

    def _artifacts(self, run: _Run, step: str) -> list[_Artifact]:
        return self._all(_ARTIFACTS, {**run._asdict(), "step": step}, _Artifact)

    def _run(self, run: _Run, state: _State) -> SampleRun:
        probe = self._probe(run.flow_id, run.service)
        values = run._asdict()
        steps = self._all(_TASKS, values, _Step)
        declared = probe.shows.steps if probe and state.status in _ends(probe) else ()
        firsts = {step.step: self._task(run, step) for step in steps}
        first = next(iter(firsts), "")
        stored = self._artifacts(run, first)
        log_step, line = probe.shows.log if probe and probe.shows.log else (first, "")
        artifact = self._artifact(run, probe, stored)
        card = probe.shows.card if probe and _at_least(run.client, _CARDS_SINCE) else ""
        code = {**values, "fields": ["code-package", "code-package-url"]}
        return SampleRun(
            flow=run.flow_id,
            run=run.run_id or str(run.run_number),
            client=run.client,
            service=run.service,
            probe=probe.name if probe else "",
            datastore=run.datastore,
            **state._asdict(),
            steps=_steps(steps, declared),
            log=SampleLog(log_step, firsts[log_step], line) if log_step in firsts else None,
            card=(card, firsts[card]) if card in firsts else None,
            artifact=artifact,
            unread=self._unread(run, stored) if artifact and artifact.name != "name" else None,
            tag=_tag(run),
            has_graph=any(one.name == "_graph_info" for one in self._artifacts(run, "_parameters")),
            has_code=any(self._all(_ANY_METADATA, code, bool)),
        )

    def _probe(self, flow: str, service: str) -> Probe | None:
        """Return the probe a run is of. HelloFlow is many a flow's name: our tag must be on it."""
        return self._probes.get(flow) if service != UNKNOWN_SERVICE else None

    def _task(self, run: _Run, step: _Step) -> str:
        return self._text(_TASK_NAME, run, step=step.step, task=step.first) or str(step.first)

    def _state(self, run: _Run) -> _State:
        (way,) = self._all(_ON_THE_WAY, run._asdict(), lambda *found: found)
        return _State(self._status(run, self._probe(run.flow_id, run.service)), *way)

    def _status(self, run: _Run, probe: Probe | None) -> str:
        """Return how the run ended: as it was seen, else as its probe says, else by its rows."""
        seen = self._ended.get(f"{run.flow_id}/{run.run_id or run.run_number}")
        # Of several runs of a probe nobody knows which this one is; those that commands make, or
        # programs, have no tag of the harness, and count as nobody's.
        ends = _ends(probe) if probe else []
        if seen is None and len(ends) == 1:
            (seen,) = ends
        told = self._told(run)
        # One that failed on the way runs for all that a UI can know, until its heartbeat is old.
        beats = run.silent is not None and run.silent <= _HEARTBEAT_SECONDS
        return told if seen == FAILED and beats and not told else seen or told

    def _told(self, run: _Run) -> str:
        """Return how a run ended, from what its client wrote of the last step.

        Measured on 2.0.2, 2.2.5, 2.2.11, 2.2.13, 2.7.23 and 2.19.39: from 2.2.5 on the metadata
        ``attempt_ok`` of the last step says True or False; before, only the value of the artifact
        ``_task_ok`` does, which its checksum tells. Newer clients may name the last step otherwise
        than ``end`` (metadata ``end_step``). Without any of them the last step never ended: then
        the run failed if it gave no sign of life for as long as any UI backend waits. Else it may
        run, or may have ended when a UI is asked.
        """
        end = self._text(_METADATA, run, step="_parameters", field="end_step") or "end"
        told = self._text(_METADATA, run, step=end, field="attempt_ok")
        if told in {"True", "False"}:
            return COMPLETED if told == "True" else FAILED
        sha = next((one.sha for one in self._artifacts(run, end) if one.name == "_task_ok"), "")
        if sha in _BY_SHA:
            return COMPLETED if _BY_SHA[sha] else FAILED
        silent = run.age if run.silent is None else run.silent
        return FAILED if silent > _SILENT_SECONDS else ""

    def _artifact(
        self, run: _Run, probe: Probe | None, stored: Sequence[_Artifact]
    ) -> SampleArtifact | None:
        """Return the artifact the probe names, else the first one of the user's own."""
        name, value = probe.shows.artifact if probe and probe.shows.artifact else ("", "")
        own = [one for one in stored if not one.name.startswith("_")]
        chosen = next((one for one in own if one.name == name), None)
        if chosen is None:
            # Every flow has an artifact "name", the flow's own: it is the last choice.
            own.sort(key=lambda one: one.name == "name")
            chosen, value = next(iter(own), None), ""
        return self._sought(run, chosen, value) if chosen else None

    def _unread(self, run: _Run, stored: Sequence[_Artifact]) -> SampleArtifact | None:
        chosen = next((one for one in stored if one.name == "name"), None)
        return self._sought(run, chosen, run.flow_id) if chosen else None

    def _sought(self, run: _Run, artifact: _Artifact, value: str) -> SampleArtifact:
        wanted = {**run._asdict(), **artifact._asdict(), "value": bool(value)}
        (tasks,) = self._all(_SAME_ARTIFACT, wanted, int)
        return SampleArtifact(artifact.name, value, tasks)


def _ends(probe: Probe) -> list[str]:
    """Return how each run of a probe ends."""
    return [action.ends for action in probe.actions if action.makes_run]


def _steps(found: Sequence[_Step], declared: Sequence[tuple[str, int]]) -> tuple[SampleStep, ...]:
    """Return the steps that rows tell, with as many tasks as are declared; then those they lack."""
    tasks = dict(declared)
    told = [SampleStep(one.step, tasks.pop(one.step, one.tasks), one.timed) for one in found]
    return (*told, *(SampleStep(step, number, 0) for step, number in tasks.items()))


def _tagged(prefix: str, *columns: str) -> sql.Composable:
    tags = sql.SQL(" || ").join(
        sql.SQL("coalesce({}, '[]')").format(sql.Identifier("r", column)) for column in columns
    )
    return sql.SQL(_TAGGED).format(prefix=sql.Literal(prefix), tags=tags)


def _in_order(run: _Run) -> tuple[bool, Version, str, str, str, str]:
    try:
        odd, version = False, Version(run.client)
    except InvalidVersion:
        odd, version = True, Version("0")
    return odd, version, run.client, run.service, run.flow_id, run.datastore


def _at_least(client: str, version: Version) -> bool:
    try:
        return Version(client) >= version
    except InvalidVersion:
        return False


def _tag(run: _Run) -> str:
    """Return a tag to filter by: one of ours, else the first; no comma, which parts filters."""
    tags = [tag for tag in (*(run.tags or ()), *(run.system_tags or ())) if "," not in tag]
    ours = [tag for tag in tags if tag.startswith(SERVICE_TAG)]
    return next(iter([*ours, *tags]), "")


def _text(value: object) -> str:
    """Return a value as text, also where its column is JSON and it comes with quotes."""
    return str(value).strip('"') if value is not None else ""
