"""The questions of the contract, in the order in which what they need comes into being."""

from __future__ import annotations

import time
from collections.abc import Sequence, Sized

from harness.proof.asking import (
    BODY,
    FAR,
    NEVER_GIVEN,
    SYSTEM_TAGS,
    TAGS,
    Asking,
    StoppedError,
    artifact,
    datum,
)
from harness.proof.changes import ARTIFACTS, FLOWS, METADATA, RUNS, STEPS, TASKS, Row
from harness.proof.crowd import exercise_crowd
from harness.proof.lists import hold
from harness.proof.requests import Answer, Exchange, UnansweredError, Written, equal

_MALFORMED = b'{"user_name": '
_TOO_SOON = 9.0
"""Seconds: releases take no heartbeat within ten of another, and count in whole ones."""
_NEW_TAGS = ["new", *TAGS[1:]]
"""What the tags of a run are changed to."""


def flows_of(flow_id: str) -> list[str]:
    """Return the flows whose rows are watched: also those that must not come into being."""
    # A refusal may write one.
    return [flow_id, _unknown(flow_id), _malformed(flow_id)]


def _unknown(flow_id: str) -> str:
    return f"{flow_id}Unknown"


def _malformed(flow_id: str) -> str:
    return f"{flow_id}Malformed"


class Exercise(Asking):
    """Asks a service all that the contract holds."""

    def __init__(self, exchange: Exchange, flow_id: str) -> None:
        super().__init__(exchange, flow_id)
        self._unknown_run = f"{self.flow}/runs/{NEVER_GIVEN}"

    def ask_all(self) -> bool:
        """Ask for all there is; tell whether everything could be asked for.

        Raises:
            InfraError: when the service does not answer at all.
        """
        try:
            self._all()
        except StoppedError:
            return False  # the last problem says why
        except UnansweredError as error:
            # Each that is not answered takes as long: nothing more is asked for.
            self.exchange.note("answers", str(error))
            return False
        return True

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
        self._list_checks(run, step, task)
        # Late: every write compares all rows of the flow.
        exercise_crowd(self)
        self._time_checks(run, step, task)
        self._name_checks()

    def _flow_checks(self) -> None:
        written = self.create("flow", self.flow, BODY, FLOWS)
        read = self.exchange.read("flow", self.flow, [{**BODY, "flow_id": self.flow_id}])
        self.observe_shapes("a flow", answered=written.answer, read=read)
        self.attempt("duplicate flow", self.flow, {**BODY, "user_name": "another"}, FLOWS)
        self.attempt("malformed flow", f"/flows/{_malformed(self.flow_id)}", _MALFORMED, FLOWS)
        self.missing("unknown flow", f"/flows/{_unknown(self.flow_id)}")

    def _run_checks(self) -> str:
        """Register a run and return its path."""
        path = f"{self.flow}/run"
        written = self.create("run", path, BODY, RUNS)
        number = written.answer.get("run_number")
        run = f"{self.flow}/runs/{number}"
        sent = {**BODY, "flow_id": self.flow_id, "run_number": number}
        read = self.exchange.read("run", run, [sent])
        self.observe_shapes("a run", answered=written.answer, read=read)
        self.observe("order of tags", "as sent" if read.get("tags") == TAGS else "another")
        self.observe("number of a run", type(number).__name__)
        self.observe("steps of a run that has none", self.get(f"{run}/steps").text)
        self.attempt("run of an unknown flow", f"/flows/{_unknown(self.flow_id)}/run", BODY, RUNS)
        self.attempt("malformed run", path, _MALFORMED, RUNS)
        # Wherever it is asked for, a service takes digits for a number.
        self.attempt("run named by digits", path, {**BODY, "run_number": "777"}, RUNS)
        self.missing("unknown run", self._unknown_run)
        return run

    def _step_checks(self, run: str) -> str:
        """Register a step and return its path."""
        step = f"{run}/steps/start"
        written = self.create("step", f"{step}/step", BODY, STEPS)
        sent = {**BODY, "flow_id": self.flow_id, "step_name": "start"}
        read = self.exchange.read("step", step, [sent])
        self.observe_shapes("a step", answered=written.answer, read=read)
        self.observe("number of a step's run", type(read.get("run_number")).__name__)
        self.attempt("duplicate step", f"{step}/step", BODY, STEPS)
        self.attempt("malformed step", f"{run}/steps/malformed/step", _MALFORMED, STEPS)
        unknown = f"{self._unknown_run}/steps/start/step"
        self.attempt("step of an unknown run", unknown, BODY, STEPS)
        self.missing("unknown step", f"{run}/steps/unknown")
        return step

    def _task_checks(self, step: str) -> str:
        """Register a task and return its path."""
        path = f"{step}/task"
        written = self.create("task", path, BODY, TASKS)
        number = written.answer.get("task_id")
        task = f"{step}/tasks/{number}"
        sent = {**BODY, "flow_id": self.flow_id, "step_name": "start", "task_id": number}
        read = self.exchange.read("task", task, [sent])
        self.observe_shapes("a task", answered=written.answer, read=read)
        self.observe("number of a task", type(number).__name__)
        self.attempt("malformed task", path, _MALFORMED, TASKS)
        unknown = f"{_parent(step)}/unknown/task"
        self.attempt("task of an unknown step", unknown, BODY, TASKS)
        unknown = f"{self._unknown_run}/steps/start/task"
        self.attempt("task of an unknown run", unknown, BODY, TASKS)
        self.missing("unknown task", f"{step}/tasks/{NEVER_GIVEN}")
        return task

    def _artifact_checks(self, task: str) -> None:
        path = f"{task}/artifact"
        # By "name", which every attempt has, releases since 2.2.0 find the latest attempt.
        sent = [artifact(name, 0) for name in ("name", "x", "only_first")]
        written = self.create_all("artifacts", path, sent, ARTIFACTS)
        for holder in _holders(task):
            self.exchange.read("artifacts", f"{holder}/artifacts", sent)
        for one in sent:
            read = self.exchange.read("artifacts", f"{task}/artifacts/{one['name']}", [one])
        self.observe_shapes("an artifact", answered=written.answer, read=read)
        self.attempt("duplicate artifact", path, sent[:1], ARTIFACTS)
        # Services add row by row and count what was added; the key refuses the second.
        twice = [artifact("twice", 0)] * 2
        self.attempt("an artifact twice in one request", path, twice, ARTIFACTS)
        self.attempt("malformed artifacts", path, _MALFORMED, ARTIFACTS)
        unknown = f"{_parent(task)}/{NEVER_GIVEN}/artifact"
        self.attempt("artifacts of an unknown task", unknown, sent, ARTIFACTS)
        self.missing("unknown artifact", f"{task}/artifacts/unknown")

    def _attempt_checks(self, task: str) -> None:
        """Let a second attempt write some of the artifacts again, and ask which are shown."""
        sent = [artifact(name, 1) for name in ("name", "x")]
        check = "artifacts of a second attempt"
        self.create_all(check, f"{task}/artifact", sent, ARTIFACTS)
        for holder in _holders(task):
            answer = self.exchange.read(check, f"{holder}/artifacts", sent)
        self.observe("artifacts shown after two attempts", _names(answer))
        for check, name, by in (
            ("artifact of both attempts", "x", ""),
            ("artifact of the first attempt alone", "only_first", ""),
            ("artifact by attempt", "x", "/attempt/0"),
        ):
            answer = self.get(f"{task}/artifacts/{name}{by}")
            attempt = answer.get("attempt_id")
            self.observe(check, f"{answer.status}{f', attempt {attempt}' if answer.ok else ''}")
            if answer.ok:
                # That it is another one than before is a difference; what it holds is not.
                of_attempt = artifact(name, 1 if attempt == 1 else 0)
                self.exchange.compare("artifacts", answer, [of_attempt], answer.objects)
        check, answer = "artifacts by attempt", self.get(f"{task}/attempt/0/artifacts")
        self.observe(check, _names(answer))
        if answer.ok:
            first = [artifact(name, 0) for name in ("name", "x", "only_first")]
            self.exchange.compare("artifacts", answer, first, answer.objects)

    def _metadata_checks(self, run: str, step: str, task: str) -> None:
        path = f"{task}/metadata"
        sent = [datum("attempt", "0"), datum("note", f'{FAR} ünïcode, "quoted"')]
        written = self.create_all("metadata", path, sent, METADATA)
        for holder in (run, task):
            read = self.exchange.read("metadata", f"{holder}/metadata", sent)
        self.observe_shapes("metadata", answered=written.answer, read=read)
        check, other = "metadata registered again", [datum("attempt", "1")]
        if self.attempt(check, path, other, METADATA).answer.created:
            sent += other
        self.exchange.read(check, path, sent)
        self.attempt("malformed metadata", path, _MALFORMED, METADATA)
        unknown = f"{_parent(task)}/{NEVER_GIVEN}/metadata"
        self.attempt("metadata of an unknown task", unknown, sent, METADATA)
        answer = self.get(f"{step}/filtered_tasks?metadata_field_name=note&pattern=quoted")
        found = len(answer.body) if isinstance(answer.body, Sized) else 0
        count = f", {found} found" if answer.ok else ""
        self.observe("filtered tasks", f"{answer.status}{count}")

    def _heartbeat_checks(self, run: str, task: str) -> None:
        for check, path, table in (
            ("heartbeat of a run", f"{run}/heartbeat", RUNS),
            ("heartbeat of a task", f"{task}/heartbeat", TASKS),
        ):
            sent = time.monotonic()
            self.attempt(check, path, {}, table)
            again = f"{check} at once again"
            status = self.exchange.write(again, path, {}, table, again=True).answer.status
            if time.monotonic() - sent < _TOO_SOON:
                self.observe(again, str(status))
        self.attempt("heartbeat of an unknown run", f"{self._unknown_run}/heartbeat", {}, RUNS)

    def _tag_checks(self, run: str, task: str) -> None:
        path = f"{run}/tag/mutate"
        expected = {**BODY, "tags": _NEW_TAGS}
        body = {"tags_to_add": _NEW_TAGS[:1], "tags_to_remove": TAGS[:1]}
        if self.attempt("change of tags", path, body, RUNS, "PATCH").answer.ok:
            self.exchange.read("change of tags", run, [expected])
            shown = any(equal(expected, one) for one in self.get(task).objects)
            self.observe("tags of a task", "the run's" if shown else "its own")
        check = "the same change of tags"
        if self.attempt(check, path, body, RUNS, "PATCH", again=True).answer.ok:
            self.exchange.read(check, run, [expected])
        body = {"tags_to_remove": SYSTEM_TAGS[:1]}
        self.attempt("removal of a system tag", path, body, RUNS, "PATCH")
        self.attempt("tags that are no list", path, {"tags_to_add": "new"}, RUNS, "PATCH")
        self.attempt("malformed change of tags", path, _MALFORMED, RUNS, "PATCH")

    def _time_checks(self, run: str, step: str, task: str) -> None:
        """Each entry tells the time it was registered at, alone and in a list."""
        runs = f"{self.flow}/runs"
        self.hold_times(
            (
                *((FLOWS, self.flow), (RUNS, run), (STEPS, step), (TASKS, task)),
                *((RUNS, runs), (STEPS, f"{run}/steps"), (TASKS, f"{step}/tasks")),
                *((METADATA, f"{task}/metadata"), (ARTIFACTS, f"{task}/artifacts")),
            )
        )

    def _list_checks(self, run: str, step: str, task: str) -> None:
        """Every row so far, and no other one of the flow, is in the list it belongs to."""
        rows = self.exchange.rows()
        for table, path, key in (
            (FLOWS, "/flows", "flow_id"),
            (RUNS, f"{self.flow}/runs", "run_number"),
            (STEPS, f"{run}/steps", "step_name"),
            (TASKS, f"{step}/tasks", "task_id"),
        ):
            entries = [one for one in self.get(path).objects if one.get("flow_id") == self.flow_id]
            listed = [str(one.get(key)) for one in entries]
            stored = [str(row[key]) for row in rows[table]]
            if not self.exchange.sees_rows:
                # What was registered first, and read back, is all that is known to be there.
                first = {FLOWS: self.flow_id, RUNS: _last(run), STEPS: _last(step)}
                stored = [*{*listed, first.get(table, _last(task))}]
            hold(self.exchange, "lists", f"GET {path}", listed, stored)
            self._hold_entries(path, entries)

    def _hold_entries(self, path: str, entries: Sequence[Row]) -> None:
        """Note each entry of a list that is not as all were registered, but for changed tags."""
        for one in entries:
            tags = next((tags for tags in (_NEW_TAGS, TAGS) if equal({"tags": tags}, one)), TAGS)
            self.exchange.compare("lists", f"GET {path}", [{**BODY, "tags": tags}], [one])

    def _name_checks(self) -> None:
        """Register a run and a task under names of the client's own, and all below them."""
        path = f"{self.flow}/run"
        body = {**BODY, "run_number": "contract-run"}
        written = self.create("run with a name", path, body, RUNS)
        if not self._named("run with a name", written, "run_number", "contract-run"):
            return
        run = f"{self.flow}/runs/contract-run"
        self.exchange.read("run with a name", run, [body])
        self._by_number("run", f"{self.flow}/runs", body, written.new.get(RUNS, ()))
        self.attempt("duplicate run with a name", path, body, RUNS)
        step = f"{run}/steps/start"
        self.create("step of a run with a name", f"{step}/step", BODY, STEPS)
        self.exchange.read("step of a run with a name", step, [body])
        named = {**BODY, "task_id": "contract-task"}
        written = self.create("task with a name", f"{step}/task", named, TASKS)
        if self._named("task with a name", written, "task_id", "contract-task"):
            shown = {**body, **named}
            self._by_number("task", f"{step}/tasks", shown, written.new.get(TASKS, ()))
            self.attempt("duplicate task with a name", f"{step}/task", named, TASKS)
            self._named_task_checks(f"{step}/tasks/contract-task", shown)
            self._named_list_checks(f"{self.flow}/runs", run, step, shown)

    def _by_number(self, what: str, path: str, body: Row, rows: Sequence[Row]) -> None:
        """Observe whether what has a name can be read by its row's number, too."""
        key = {"run": "run_number", "task": "task_id"}[what]
        for row in rows:  # where rows are not seen, nobody knows the number
            answer = self.get(f"{path}/{row[key]}")
            check = f"{what} with a name"
            shown = "by its name" if answer.get(key) == body[key] else "by its number"
            told = f"{answer.status}, {shown}" if answer.ok else str(answer.status)
            self.observe(f"{check}, asked for by number", told)
            if answer.ok:
                sent = {**body, key: answer.get(key)}
                self.exchange.compare(check, answer, [sent], answer.objects)

    def _named_list_checks(self, runs: str, run: str, step: str, body: Row) -> None:
        """What has a name is in the lists it belongs to, too, and keeps its time there."""
        of_run = {name: value for name, value in body.items() if name != "task_id"}
        for path, sent in ((runs, of_run), (f"{run}/steps", of_run), (f"{step}/tasks", body)):
            self.exchange.compare("lists", f"GET {path}", [sent], self.get(path).objects)
        task = f"{step}/tasks/contract-task"
        self.hold_times(
            (
                *((RUNS, run), (STEPS, step), (TASKS, task)),
                *((RUNS, runs), (STEPS, f"{run}/steps"), (TASKS, f"{step}/tasks")),
            )
        )

    def _named_task_checks(self, task: str, body: Row) -> None:
        self.exchange.read("task with a name", task, [body])
        artifacts = [artifact(name, 0) for name in ("name", "x")]
        check = "artifacts of a task with a name"
        self.create_all(check, f"{task}/artifact", artifacts, ARTIFACTS)
        ids = {key: body[key] for key in ("run_number", "task_id")}
        # Below a run with a name, bodies have names where others have numbers.
        shown = [{**one, **ids} for one in artifacts]
        self.exchange.read(check, f"{task}/artifacts", shown)
        metadata = [datum("note", "1")]
        check = "metadata of a task with a name"
        self.create_all(check, f"{task}/metadata", metadata, METADATA)
        self.exchange.read(check, f"{task}/metadata", [{**one, **ids} for one in metadata])

    def _named(self, check: str, written: Written, key: str, name: str) -> bool:
        """Observe whether a name was kept; before 2.0 a number is given instead."""
        kept = bool(written.answer.get(key) == name)
        told = "kept" if kept else "a number instead"
        self.observe(check, f"{written.answer.status}, {told}")
        return kept


def _names(answer: Answer) -> str:
    names = ", ".join(sorted(str(one.get("name")) for one in answer.objects))
    return f"{answer.status}: {names}" if answer.ok else str(answer.status)


def _holders(task: str) -> tuple[str, str, str]:
    """Return the paths of a task's run and step, and its own."""
    step = _parent(_parent(task))
    return _parent(_parent(step)), step, task


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
