"""The contract of a metadata service, asked without any client, and how releases changed it.

A write that is answered 2xx can be read back equal and its row is there; a write that is answered
4xx or 5xx left every row as it was. How else a service behaves is observed, so that two stages of
a walk can be held against each other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass

import psycopg2

from harness.catalog.releases import Service
from harness.machine.errors import InfraError
from harness.proof.declared import declared
from harness.proof.requests import Answer, Exchange, Row, UnansweredError, Written, equal
from harness.stack.database.admin import one_line
from harness.stack.database.server import Address

_TAGS = ["zeta", "alpha", "with space", "key:value", "ünïcode"]
_SYSTEM_TAGS = ["runtime:contract", "date:2020-06-30"]
_BODY: Row = {"user_name": "contract", "tags": _TAGS, "system_tags": _SYSTEM_TAGS}
"""What every object is registered with. No client's version: that would start heartbeats."""

_MALFORMED = b'{"user_name": '
_NEVER_GIVEN = 999_999_999
"""A number no run or task has."""
_AT_ONCE = 50
_PAGE = 20
_MANY = 200
"""About as many as a task with many artifacts sends in one request: 70 kB."""
_LARGE = 100_000
"""Characters of two bytes: far below the megabyte that released services take."""

_FLOWS, _RUNS, _STEPS = "flows_v3", "runs_v3", "steps_v3"
_TASKS, _METADATA, _ARTIFACTS = "tasks_v3", "metadata_v3", "artifact_v3"


@dataclass(frozen=True)
class Contract:
    """What a service was found to do.

    Attributes:
        observations: named behaviour to what was answered, free of ids, times and order:
            ``duplicate flow`` to ``409``. What needs an object that could not be made is absent.
        problems: sentences naming the check, what was sent, what was answered and what the
            database holds; none when the service keeps its word.
        complete: whether everything could be asked for.
    """

    observations: Mapping[str, str]
    problems: tuple[str, ...]
    complete: bool = True


def exercise(url: str, address: Address, flow_id: str) -> Contract:
    """Ask a service that is up to register, refuse and read objects of one flow.

    What it registers stays in the database, for later stages to carry on.

    Args:
        url: base address of the metadata API.
        address: the service's database, to see what it really holds.
        flow_id: name of a flow nobody has used, nor one that begins so.

    Raises:
        InfraError: when the service or the database does not answer at all.
    """
    # Also the flows that must not come into being: a refusal may write one.
    watched = [flow_id, _unknown(flow_id), _malformed(flow_id)]
    try:
        with contextlib.closing(address.connect()) as connection:
            return _Exercise(Exchange(url, connection, watched), flow_id).result()
    except psycopg2.OperationalError as error:
        raise InfraError(f"the rows of {flow_id} cannot be read: {one_line(error)}") from error
    except psycopg2.Error as error:  # a table that a migration has not made, say
        why = f"the rows of {flow_id} cannot be read: {one_line(error)}"
        return Contract({}, (why,), complete=False)


def changes(
    before: Contract | None, after: Contract, service: Service, *, back: bool = False
) -> list[str]:
    """Name each behaviour that is not as declared, or else not as on the previous stage.

    What is declared for ``service`` holds with the next release and after a jump over several.

    Args:
        before: of the previous stage; None on the first.
        after: of this stage.
        service: the service of this stage.
        back: it is older than the one before, whose schema, which decides some behaviour, stays.
    """
    found = []
    earlier = before.observations if before else {}
    for check, now in sorted(after.observations.items()):
        was = earlier.get(check)
        known = declared(check, service.version)
        expected = was
        if known is not None:
            expected = known.after if known.since <= service.version else known.before
        if expected not in {None, now} and not (back and now == was):
            then = f"was {was}, " if was else ""
            told = f"; declared: {expected} ({known.reason}; since {known.since})" if known else ""
            found.append(f"{check}: {then}is {now} with {service.name}{told}")
    return found


def _unknown(flow_id: str) -> str:
    return f"{flow_id}Unknown"


def _malformed(flow_id: str) -> str:
    return f"{flow_id}Malformed"


class _StoppedError(Exception):
    """An object could not be made, so nothing that needs it can be asked for."""


class _Exercise:
    """The checks, in the order in which what they need comes into being."""

    def __init__(self, exchange: Exchange, flow_id: str) -> None:
        self._exchange = exchange
        self._flow_id = flow_id
        self._flow = f"/flows/{flow_id}"
        self._unknown_run = f"{self._flow}/runs/{_NEVER_GIVEN}"
        self._observations: dict[str, str] = {}

    def result(self) -> Contract:
        complete = False
        try:
            self._all()
            complete = True
        except _StoppedError:
            pass  # the last problem says why
        except UnansweredError as error:
            # Each that is not answered takes as long: nothing more is asked for.
            self._exchange.note("answers", str(error))
        return Contract(self._observations, tuple(self._exchange.problems), complete)

    def _all(self) -> None:
        self._flow_checks()
        run = self._run_checks()
        step = self._step_checks(run)
        task = self._task_checks(step)
        self._artifact_checks(task)
        self._attempt_checks(task)
        self._metadata_checks(run, step, task)
        self._heartbeat_checks(run, task)
        self._tag_checks(run, task)
        self._list_checks(run, step)
        self._time_checks(run, step, task)
        # Late: every write compares all rows of the flow.
        self._crowd_checks()
        self._name_checks()

    def _flow_checks(self) -> None:
        self._create("flow", self._flow, _BODY, _FLOWS)
        self._exchange.read("flow", self._flow, [{**_BODY, "flow_id": self._flow_id}])
        self._try("duplicate flow", self._flow, {**_BODY, "user_name": "another"}, _FLOWS)
        self._try("malformed flow", f"/flows/{_malformed(self._flow_id)}", _MALFORMED, _FLOWS)
        self._missing("unknown flow", f"/flows/{_unknown(self._flow_id)}")

    def _run_checks(self) -> str:
        """Register a run and return its path."""
        path = f"{self._flow}/run"
        number = self._create("run", path, _BODY, _RUNS).answer.get("run_number")
        run = f"{self._flow}/runs/{number}"
        sent = {**_BODY, "flow_id": self._flow_id, "run_number": number}
        tags = self._exchange.read("run", run, [sent]).get("tags")
        self._observe("order of tags", "as sent" if tags == _BODY["tags"] else "another")
        self._observe("number of a run", type(number).__name__)
        self._observe("steps of a run that has none", self._get(f"{run}/steps").text)
        self._try("run of an unknown flow", f"/flows/{_unknown(self._flow_id)}/run", _BODY, _RUNS)
        self._try("malformed run", path, _MALFORMED, _RUNS)
        # Wherever it is asked for, a service takes digits for a number.
        self._try("run named by digits", path, {**_BODY, "run_number": "777"}, _RUNS)
        self._missing("unknown run", self._unknown_run)
        return run

    def _step_checks(self, run: str) -> str:
        """Register a step and return its path."""
        step = f"{run}/steps/start"
        self._create("step", f"{step}/step", _BODY, _STEPS)
        sent = {**_BODY, "flow_id": self._flow_id, "step_name": "start"}
        number = self._exchange.read("step", step, [sent]).get("run_number")
        self._observe("number of a step's run", type(number).__name__)
        self._try("duplicate step", f"{step}/step", _BODY, _STEPS)
        self._try("malformed step", f"{run}/steps/malformed/step", _MALFORMED, _STEPS)
        unknown = f"{self._unknown_run}/steps/start/step"
        self._try("step of an unknown run", unknown, _BODY, _STEPS)
        self._missing("unknown step", f"{run}/steps/unknown")
        return step

    def _task_checks(self, step: str) -> str:
        """Register a task and return its path."""
        path = f"{step}/task"
        number = self._create("task", path, _BODY, _TASKS).answer.get("task_id")
        task = f"{step}/tasks/{number}"
        sent = {**_BODY, "flow_id": self._flow_id, "step_name": "start", "task_id": number}
        self._exchange.read("task", task, [sent])
        self._observe("number of a task", type(number).__name__)
        self._try("malformed task", path, _MALFORMED, _TASKS)
        unknown = f"{_parent(step)}/unknown/task"
        self._try("task of an unknown step", unknown, _BODY, _TASKS)
        unknown = f"{self._unknown_run}/steps/start/task"
        self._try("task of an unknown run", unknown, _BODY, _TASKS)
        self._missing("unknown task", f"{step}/tasks/{_NEVER_GIVEN}")
        return task

    def _artifact_checks(self, task: str) -> None:
        path = f"{task}/artifact"
        # By "name", which every attempt has, releases since 2.2.0 find the latest attempt.
        sent = [_artifact(name, 0) for name in ("name", "x", "only_first")]
        self._create_all("artifacts", path, sent, _ARTIFACTS)
        self._exchange.read("artifacts", f"{task}/artifacts", sent)
        for one in sent:
            self._exchange.read("artifacts", f"{task}/artifacts/{one['name']}", [one])
        self._try("duplicate artifact", path, sent[:1], _ARTIFACTS)
        # Services add row by row and count what was added; the key refuses the second.
        twice = [_artifact("twice", 0)] * 2
        self._try("an artifact twice in one request", path, twice, _ARTIFACTS)
        self._try("malformed artifacts", path, _MALFORMED, _ARTIFACTS)
        unknown = f"{_parent(task)}/{_NEVER_GIVEN}/artifact"
        self._try("artifacts of an unknown task", unknown, sent, _ARTIFACTS)
        self._missing("unknown artifact", f"{task}/artifacts/unknown")

    def _attempt_checks(self, task: str) -> None:
        """Let a second attempt write some of the artifacts again, and ask which are shown."""
        sent = [_artifact(name, 1) for name in ("name", "x")]
        check = "artifacts of a second attempt"
        self._create_all(check, f"{task}/artifact", sent, _ARTIFACTS)
        answer = self._exchange.read(check, f"{task}/artifacts", sent)
        self._observe("artifacts shown after two attempts", _names(answer))
        for check, path in (
            ("artifact of both attempts", "artifacts/x"),
            ("artifact of the first attempt alone", "artifacts/only_first"),
            ("artifact by attempt", "artifacts/x/attempt/0"),
        ):
            answer = self._get(f"{task}/{path}")
            shown = f", attempt {answer.get('attempt_id')}" if answer.ok else ""
            self._observe(check, f"{answer.status}{shown}")
        self._observe("artifacts by attempt", _names(self._get(f"{task}/attempt/0/artifacts")))

    def _metadata_checks(self, run: str, step: str, task: str) -> None:
        path = f"{task}/metadata"
        sent = [_datum("attempt", "0"), _datum("note", 'ünïcode, "quoted"')]
        self._create_all("metadata", path, sent, _METADATA)
        for read in (path, f"{run}/metadata"):
            self._exchange.read("metadata", read, sent)
        self._try("metadata registered again", path, [_datum("attempt", "1")], _METADATA)
        self._try("malformed metadata", path, _MALFORMED, _METADATA)
        unknown = f"{_parent(task)}/{_NEVER_GIVEN}/metadata"
        self._try("metadata of an unknown task", unknown, sent, _METADATA)
        answer = self._get(f"{step}/filtered_tasks?metadata_field_name=note&pattern=quoted")
        found = len(answer.body) if isinstance(answer.body, Sized) else 0
        count = f", {found} found" if answer.ok else ""
        self._observe("filtered tasks", f"{answer.status}{count}")

    def _heartbeat_checks(self, run: str, task: str) -> None:
        self._try("heartbeat of a run", f"{run}/heartbeat", {}, _RUNS)
        self._try("heartbeat of a task", f"{task}/heartbeat", {}, _TASKS)
        self._try("heartbeat of an unknown run", f"{self._unknown_run}/heartbeat", {}, _RUNS)

    def _tag_checks(self, run: str, task: str) -> None:
        path = f"{run}/tag/mutate"
        first, *rest = _TAGS
        expected = {**_BODY, "tags": ["new", *rest]}
        body = {"tags_to_add": ["new"], "tags_to_remove": [first]}
        if self._try("change of tags", path, body, _RUNS, "PATCH").answer.ok:
            self._exchange.read("change of tags", run, [expected])
            shown = any(equal(expected, one) for one in self._get(task).objects)
            self._observe("tags of a task", "the run's" if shown else "its own")
        body = {"tags_to_remove": _SYSTEM_TAGS[:1]}
        self._try("removal of a system tag", path, body, _RUNS, "PATCH")
        self._try("tags that are no list", path, {"tags_to_add": "new"}, _RUNS, "PATCH")
        self._try("malformed change of tags", path, _MALFORMED, _RUNS, "PATCH")

    def _crowd_checks(self) -> None:
        """Register many tasks at the same time, and of one of them many and large things."""
        # A run of their own: what is below one whose tags were changed may show the new ones.
        made = self._create("run of many", f"{self._flow}/run", _BODY, _RUNS).answer
        step = f"{self._flow}/runs/{made.get('run_number')}/steps/start"
        self._create("step of many", f"{step}/step", _BODY, _STEPS)
        written = self._exchange.write_at_once("tasks at once", f"{step}/task", [_BODY] * _AT_ONCE)
        numbers = [answer.get("task_id") for answer in written if answer.ok]
        if len(set(map(str, numbers))) < _AT_ONCE:
            refused = next((answer for answer in written if not answer.ok), written[0])
            self._exchange.note("tasks at once", f"{len(set(numbers))} of {_AT_ONCE}: {refused}")
        task = f"{step}/tasks/{numbers[0] if numbers else _NEVER_GIVEN}"
        sent = [_artifact(name, 0) for name in ("name", *map("many_{}".format, range(_MANY)))]
        self._create_all("many artifacts", f"{task}/artifact", sent, _ARTIFACTS)
        self._exchange.read("many artifacts", f"{task}/artifacts", sent)
        # Made at once, tasks share their time, by which pages are cut.
        for path, key, expected in (
            (f"{step}/tasks", "task_id", numbers),
            (f"{task}/artifacts", "name", [one["name"] for one in sent]),
        ):
            self._exchange.read_pages("pages", path, key, expected, _PAGE)
        large = [_datum("large", "ä" * _LARGE)]
        path = f"{task}/metadata"
        if self._try("large metadata", path, large, _METADATA).answer.ok:
            self._exchange.read("large metadata", path, large)

    def _time_checks(self, run: str, step: str, task: str) -> None:
        """What is answered of the time something was registered at is what is stored, always."""
        rows = self._exchange.rows()
        for table, path in (
            *((_FLOWS, self._flow), (_RUNS, run), (_STEPS, step), (_TASKS, task)),
            *((_METADATA, f"{task}/metadata"), (_ARTIFACTS, f"{task}/artifacts")),
        ):
            stored = {str(row["ts_epoch"]) for row in rows[table]}
            told = {str(one.get("ts_epoch")) for one in self._get(path).objects}
            if not told or not told <= stored:
                wrong = ", ".join(sorted(map(str, told - stored))) or "no time"
                held = ", ".join(sorted(map(str, stored)))
                self._exchange.note("times", f"GET {path} tells {wrong}, stored is {held}")

    def _list_checks(self, run: str, step: str) -> None:
        """Every row so far, and no other one of the flow, is in the list it belongs to."""
        rows = self._exchange.rows()
        for table, path, key in (
            (_FLOWS, "/flows", "flow_id"),
            (_RUNS, f"{self._flow}/runs", "run_number"),
            (_STEPS, f"{run}/steps", "step_name"),
            (_TASKS, f"{step}/tasks", "task_id"),
        ):
            listed = [
                str(one.get(key))
                for one in self._get(path).objects
                if one.get("flow_id") == self._flow_id
            ]
            stored = [str(row[key]) for row in rows[table]]
            self._exchange.hold("lists", f"GET {path}", listed, stored)

    def _name_checks(self) -> None:
        """Register a run and a task under names of the client's own, and all below them."""
        path = f"{self._flow}/run"
        body = {**_BODY, "run_number": "contract-run"}
        written = self._create("run with a name", path, body, _RUNS)
        if not self._named("run with a name", written, "run_number", "contract-run"):
            return
        run = f"{self._flow}/runs/contract-run"
        self._exchange.read("run with a name", run, [body])
        self._try("duplicate run with a name", path, body, _RUNS)
        step = f"{run}/steps/start"
        self._create("step of a run with a name", f"{step}/step", _BODY, _STEPS)
        self._exchange.read("step of a run with a name", step, [body])
        named = {**_BODY, "task_id": "contract-task"}
        written = self._create("task with a name", f"{step}/task", named, _TASKS)
        if self._named("task with a name", written, "task_id", "contract-task"):
            self._try("duplicate task with a name", f"{step}/task", named, _TASKS)
            self._named_task_checks(f"{step}/tasks/contract-task", {**body, **named})

    def _named_task_checks(self, task: str, body: Row) -> None:
        self._exchange.read("task with a name", task, [body])
        artifacts = [_artifact(name, 0) for name in ("name", "x")]
        check = "artifacts of a task with a name"
        self._create_all(check, f"{task}/artifact", artifacts, _ARTIFACTS)
        ids = {key: body[key] for key in ("run_number", "task_id")}
        # Below a run with a name, bodies have names where others have numbers.
        shown = [{**one, **ids} for one in artifacts]
        self._exchange.read(check, f"{task}/artifacts", shown)
        metadata = [_datum("note", "1")]
        check = "metadata of a task with a name"
        self._create_all(check, f"{task}/metadata", metadata, _METADATA)
        self._exchange.read(check, f"{task}/metadata", [{**one, **ids} for one in metadata])

    def _named(self, check: str, written: Written, key: str, name: str) -> bool:
        """Observe whether a name was kept; before 2.0 a number is given instead."""
        kept = bool(written.answer.get(key) == name)
        told = "kept" if kept else "a number instead"
        self._observe(check, f"{written.answer.status}, {told}")
        return kept

    # What all of them are made of

    def _create(self, check: str, path: str, body: Row, table: str) -> Written:
        """Register an object without which nothing below it can be asked for."""
        written = self._try(check, path, body, table)
        if not written.answer.ok:
            self._exchange.note(check, f"a sound write was refused: {written}")
            raise _StoppedError
        self._exchange.compare(check, written, [_BODY], written.new.get(table, ()))
        return written

    def _create_all(self, check: str, path: str, sent: Sequence[Row], table: str) -> None:
        """Register several objects of a task in one request."""
        written = self._try(check, path, sent, table)
        if not written.answer.ok or written.answer.created != len(sent):
            self._exchange.note(check, f"a sound write was refused: {written}")
        self._exchange.compare(check, written, sent, written.new.get(table, ()))

    def _try(
        self, check: str, path: str, body: object, table: str, method: str = "POST"
    ) -> Written:
        """Write what may well be refused; the rules hold either way."""
        written = self._exchange.write(check, path, body, table, method)
        created = written.answer.created
        count = "" if created is None else f", {created} written"
        self._observe(check, f"{written.answer.status}{count}")
        return written

    def _missing(self, check: str, path: str) -> None:
        answer = self._get(path)
        self._observe(check, f"{answer.status}, {answer.text}")

    def _get(self, path: str) -> Answer:
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


def _names(answer: Answer) -> str:
    names = ", ".join(sorted(str(one.get("name")) for one in answer.objects))
    return f"{answer.status}: {names}" if answer.ok else str(answer.status)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
