"""The contract of a metadata service, asked without any client, and how releases changed it.

A write that is answered 2xx can be read back equal and its row is there; a write that is answered
4xx or 5xx left every row as it was. How else a service behaves is observed, so that two stages of
a walk can be held against each other.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
import requests
from packaging.version import Version
from psycopg2 import sql

from harness.database import Address
from harness.database.rows import TABLES
from harness.errors import InfraError
from harness.versions import Service

_REQUEST_SECONDS = 30.0
_SHOWN = 300
"""Characters of a body or row that a problem quotes."""

_BODY = {
    "user_name": "contract",
    "tags": ["zeta", "alpha", "with space", "key:value", "ünïcode"],
    "system_tags": ["runtime:contract", "date:2020-06-30"],
}
_MALFORMED = b'{"user_name": '
_NOBODY = 999_999_999
"""A run or task number that no service has given yet."""

_IDS = ("run_number", "task_id")
_UNORDERED = ("tags", "system_tags")

Row = dict[str, Any]


@dataclass(frozen=True)
class Contract:
    """What a service was found to do.

    Attributes:
        observations: named behaviour to what was answered, free of ids, times and order:
            ``duplicate flow`` to ``409``. What needs an object that could not be made is absent.
        problems: sentences naming the check, what was sent, what was answered and what the
            database holds; none when the service keeps its word.
    """

    observations: Mapping[str, str]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class DeclaredChange:
    """One behaviour that a release changed on purpose, or at least for good.

    Attributes:
        check: name of the observation.
        since: the first release with the new behaviour, by its own version; the version it
            reports may be older (v2.2.5 reports 2.2.3).
        before: the observation on older releases, back to the change before this one.
        after: the observation on this release and newer ones.
        reason: what was changed.
    """

    check: str
    since: str
    before: str
    after: str
    reason: str


DECLARED: tuple[DeclaredChange, ...] = ()
"""Source: facts about the released services, each run as a process and asked."""


def exercise(url: str, address: Address, flow_id: str) -> Contract:
    """Ask a service that is up to register, refuse and read objects of one flow.

    What it registers stays in the database, for later stages to carry on.

    Args:
        url: base address of the metadata API.
        address: the service's database, to see what it really holds.
        flow_id: name of a flow nobody has used; also the prefix of two more.

    Raises:
        InfraError: when the service or the database does not answer at all.
    """
    try:
        with closing(address.connect()) as connection:
            exercised = _Exercise(_Exchange(url, connection, flow_id), flow_id)
            return exercised.result()
    except psycopg2.Error as error:
        raise InfraError(f"reading the rows of {flow_id}: {error}") from error


def changes(before: Contract, after: Contract, service: Service) -> list[str]:
    """Name each behaviour that differs from the previous stage's and is not declared.

    A change is declared when the later observation is the one declared for ``service``: that
    holds for the next release, for a jump over several and for the way back to an older one.

    Args:
        before: of the previous stage.
        after: of this stage.
        service: the service of this stage.
    """
    found = []
    for check in after.observations.keys() & before.observations.keys():
        was, now = before.observations[check], after.observations[check]
        declared = _declared(check, service)
        if now not in (was, declared):
            known = f" (declared for {service.name}: {declared})" if declared else ""
            found.append(f"{check}: was {was}, is {now} with {service.name}{known}")
    return sorted(found)


def _declared(check: str, service: Service) -> str | None:
    """Return the observation declared for a release; None for a check that never changed."""
    ordered = sorted(
        (change for change in DECLARED if change.check == check),
        key=lambda change: Version(change.since),
    )
    if not ordered:
        return None
    reached = [change for change in ordered if service.version >= Version(change.since)]
    return reached[-1].after if reached else ordered[0].before


class _StoppedError(Exception):
    """An object could not be made, so nothing below it can be asked for."""


@dataclass(frozen=True)
class _Written:
    """One write: what was asked, what was answered and what rows are new or changed since."""

    asked: str
    response: requests.Response
    new: Mapping[str, Sequence[Row]]

    @property
    def status(self) -> str:
        return str(self.response.status_code)

    @property
    def body(self) -> Any:
        try:
            return self.response.json()
        except ValueError:
            return None

    @property
    def story(self) -> str:
        """What a problem tells: the request, the answer and the rows."""
        rows = [f"{table}: {_short(row)}" for table, found in self.new.items() for row in found]
        return (
            f"{self.asked} answered {self.status} {_short(self.response.text)}; new or changed"
            f" in the database: {' and '.join(rows) or 'no row'}"
        )


class _Exchange:
    """Requests to the service, and the rules that hold for every one of them."""

    def __init__(self, url: str, connection: Any, flow_id: str) -> None:
        self._url = url
        self._connection = connection
        self._flows = [flow_id, f"{flow_id}Unknown", f"{flow_id}Malformed"]
        self.problems: list[str] = []

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        try:
            return requests.request(method, self._url + path, data=data, timeout=_REQUEST_SECONDS)
        except requests.RequestException as error:
            raise InfraError(f"{method} {self._url}{path}: {error}") from error

    def write(
        self, check: str, path: str, body: Any, table: str, *, method: str = "POST"
    ) -> _Written:
        """Write and hold the answer against the rows: refused means none, accepted means each."""
        before = self.rows()
        response = self.ask(method, path, body)
        new = _new_rows(before, self.rows())
        written = _Written(f"{method} {path} with {_short(body)}", response, new)
        if not response.ok and new:
            self.problem(check, f"was refused, yet rows were written: {written.story}")
        if response.ok and len(new.get(table, ())) != (count := _counted(written.body)):
            self.problem(check, f"{table} should have {count} new or changed: {written.story}")
        return written

    def compare(self, check: str, story: str, sent: Row, found: Iterable[Row]) -> None:
        """Note a problem unless one of ``found`` holds all that was sent."""
        candidates = list(found)
        if any(_equal(sent, row) for row in candidates):
            return
        if len(candidates) == 1:
            differing = [key for key in sent if not _equal({key: sent[key]}, candidates[0])]
            what = ", ".join(
                f"{key} was sent {sent[key]!r} and is {candidates[0].get(key)!r}"
                for key in differing
            )
        else:
            what = f"none of {_short(candidates)} is {_short(sent)}"
        self.problem(check, f"{what}: {story}")

    def read(self, check: str, path: str, sent: Sequence[Row]) -> Any:
        """Note a problem unless GET answers each of ``sent``; return the body."""
        response = self.ask("GET", path)
        story = f"GET {path} answered {response.status_code} {_short(response.text)}"
        if not response.ok:
            self.problem(check, f"cannot be read back: {story}")
            return None
        body = response.json()
        found = body if isinstance(body, list) else [body]
        for one in sent:
            self.compare(check, story, one, found)
        return body

    def problem(self, check: str, sentence: str) -> None:
        self.problems.append(f"{check}: {sentence}")

    def rows(self) -> dict[str, list[Row]]:
        """Return the rows of the flow and of those that must not come into being."""
        found: dict[str, list[Row]] = {}
        with self._connection.cursor() as cursor:
            for table in TABLES:
                query = sql.SQL("SELECT row_to_json(t) FROM {} AS t WHERE flow_id = ANY(%s)")
                cursor.execute(query.format(sql.Identifier("public", table)), [self._flows])
                found[table] = [row for (row,) in cursor]
        return found


class _Exercise:
    """The checks, in the order in which what they need comes into being."""

    def __init__(self, exchange: _Exchange, flow_id: str) -> None:
        self._exchange = exchange
        self._flow_id = flow_id
        self._flow = f"/flows/{flow_id}"
        self._observations: dict[str, str] = {}

    def result(self) -> Contract:
        try:
            self._flows()
            run = self._runs()
            task = self._tasks(run)
            self._artifacts(task)
            self._attempts(task)
            self._metadata(task)
            self._heartbeats(run, task)
            self._tag_changes(run, task)
            self._lists(run)
            self._names()
        except _StoppedError:
            pass  # the problem says why
        return Contract(self._observations, tuple(self._exchange.problems))

    def _flows(self) -> None:
        self._create("flow", self._flow, _BODY, "flows_v3", read=self._flow)
        other = {**_BODY, "user_name": "somebody else"}
        self._try("duplicate flow", self._flow, other, "flows_v3")
        self._try("malformed flow", f"{self._flow}Malformed", _MALFORMED, "flows_v3")
        self._missing("unknown flow", f"{self._flow}Unknown")

    def _runs(self) -> str:
        written = self._create("run", f"{self._flow}/run", _BODY, "runs_v3")
        number = written.body["run_number"]
        run = f"{self._flow}/runs/{number}"
        sent = {**_BODY, "flow_id": self._flow_id, "run_number": number}
        body = self._exchange.read("run", run, [sent]) or {}
        self._observe("order of tags", "as sent" if body.get("tags") == _BODY["tags"] else "other")
        self._observe("number of a run", type(number).__name__)
        self._try("run of an unknown flow", f"{self._flow}Unknown/run", _BODY, "runs_v3")
        self._try("malformed run", f"{self._flow}/run", _MALFORMED, "runs_v3")
        digits = {**_BODY, "run_number": str(_NOBODY)}
        self._try("run named by digits", f"{self._flow}/run", digits, "runs_v3")
        self._missing("unknown run", f"{self._flow}/runs/{_NOBODY}")
        self._observe("steps of a run that has none", self._get(f"{run}/steps").text)
        return run

    def _tasks(self, run: str) -> str:
        """Register a step with a task and return the task's path."""
        step = f"{run}/steps/start"
        self._create("step", f"{step}/step", _BODY, "steps_v3", read=step)
        number = self._get(step).json().get("run_number")
        self._observe("number of a step's run", type(number).__name__)
        self._try("duplicate step", f"{step}/step", _BODY, "steps_v3")
        self._try("malformed step", f"{run}/steps/malformed/step", _MALFORMED, "steps_v3")
        unknown = f"{self._flow}/runs/{_NOBODY}/steps/start"
        self._try("step of an unknown run", f"{unknown}/step", _BODY, "steps_v3")
        self._missing("unknown step", f"{run}/steps/unknown")
        written = self._create("task", f"{step}/task", _BODY, "tasks_v3")
        task = f"{step}/tasks/{written.body['task_id']}"
        sent = {**_BODY, "step_name": "start", "task_id": written.body["task_id"]}
        self._exchange.read("task", task, [sent])
        self._try("malformed task", f"{step}/task", _MALFORMED, "tasks_v3")
        self._try("task of an unknown step", f"{run}/steps/unknown/task", _BODY, "tasks_v3")
        self._try("task of an unknown run", f"{unknown}/task", _BODY, "tasks_v3")
        self._missing("unknown task", f"{step}/tasks/{_NOBODY}")
        return task

    def _artifacts(self, task: str) -> None:
        sent = [_artifact(name, 0) for name in ("name", "x", "only_first")]
        path = f"{task}/artifact"
        self._create_many("artifacts", path, sent, "artifact_v3", f"{task}/artifacts")
        for one in sent:
            self._exchange.read("artifacts", f"{task}/artifacts/{one['name']}", [one])
        self._try("duplicate artifact", path, sent[1:2], "artifact_v3")
        twice = [_artifact("twice", 0)] * 2
        self._try("an artifact twice in one request", path, twice, "artifact_v3")
        self._try("malformed artifacts", path, _MALFORMED, "artifact_v3")
        unknown = f"{task.rpartition('/')[0]}/{_NOBODY}/artifact"
        self._try("artifacts of an unknown task", unknown, sent, "artifact_v3")
        self._missing("unknown artifact", f"{task}/artifacts/unknown")

    def _attempts(self, task: str) -> None:
        """Let a second attempt write some of the artifacts again, and ask which are shown."""
        sent = [_artifact(name, 1) for name in ("name", "x")]
        second = self._exchange.write(
            "artifacts of a second attempt", f"{task}/artifact", sent, "artifact_v3"
        )
        self._observe("artifacts of a second attempt", _outcome(second))
        shown = {one["name"]: one["attempt_id"] for one in self._get(f"{task}/artifacts").json()}
        self._observe("artifacts shown after two attempts", _spelled(*sorted(shown.items())))
        self._observe("artifact of two attempts", self._attempt_of(f"{task}/artifacts/x"))
        first = self._attempt_of(f"{task}/artifacts/only_first")
        self._observe("artifact of the first attempt alone", first)
        self._observe("artifact by attempt", self._attempt_of(f"{task}/artifacts/x/attempt/0"))
        listed = self._get(f"{task}/attempt/0/artifacts")
        names = [one["name"] for one in listed.json()] if listed.ok else []
        self._observe("artifacts by attempt", _spelled(_status(listed), *sorted(names)))

    def _attempt_of(self, path: str) -> str:
        response = self._get(path)
        shown = response.json()["attempt_id"] if response.ok else "none"
        return f"{_status(response)}, attempt {shown}"

    def _metadata(self, task: str) -> None:
        path, read = f"{task}/metadata", f"{task}/metadata"
        sent = [_datum("attempt", "0"), _datum("note", 'ünïcode, "quoted"')]
        self._create_many("metadata", path, sent, "metadata_v3", read)
        self._exchange.read("metadata", f"{task.partition('/steps/')[0]}/metadata", sent)
        self._try("metadata registered again", path, sent[:1], "metadata_v3")
        self._try("malformed metadata", path, _MALFORMED, "metadata_v3")
        unknown = f"{task.rpartition('/')[0]}/{_NOBODY}/metadata"
        self._try("metadata of an unknown task", unknown, sent, "metadata_v3")
        selected = self._get(
            f"{task.rpartition('/tasks/')[0]}/filtered_tasks?metadata_field_name=note&pattern=quoted"
        )
        count = f"{len(selected.json())} task" if selected.ok else ""
        self._observe("filtered tasks", _spelled(_status(selected), count))

    def _heartbeats(self, run: str, task: str) -> None:
        self._try("heartbeat of a run", f"{run}/heartbeat", {}, "runs_v3")
        self._try("heartbeat of a task", f"{task}/heartbeat", {}, "tasks_v3")
        unknown = f"{self._flow}/runs/{_NOBODY}/heartbeat"
        self._try("heartbeat of an unknown run", unknown, {}, "runs_v3")

    def _tag_changes(self, run: str, task: str) -> None:
        path = f"{run}/tag/mutate"
        body = {"tags_to_add": ["new"], "tags_to_remove": ["zeta"]}
        expected = ["new", *_BODY["tags"][1:]]
        written = self._try("change of tags", path, body, "runs_v3", method="PATCH")
        if written.response.ok:
            self._exchange.read("change of tags", run, [{**_BODY, "tags": expected}])
            shown = _equal({"tags": expected}, self._get(task).json())
            self._observe("tags of a task", "the run's" if shown else "its own")
        system = {"tags_to_remove": _BODY["system_tags"][:1]}
        self._try("removal of a system tag", path, system, "runs_v3", method="PATCH")
        self._try("malformed change of tags", path, _MALFORMED, "runs_v3", method="PATCH")
        wrong = {"tags_to_add": "new"}
        self._try("tags that are no list", path, wrong, "runs_v3", method="PATCH")

    def _lists(self, run: str) -> None:
        rows = self._exchange.rows()
        mine = [row for row in self._get("/flows").json() if row["flow_id"] == self._flow_id]
        step = f"{run}/steps/start"
        for table, path, found in (
            ("flows_v3", "/flows", mine),
            ("runs_v3", f"{self._flow}/runs", self._get(f"{self._flow}/runs").json()),
            ("steps_v3", f"{run}/steps", self._get(f"{run}/steps").json()),
            ("tasks_v3", f"{step}/tasks", self._get(f"{step}/tasks").json()),
        ):
            if len(found) != len(rows[table]):
                story = f"GET {path} answered {len(found)} of the flow: {_short(found)}"
                self._exchange.problem("lists", f"{table} has {len(rows[table])}, {story}")

    def _names(self) -> None:
        """Register a run and a task under names of the client's own."""
        name = "contract-named-run"
        body = {**_BODY, "run_number": name}
        written = self._create("run with a name", f"{self._flow}/run", body, "runs_v3", sent=_BODY)
        kept = written.body["run_number"] == name
        self._observe("run with a name", f"{written.status}, {_kept(kept)}")
        if not kept:
            return  # 1.0: there is nothing more to ask by name
        run = f"{self._flow}/runs/{name}"
        self._exchange.read("run with a name", run, [{**_BODY, "run_number": name}])
        self._try("duplicate run with a name", f"{self._flow}/run", body, "runs_v3")
        step = f"{run}/steps/start"
        self._create("step of a run with a name", f"{step}/step", _BODY, "steps_v3", read=step)
        body = {**_BODY, "task_id": "contract-named-task"}
        check = "task with a name"
        written = self._create(check, f"{step}/task", body, "tasks_v3", sent=_BODY)
        self._observe(
            check, f"{written.status}, {_kept(written.body['task_id'] == body['task_id'])}"
        )
        self._try("duplicate task with a name", f"{step}/task", body, "tasks_v3")
        task = f"{step}/tasks/{written.body['task_id']}"
        self._exchange.read(check, task, [{**body, "run_number": name}])
        self._create_many(
            "artifacts by name",
            f"{task}/artifact",
            [_artifact("name", 0), _artifact("x", 0)],
            "artifact_v3",
            f"{task}/artifacts",
        )
        path = f"{task}/metadata"
        self._create_many("metadata by name", path, [_datum("note", "1")], "metadata_v3", path)

    # The steps that all of them are made of

    def _create(
        self,
        check: str,
        path: str,
        body: Row,
        table: str,
        *,
        read: str = "",
        sent: Row | None = None,
    ) -> _Written:
        """Register an object others need; read it back where its address is known before."""
        written = self._exchange.write(check, path, body, table)
        self._observe(check, _outcome(written))
        if not written.response.ok or not isinstance(written.body, dict):
            self._exchange.problem(check, f"a sound write was refused: {written.story}")
            raise _StoppedError
        for row in written.new.get(table, ()):
            self._exchange.compare(check, written.story, sent or body, [row])
        if read:
            self._exchange.read(check, read, [sent or body])
        return written

    def _create_many(
        self, check: str, path: str, sent: Sequence[Row], table: str, read: str
    ) -> None:
        """Register several objects of a task in one request and read all of them back."""
        written = self._exchange.write(check, path, sent, table)
        self._observe(check, _outcome(written))
        if not written.response.ok or _counted(written.body) != len(sent):
            self._exchange.problem(check, f"a sound write was refused: {written.story}")
        for one in sent:
            self._exchange.compare(check, written.story, one, written.new.get(table, ()))
        self._exchange.read(check, read, sent)

    def _try(
        self, check: str, path: str, body: Any, table: str, *, method: str = "POST"
    ) -> _Written:
        """Write what may well be refused; the rules hold either way."""
        written = self._exchange.write(check, path, body, table, method=method)
        self._observe(check, _outcome(written))
        return written

    def _missing(self, check: str, path: str) -> None:
        response = self._get(path)
        self._observe(check, f"{response.status_code}, {response.text}")

    def _get(self, path: str) -> requests.Response:
        return self._exchange.ask("GET", path)

    def _observe(self, check: str, observation: str) -> None:
        self._observations[check] = observation


def _artifact(name: str, attempt: int) -> Row:
    return {
        **_BODY,
        "name": name,
        "location": f"/contract/{name}/{attempt}",
        "ds_type": "local",
        "sha": f"{attempt:040x}",
        "type": "metaflow.artifact",
        "content_type": "gzip+pickle-v2",
        "attempt_id": attempt,
    }


def _datum(field: str, value: str) -> Row:
    return {**_BODY, "field_name": field, "value": value, "type": field}


def _new_rows(
    before: Mapping[str, Sequence[Row]], after: Mapping[str, Sequence[Row]]
) -> dict[str, list[Row]]:
    """Return the rows of ``after`` that ``before`` does not hold just so; changed ones count."""
    new = {}
    for table, rows in after.items():
        held = Counter(json.dumps(row, sort_keys=True) for row in before[table])
        now = Counter(json.dumps(row, sort_keys=True) for row in rows)
        added = [json.loads(text) for text in (now - held).elements()]
        if added:
            new[table] = added
    return new


def _equal(sent: Row, found: Row) -> bool:
    return all(_normal(key, value) == _normal(key, found.get(key)) for key, value in sent.items())


def _normal(key: str, value: Any) -> Any:
    if key in _UNORDERED and isinstance(value, list):
        return sorted(value)
    return str(value) if key in _IDS else value


def _counted(body: Any) -> int:
    """Return how many rows an answer says were written; one where it does not count."""
    if not isinstance(body, dict):
        return 1
    count: int = body.get("artifacts_created", body.get("metadata_created", 1))
    return count


def _outcome(written: _Written) -> str:
    counts = isinstance(written.body, dict) and any(
        key.endswith("_created") for key in written.body
    )
    return f"{written.status}, {_counted(written.body)} written" if counts else written.status


def _kept(kept: bool) -> str:
    return "kept" if kept else "a number instead"


def _status(response: requests.Response) -> str:
    return str(response.status_code)


def _spelled(*parts: object) -> str:
    return ", ".join(str(part) for part in parts if part)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
