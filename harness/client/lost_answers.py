"""A run through a relay that loses answers or breaks things: resumed until done, and listed."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

from harness.client.acknowledged import is_good, judge_acknowledged, told_rows
from harness.client.actions import Doer, Done, label
from harness.client.faults import break_of, cannot_break
from harness.client.program import ClientError, ClientTimeoutError, last_words
from harness.client.reading import Answer, Request, differences, read_runs
from harness.client.rows import Row, double_row, unused_task
from harness.core.actions import FIRST_RUN, ROLES, Action
from harness.core.outcome import CheckOutcome, Status
from harness.core.scenarios import ACKNOWLEDGED, Fault, Loss, fault_of, lost_answers
from harness.stack.database.rows import run_rows
from harness.stack.proxy.relay import Asked, Relay, Strike

# As every release says that the service is to blame: with the headline of its error, or by the name
# of its class at the end of a traceback.
OWN_ERROR = re.compile(
    r"Metaflow service error|(?<!')ServiceException\b(?!')|Metadata request \("
    r"|Metaflow service \[.*\] unreachable"
)

# As they say of a run that has stored nothing.
_NOTHING_LEFT = re.compile(r"Resume could not find run id|Couldn't find data")

# Sent by a process beside the one that does the work, which goes on without it.
_BESIDE = {"run_heartbeat", "task_heartbeat"}
_BEAT = "/heartbeat"

# Clients send one each ten seconds, as services tell them to: by then two more are overdue.
_TWO_BEATS = 25.0

_TAG = "compat:lost"

Doubled = Callable[[Strike, str], str]
"""Tells what a lost answer made twice, of the run of an id; empty for nothing."""


@dataclass(frozen=True)
class Attempt:
    """A run, or a resume of the one before, the answers it lost, and all that it asked."""

    verb: str
    done: Done
    strikes: tuple[Strike, ...]
    asked: tuple[Asked, ...] = ()

    @property
    def ended_by(self) -> Strike | None:
        """The answer that ended it: the last one it lost; None where it ended well."""
        if self.done.wrong is None or not self.strikes:
            return None
        of_work = [strike for strike in self.strikes if strike.kind.name not in _BESIDE]
        return (of_work or list(self.strikes))[-1]


@dataclass(frozen=True)
class Reading:
    """A run as its client listed it, and the answers that were lost meanwhile."""

    name: str
    answer: Answer
    strikes: tuple[Strike, ...]


@dataclass(frozen=True)
class LossyRun:
    """What came of a run that lost answers.

    Attributes:
        done: the last attempt, as if it were the first run.
        checks: what came of each kind of request.
        evidence: logs of the attempts, of the readings and of the relay, by kind.
    """

    done: Done
    checks: dict[str, CheckOutcome]
    evidence: dict[str, Path]


def run_losing_answers(doer: Doer, action: Action) -> LossyRun:
    """Do the first run of a cell through a relay, until an attempt completes.

    Raises:
        InfraError, OSError: when what was broken on purpose cannot be mended.

    Args:
        doer: of the cell; its own surroundings lead straight to the service.
        action: the first run.
    """
    surroundings = doer.surroundings
    assert surroundings.service_url is not None, "the scenario is one of sessions with a service"
    why = cannot_break(doer.cell.scenario)
    if why:
        return LossyRun(Done(wrong=CheckOutcome(Status.NOT_RUN, why)), {}, {})
    log, tag = surroundings.logs / "relay.txt", f"compat:{uuid4().hex[:12]}"
    evidence = {"relay": log}
    attempts: list[Attempt] = []
    losses = lost_answers(doer.cell.scenario)
    breaks = break_of(doer.cell.scenario, surroundings)
    relay = Relay(surroundings.service_url, log, losses=losses, breaks=breaks)

    def watch() -> None:
        relay.check_alive()
        with relay.breaking:
            surroundings.watch()

    with contextlib.closing(relay):
        given = (*surroundings.tags, tag)
        through = replace(surroundings, service_url=relay.url, watch=watch, tags=given)
        writer = Doer(doer.cell, through, doer.deadline)
        # Each attempt but the last loses an answer of a kind: there are only so many.
        while not attempts or _goes_on(attempts[-1]):
            one = next_action(action, attempts, writer.done)
            evidence[label(one)] = surroundings.logs / f"{label(one)}.txt"
            before, asked = len(relay.strikes), len(relay.asked)
            done = writer.do(one)
            attempts.append(Attempt(one.verb, done, relay.strikes[before:], relay.asked[asked:]))
            # What is resumed, and whoever looks, finds everything mended.
            relay.settle()
        last = attempts[-1].done
        readings = [] if last.wrong else list(_read(writer, last.run_id, relay))
        # Last, when nothing but that is left to lose.
        tags = {} if last.wrong else _change_tags(writer, last.run_id, relay)
        relay.settle()
    evidence |= {one.name: surroundings.logs / f"{one.name}.txt" for one in readings}
    if tags:
        evidence["lossy_tag"] = surroundings.logs / "lossy_tag.txt"

    def doubled(strike: Strike, run_id: str) -> str:
        database, flow = surroundings.database, doer.cell.probe.flow
        if database is None:
            return ""
        told = told_rows(relay.asked, run_id)
        return made_twice(strike, run_id, lambda run: run_rows(database, flow, run), told)

    checks = judge(attempts, losses, doubled, fault_of(doer.cell.scenario))
    checks |= judge_readings(readings) | tags
    checks[ACKNOWLEDGED] = judge_acknowledged(relay.asked, surroundings.database, tag)
    return LossyRun(last, checks, evidence)


def _change_tags(writer: Doer, run_id: str, relay: Relay) -> dict[str, CheckOutcome]:
    """Add a tag to the run, which no run does by itself; return what came of what was lost."""
    before = len(relay.strikes)
    arguments = ("tag", "add", "--run-id", run_id, _TAG)
    done = writer.do(Action("command", "lossy_tag", ROLES["command"], arguments=arguments))
    lost = relay.strikes[before:]
    # Clients before 2.7.0 and services before 2.3.0 have no such request.
    tags = _tags_of(writer, run_id) if any(one.kind.name == "tags" for one in lost) else None
    return {one.check: judge_tags(one, done, tags, is_last=one is lost[-1]) for one in lost}


def _tags_of(writer: Doer, run_id: str) -> Sequence[object] | None:
    """Return the tags that a run has in the database; None where nobody sees its rows."""
    database, flow = writer.surroundings.database, writer.cell.probe.flow
    if database is None:
        return None
    (row,) = run_rows(database, flow, run_id)["runs_v3"]
    tags = row["tags"]
    return tags if isinstance(tags, list) else []


def judge_tags(
    strike: Strike, done: Done, tags: Sequence[object] | None, *, is_last: bool = True
) -> CheckOutcome:
    """Judge an answer that was lost while tags were changed.

    Args:
        strike: the answer.
        done: the command.
        tags: those that the run has now; None where nobody sees them, or the change was not sent.
        is_last: whether it lost no other answer later: the others it survived.
    """
    if done.wrong is not None and is_last:
        return _of_end(strike, Attempt("command", done, (strike,)), ())
    if done.wrong is None and tags is not None and list(tags).count(_TAG) != 1:
        return _failed(strike, f"the command ends well, and the run has the tags {tags}")
    return CheckOutcome(Status.PASS)


def _read(writer: Doer, run_id: str, relay: Relay) -> Iterator[Reading]:
    """List a run until no answer is lost any more: most of what a client reads, no run asks for."""
    for number in itertools.count(1):
        name, before = f"lossy_read_{number}", len(relay.strikes)
        request = Request(writer.cell, run_id, (), by_path=True)
        try:
            (answer,) = read_runs(
                writer.surroundings, [request], name=name, deadline=writer.deadline
            )
        except ClientTimeoutError as error:
            answer = Answer({}, None, str(error), late=True)
        except ClientError as error:
            answer = Answer({}, None, str(error))
        yield Reading(name, answer, relay.strikes[before:])
        if len(relay.strikes) == before:
            return


def _goes_on(attempt: Attempt) -> bool:
    """Tell whether there is a next attempt: an answer that was lost ended this one.

    Or the one before, when it left what cannot be resumed.
    """
    wrong = attempt.done.wrong
    failed = wrong is not None and wrong.status is Status.FAIL
    return failed and (bool(attempt.strikes) or attempt.verb == "resume")


def next_action(first: Action, attempts: Sequence[Attempt], done: dict[str, Done]) -> Action:
    """Return what an attempt does.

    It resumes the newest run there is. Where there is none, or that was of no use, the flow is run.
    """
    if not attempts:
        return first
    name = f"attempt_{len(attempts) + 1}"
    origin = next((name for name in reversed(done) if done[name].run_id), "")
    useless = attempts[-1].verb == "resume" and not attempts[-1].strikes
    if useless or not origin:
        return replace(first, name=name)
    return Action(
        "resume",
        name,
        ROLES["resume"],
        environment=first.environment,
        before=first.before,
        origin=origin,
    )


def own_error_in(fault: Fault | None) -> str:
    """Return what matches the words of a client that says whose fault its end is."""
    return "|".join(filter(None, [OWN_ERROR.pattern, fault.own_error if fault else ""]))


def _left_nothing(ended: Attempt, resume: Attempt) -> bool:
    """Tell whether a client says of a run that there is nothing to resume, and rightly.

    Nothing is there when it ended before any of its artifacts, its parameters first, was stored.
    """
    stored = (
        one.path.endswith("/artifact") and one.answer is not None and is_good(one.answer)
        for one in ended.asked
    )
    if resume.done.finished is None or any(stored):
        return False
    return bool(_NOTHING_LEFT.search(last_words(resume.done.finished.log)))


def judge(
    attempts: Sequence[Attempt],
    losses: Mapping[str, Loss],
    doubled: Doubled,
    fault: Fault | None = None,
) -> dict[str, CheckOutcome]:
    """Return what came of each kind of request, by the name of its check.

    Args:
        attempts: in order; the last one completed, or nothing could be tried any more.
        losses: which answers were to be lost, by the name of the kind.
        doubled: tells what a lost answer made twice.
        fault: what was broken; None where answers were merely lost.
    """
    found: dict[str, CheckOutcome] = {}
    for number, attempt in enumerate(attempts):
        for strike in attempt.strikes:
            following = attempts[number + 1 :]
            if strike is attempt.ended_by:
                outcome = _of_end(strike, attempt, following, fault)
            elif strike.kind.name in _BESIDE:
                outcome = _of_beat(strike, attempt)
            else:
                twice = doubled(strike, attempt.done.run_id)
                outcome = _failed(strike, twice) if twice else CheckOutcome(Status.PASS)
            found[strike.check] = outcome
    completed = attempts[-1].done.wrong is None
    return {
        loss.check_of(kind): found.get(loss.check_of(kind)) or _never(loss, completed=completed)
        for kind, loss in losses.items()
    }


def _never(loss: Loss, *, completed: bool) -> CheckOutcome:
    """Return what came of a kind of which so many requests were not sent."""
    if not completed:
        why = "no attempt of the run completed, and none had sent such a request"
        if loss.nth > 1:
            why = f"no attempt of the run completed, and none had sent {loss.nth} such requests"
        return CheckOutcome(Status.NOT_RUN, why, because=FIRST_RUN)
    few = "no such request" if loss.nth == 1 else f"fewer than {loss.nth} such requests"
    return CheckOutcome(Status.UNSUPPORTED, f"the client sent {few}")


def _of_end(
    strike: Strike,
    attempt: Attempt,
    following: Sequence[Attempt],
    fault: Fault | None = None,
) -> CheckOutcome:
    """Judge the answer that ended an attempt: by the client's own error, and what came after it."""
    done = attempt.done
    assert done.wrong is not None
    if done.wrong.status is not Status.FAIL or done.finished is None:
        return CheckOutcome(done.wrong.status, f"{_lost(strike)}: {done.wrong.reason}")
    words = last_words(done.finished.log)
    if not done.finished.code or not re.search(own_error_in(fault), words):
        return _failed(strike, f"the client ends with another error than its own: {words}")
    # One that lost no answer itself fails by what the one before it left.
    if following and following[0].done.wrong is not None and not following[0].strikes:
        if fault is not None and _left_nothing(attempt, following[0]):
            return CheckOutcome(Status.PASS)
        return _failed(strike, f"what it left cannot be resumed: {following[0].done.wrong.reason}")
    return CheckOutcome(Status.PASS)


def _of_beat(strike: Strike, attempt: Attempt) -> CheckOutcome:
    """Judge a lost heartbeat by those that follow it, of the same run or task."""
    if any(one.path == strike.path and one.at > strike.at for one in attempt.asked):
        return CheckOutcome(Status.PASS)
    # A task that did something by itself was not at its end.
    of = strike.path.removesuffix(_BEAT)
    seen = [one.at for one in attempt.asked if one.path.startswith(f"{of}/")]
    alone = max(seen, default=strike.at) - strike.at
    if alone > _TWO_BEATS:
        return _failed(strike, f"no other comes, though {of} goes on for {alone:.0f} s")
    return CheckOutcome(Status.UNSUPPORTED, "nothing went on until the next heartbeat was due")


def judge_readings(readings: Sequence[Reading]) -> dict[str, CheckOutcome]:
    """Return what came of the kinds of request that were lost to readers, by their checks.

    Args:
        readings: in order; the last one lost nothing.
    """
    return {
        strike.check: _of_reading(strike, one, readings[-1].answer)
        for one in readings
        for strike in one.strikes
    }


def _of_reading(strike: Strike, reading: Reading, whole: Answer) -> CheckOutcome:
    """Judge an answer that a reader lost, by what it lists, or else by its error."""
    answer = reading.answer
    # The reader went on after all but the last.
    ended = answer.inventory is None and strike is reading.strikes[-1]
    if ended and answer.late:
        return CheckOutcome(Status.TIMEOUT, f"{_lost(strike)}: {answer.error}")
    wrong = ""
    if ended and not OWN_ERROR.search(answer.error):
        wrong = f"the client ends with another error than its own: {answer.error}"
    elif whole.inventory is None:
        wrong = f"the run cannot be listed any more: {whole.error}"
    elif answer.inventory is not None:
        wrong = "; ".join(differences(whole.inventory, answer.inventory)[:1])
    return _failed(strike, wrong) if wrong else CheckOutcome(Status.PASS)


def _failed(strike: Strike, what: str) -> CheckOutcome:
    return CheckOutcome(Status.FAIL, f"{_lost(strike)}: {what}")


def _lost(strike: Strike) -> str:
    return strike.loss.of(strike.kind.words)


def made_twice(
    strike: Strike,
    run_id: str,
    rows: Callable[[str], Mapping[str, Sequence[Row]]],
    told: Mapping[str, Sequence[Row]] = MappingProxyType({}),
) -> str:
    """Return a sentence on what is there twice since an answer was lost; empty for nothing.

    Args:
        strike: the answer, which the attempt survived.
        run_id: of the attempt.
        rows: returns those of a run, by table.
        told: by table, the rows of that run that the client knows to be stored.
    """
    table = strike.kind.table
    if not strike.loss.way.loses or not table or not run_id:
        return ""
    if table == "tasks_v3":
        return unused_task(_told(strike, "task_id"), rows(run_id))
    if table != "runs_v3":
        return double_row(table, rows(run_id), told.get(table, ()))
    other = _told(strike, "run_number")
    if other in {"", run_id} or not rows(other)["runs_v3"]:
        return ""
    return f"the run {other}, which nobody goes on with, is there beside the run {run_id}"


def _told(strike: Strike, name: str) -> str:
    """Return an id that the client did not learn; empty where the answer is an error."""
    try:
        told = json.loads(strike.answer.body)
    except ValueError:
        return ""
    return str(told.get(name, "")) if isinstance(told, dict) else ""
