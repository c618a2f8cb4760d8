"""What is done with a probe's flow before it is read back: runs, resumes and other commands."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.client.program import (
    ClientTimeoutError,
    Finished,
    Program,
    Surroundings,
    last_words,
    run_program,
)
from harness.core.actions import FAILED, FIRST_RUN, FIRST_RUN_ID, PLACEHOLDER, Action
from harness.core.outcome import CheckOutcome, Status
from harness.core.plan import Cell
from harness.machine.plain import plain

# As every release prints it: ``2026-11-25 21:16:06.213 [1/start/2 (pid 4961)] Task is starting.``
_TASK = re.compile(r"\[(?P<task>[^\s/\[\]]+/(?P<step>\w+)/[^\s/\[\]]+)[^\]]*\] Task is starting")


class MissingError(Exception):
    """An action needs what another one did not leave; the text says what."""


@dataclass(frozen=True)
class Done:
    """What came of an action.

    Attributes:
        run_id: the id of its run; empty for none.
        finished: how its program ended; None when it did not.
        wrong: what is wrong; None when it ended as it should.
    """

    run_id: str = ""
    finished: Finished | None = None
    wrong: CheckOutcome | None = None

    def task(self, step: str) -> str:
        """Return the first task of a step that the run printed, as ``RUN/STEP/TASK``."""
        log = self.finished.log if self.finished else None
        printed = log.read_text(encoding="utf-8", errors="replace") if log else ""
        found = next((one for one in _TASK.finditer(printed) if one["step"] == step), None)
        if found is None:
            raise MissingError(f"the run {self.run_id} printed no task of the step {step}")
        return found["task"]


@dataclass
class Doer:
    """Does the actions of a cell, one after another.

    Attributes:
        surroundings: those of the cell's client.
        others: those of other clients, by the role that is theirs.
        done: what came of each, by name.
    """

    cell: Cell
    surroundings: Surroundings
    deadline: float
    others: Mapping[str, Surroundings] = field(default_factory=dict)
    done: dict[str, Done] = field(default_factory=dict)
    # Ids that a probe chooses must be new: a walk's database holds the runs of earlier stages.
    _unique: str = field(default_factory=lambda: uuid.uuid4().hex[:10])

    def do(self, action: Action) -> Done:
        """Do an action and return what came of it, which is also noted."""
        self.done[action.name] = self._do(action)
        return self.done[action.name]

    def _do(self, action: Action) -> Done:
        for name in action.needs:
            if self.done[name].wrong is not None:
                # With its cause by name: a declared failure also covers what it kept from running.
                why = CheckOutcome(Status.NOT_RUN, self.did_not_end(name), because=name)
                return Done(wrong=why)
        try:
            finished = run_program(self._of(action), self._program(action), self.deadline)
        except MissingError as error:
            return Done(wrong=CheckOutcome(Status.FAIL, str(error)))
        except ClientTimeoutError as error:
            # What was killed may have its run already, whose rows are evidence.
            return Done(self._run_id(action), wrong=CheckOutcome(Status.TIMEOUT, str(error)))
        run_id = self._run_id(action)
        judge = _judge_run if action.makes_run else _judge_command
        return Done(run_id, finished, judge(action, finished, run_id))

    def _of(self, action: Action) -> Surroundings:
        return self.others.get(action.role, self.surroundings)

    def given_tags(self, action: Action) -> tuple[str, ...]:
        """Return the tags that the harness gives the run of an action, beside the probe's own."""
        return self._of(action).tags

    def did_not_end(self, name: str) -> str:
        """Say that an action did not end as it should."""
        if name == FIRST_RUN:
            return f"the run did not end as it should: {self.cell.probe.ends}"
        return f"the action {name} did not end as it should"

    def _program(self, action: Action) -> Program:
        return Program(
            label(action),
            self._command(action),
            {name: self._fill(value) for name, value in action.environment},
            # A run's log keeps the order of events; of a command, checks read stdout alone.
            apart=not action.makes_run,
        )

    def _command(self, action: Action) -> list[str]:
        # Filled in only now: what earlier actions made is known when this one is done.
        arguments = [self._fill(part) for part in action.arguments]
        if action.program == "metaflow":
            return [str(self._of(action).python.with_name("metaflow")), *arguments]
        # Old clients run pylint on the flow first, which says nothing of the service.
        flow = [str(self._of(action).python), str(self.cell.probe.path), "--no-pylint"]
        if not action.makes_run:
            return [*flow, *arguments]
        tags = (*self.cell.probe.tags, *self.given_tags(action))
        return [
            *(*flow, *map(self._fill, action.before), action.verb, *self._origin(action)),
            # Read from a file, because the id is needed also of a run that failed.
            *("--run-id-file", str(self._run_id_file(action))),
            *(part for tag in tags for part in ("--tag", tag)),
            *map(self._fill, action.options),
            *(
                part
                for name, value in action.parameters
                for part in (f"--{name}", self._fill(value))
            ),
        ]

    def _origin(self, action: Action) -> list[str]:
        if not action.origin:
            return []
        step = [action.step] if action.step else []
        return [*step, "--origin-run-id", self.done[action.origin].run_id]

    def _run_id_file(self, action: Action) -> Path:
        return self.surroundings.work / f"{action.name}-id"

    def _run_id(self, action: Action) -> str:
        if action.run_id:
            return self._fill(action.run_id)
        file = self._run_id_file(action)
        # A client writes it, so it may hold anything.
        raw = file.read_bytes().decode(errors="backslashreplace") if file.exists() else ""
        return plain(raw).strip()

    def _fill(self, text: str) -> str:
        """Return a text with what the placeholders in it stand for."""
        return PLACEHOLDER.sub(lambda match: self._known(match[1], match[2] or ""), text)

    def _known(self, first: str, second: str) -> str:
        words: Mapping[str, str] = {"unique": self._unique, "flow": self.cell.probe.flow}
        if not second and first in words:
            return words[first]
        if not second and first == FIRST_RUN_ID:
            return self.done[FIRST_RUN].run_id
        of = self.done[first]
        return of.run_id if second == "run_id" else of.task(second)


def label(action: Action) -> str:
    """Return what the log of an action, and its program in errors, is called."""
    return "flow" if action.name == FIRST_RUN else action.name


def _judge_run(action: Action, finished: Finished, run_id: str) -> CheckOutcome | None:
    """Judge how a flow ended; None when it did as it should."""
    name, must_fail = label(action), action.ends == FAILED
    failure = f"{name} ended with exit code {finished.code}: {last_words(finished.log)}"
    if finished.code and not must_fail:
        return CheckOutcome(Status.FAIL, failure)
    if not finished.code and must_fail:
        return CheckOutcome(Status.FAIL, f"the {name} ended well, and it should fail")
    # Without an id nothing can be read back, even where the exit code is as it should be.
    if not run_id:
        how = (
            f"failed before it had a run: {failure}"
            if finished.code
            else "ended well but wrote no run id: does its file run the flow, under __main__?"
        )
        return CheckOutcome(Status.FAIL, f"the {name} {how}")
    return None


def _judge_command(action: Action, finished: Finished, _run_id: str) -> CheckOutcome | None:
    expected = action.exit_code
    if finished.code == expected or (expected is None and finished.code):
        return None
    wanted = "another one than 0" if expected is None else str(expected)
    said = last_words(finished.log)
    return CheckOutcome(
        Status.FAIL,
        f"{action.name} ended with exit code {finished.code}, and {wanted} is expected: {said}",
    )
