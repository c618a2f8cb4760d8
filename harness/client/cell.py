"""One cell: run the probe's flow, read it back by the same client, compare with the rows."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from harness.client.actions import Doer, Done, label
from harness.client.lost_answers import run_losing_answers
from harness.client.program import ClientError, ClientTimeoutError, Surroundings
from harness.client.reading import Answer, EarlierRun, Request, WrittenRun, problems, read_runs
from harness.client.rows import missing_rows
from harness.core.actions import COMPLETED, FAILED, FIRST_RUN, Action
from harness.core.blame import Blame
from harness.core.entries import Provenance
from harness.core.outcome import CheckOutcome, Status, cell_status
from harness.core.plan import Cell
from harness.core.probes import ROWS, RUN_CHECK, Check
from harness.core.scenarios import lost_answers
from harness.machine.errors import InfraError
from harness.machine.output import OF_PROGRAM, note
from harness.machine.secrets import KNOWN
from harness.stack.database.rows import run_rows

READBACK = "readback"
"""The name of what the last read leaves; others are called as their action."""


@dataclass
class CellOutcome:
    """What came of a cell.

    Attributes:
        run_id: the id the client gave its run; empty when it never got one.
        ended: by the id of each of its runs, how that ended by the exit code of its program.
        seconds: wall time, without that of reading earlier runs again.
        evidence: what to look at: names of files, by kind.
        provenance: what decided it beside the cell's point and probe, as far as it got.
        written: the run, when it was read back; None when it was not.
        rereads: how many runs of earlier stages were read again.
        reread_problems: what was no longer as it was in them.
    """

    cell: Cell
    checks: dict[str, CheckOutcome] = field(default_factory=dict)
    run_id: str = ""
    ended: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    evidence: dict[str, Path] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
    written: WrittenRun | None = None
    rereads: int = 0
    reread_problems: list[str] = field(default_factory=list)

    @property
    def status(self) -> Status:
        """The cell's status from its checks."""
        return cell_status(self.checks)

    @property
    def was_broken(self) -> bool:
        """Whether the machine broke it once it had begun: what never began would not next time."""
        return self.status is Status.INFRA and self.seconds > 0

    @property
    def pathspec(self) -> str:
        """``FLOW/RUN``, as the client names the run; empty when there was none."""
        return f"{self.cell.probe.flow}/{self.run_id}" if self.run_id else ""

    def make_infra(self, reason: str, earlier: Sequence[EarlierRun] = ()) -> None:
        """Blame a part of the harness that broke for all checks; what else was noted stays.

        Args:
            reason: what broke.
            earlier: runs of earlier stages that were to be read again.
        """
        # All of them: with a broken part nobody knows which of its results are the client's.
        self.checks = not_run(self.cell, Status.INFRA, reason).checks
        if earlier and not (self.rereads or self.reread_problems):
            self.note_not_read_again(reason)

    def take_blame(self, found: Blame, earlier: Sequence[EarlierRun] = ()) -> None:
        """Put down to whom the evidence says what did not come out well.

        Args:
            found: who is to blame.
            earlier: runs of earlier stages that were to be read again.
        """
        if found.status is Status.INFRA:
            self.make_infra(found.sentence, earlier)
            return
        late = found.status is Status.TIMEOUT
        for name, check in self.checks.items():
            # What kept others from running is told by its own check.
            if check.status is Status.TIMEOUT or (check.status is Status.FAIL and not late):
                said = (check.reason, found.sentence) if late else (found.sentence, check.reason)
                self.checks[name] = CheckOutcome(found.status, "; ".join(said))
        if self.reread_problems and not late:
            self.reread_problems.append(found.sentence)

    def note_not_read_again(self, reason: object) -> None:
        """Note that runs of earlier stages were not read again, and why."""
        client = self.cell.client.name
        self.reread_problems.append(f"client {client}: earlier runs not read again: {reason}")


def not_run(cell: Cell, status: Status, reason: str) -> CellOutcome:
    """Return the outcome of a cell that never started, all of its checks for the same reason."""
    return CellOutcome(cell, {check.name: CheckOutcome(status, reason) for check in cell.checks})


def run_cell(
    outcome: CellOutcome,
    surroundings: Surroundings,
    earlier: Sequence[EarlierRun] = (),
    others: Mapping[str, Surroundings] = MappingProxyType({}),
) -> None:
    """Run one cell and note what comes of it; nothing it started is left running.

    Args:
        outcome: of the cell to run; what was noted before an error stays.
        surroundings: what it runs in.
        earlier: runs this client wrote at earlier stages, to be read again afterwards.
        others: what other clients that have a role in it run in.

    Raises:
        InfraError: when a part of the harness breaks, or the run is being ended.
        psycopg2.Error: when the rows cannot be read.
    """
    started = time.monotonic()
    surroundings.make_folders()
    # Cells share a service and its log: only what it gains from here on is this cell's.
    log_start = _size(surroundings.service_log)
    try:
        deadline = started + surroundings.timeout
        _make_checks(outcome, Doer(outcome.cell, surroundings, deadline, others))
    finally:
        # Also when something breaks: an infra cell keeps its evidence.
        outcome.seconds = round(time.monotonic() - started, 2)
        if not outcome.status.expected:
            _keep_service_log(outcome, surroundings, log_start)
    if not outcome.status.expected:
        # Outside of ``finally``: an error of its own would hide what broke before.
        _keep_rows(outcome, surroundings)
    _read_again(outcome, surroundings, earlier)


def _make_checks(outcome: CellOutcome, doer: Doer) -> None:
    """Do the probe's actions in order, and note what came of every check."""
    cell = outcome.cell
    asked = {check.name: check for check in cell.checks if not cell.unsupported(check)}
    answered = _not_asked(asked.values(), doer.surroundings)
    reads = [action for action in cell.probe.actions if action.verb == "read"]
    for action in cell.probe.actions:
        if action.verb == "read":
            made = _made_by(action, reads, asked.values())
            name = READBACK if action is reads[-1] else action.name
            _read(outcome, doer, made, answered, name)
        elif action.name in asked:
            outcome.evidence[label(action)] = doer.surroundings.logs / f"{label(action)}.txt"
            lossy = lost_answers(cell.scenario) and action.name == FIRST_RUN
            done = _lose(outcome, doer, action, answered) if lossy else doer.do(action)
            if action.name == FIRST_RUN:
                outcome.run_id = done.run_id
            if action.makes_run and done.run_id:
                outcome.ended[done.run_id] = _ended(done)
            # A run that ended well is judged by the read: finished, and with its row.
            if done.wrong or not action.makes_run:
                answered[action.name] = done.wrong or CheckOutcome(Status.PASS)
    # In the order they are declared in, whatever order they were made in.
    outcome.checks = {
        check.name: answered[check.name]
        if check.name in asked
        else CheckOutcome(Status.UNSUPPORTED, cell.unsupported(check))
        for check in cell.checks
    }


def _not_asked(asked: Iterable[Check], surroundings: Surroundings) -> dict[str, CheckOutcome]:
    """Return the checks that need the rows of a service whose database is not known."""
    if surroundings.service_url is None or surroundings.database is not None:
        return {}
    why = "not asked: it needs the rows of the service, and no --database-url names them"
    unasked = CheckOutcome(Status.NOT_RUN, why)
    return {check.name: unasked for check in asked if ROWS in check.wants}


def _ended(done: Done) -> str:
    """Return how a run ended by the exit code of its program; empty where that was ended."""
    if done.finished is None:
        return ""
    return FAILED if done.finished.code else COMPLETED


def _lose(
    outcome: CellOutcome, doer: Doer, action: Action, answered: dict[str, CheckOutcome]
) -> Done:
    """Do the first run while answers get lost, and note what came of each kind of request."""
    lossy = run_losing_answers(doer, action)
    outcome.evidence |= lossy.evidence
    answered |= lossy.checks
    # What is read back is the attempt that completed.
    doer.done[action.name] = lossy.done
    return lossy.done


def _made_by(action: Action, reads: Sequence[Action], asked: Iterable[Check]) -> list[Check]:
    """Return the checks that a read makes: those it names, or the last one what is left."""
    named = {name for one in reads for name in one.checks}
    if action is reads[-1]:
        return [check for check in asked if check.name in action.checks or check.name not in named]
    return [check for check in asked if check.name in action.checks]


def _read(
    outcome: CellOutcome,
    doer: Doer,
    checks: Sequence[Check],
    answered: dict[str, CheckOutcome],
    name: str,
) -> None:
    """Make checks on what the actions left, unless what they judge is not as it should be."""
    for check in checks:
        kept_by = _kept_by(check, doer)
        if check.name not in answered and kept_by:
            why = doer.did_not_end(kept_by)
            answered[check.name] = CheckOutcome(Status.NOT_RUN, why, because=kept_by)
    left = [check for check in checks if check.name not in answered]
    if left:
        answered |= _read_back(outcome, doer, left, name)


def _kept_by(check: Check, doer: Doer) -> str:
    """Return the action that did not end as it should, so that a check has nothing to judge."""
    judged = doer.done.get(check.action)
    if judged is None or judged.wrong is not None:
        return check.action
    # A command without a run of its own is checked against the first one.
    if not judged.run_id and "run" in check.wants and doer.done[FIRST_RUN].wrong:
        return FIRST_RUN
    return ""


def _read_back(
    outcome: CellOutcome, doer: Doer, asked: Sequence[Check], name: str
) -> dict[str, CheckOutcome]:
    """Read what the actions left and return the checks that were asked."""
    last = name == READBACK
    outcome.evidence[name] = doer.surroundings.logs / f"{name}.txt"
    names = tuple(check.name for check in asked)
    # Listed by the last read only: until then actions may change the run.
    request = Request(outcome.cell, outcome.run_id, names, doer.done, listed=last)
    try:
        (answer,) = read_runs(doer.surroundings, [request], name=name, deadline=doer.deadline)
    except ClientTimeoutError as error:
        return dict.fromkeys(names, CheckOutcome(Status.TIMEOUT, str(error)))
    except ClientError as error:
        return dict.fromkeys(names, CheckOutcome(Status.FAIL, str(error)))
    if last:
        return _with_tags(outcome, doer, _with_listing(outcome, asked, answer))
    return answer.checks


def _with_tags(
    outcome: CellOutcome, doer: Doer, checks: dict[str, CheckOutcome]
) -> dict[str, CheckOutcome]:
    """Return the checks: a run that lacks a tag the harness gave it is not as it was written."""
    if outcome.written is None or checks.get(RUN_CHECK) != CheckOutcome(Status.PASS):
        return checks
    given = doer.given_tags(doer.cell.probe.action(FIRST_RUN))
    lost = [tag for tag in given if tag not in outcome.written.inventory["tags"]]
    wrong = f"the run was given the tags {lost}, and its client does not list them" if lost else ""
    if doer.surroundings.database is not None:
        rows = run_rows(doer.surroundings.database, doer.cell.probe.flow, outcome.run_id)
        wrong = wrong or missing_rows({"runs_v3": [{"tags": list(given)}]}, rows)
    return {**checks, RUN_CHECK: CheckOutcome(Status.FAIL, wrong)} if wrong else checks


def _with_listing(
    outcome: CellOutcome, asked: Sequence[Check], answer: Answer
) -> dict[str, CheckOutcome]:
    """Note the run as its client listed it, and return the checks: of a run that can be listed."""
    if answer.inventory is not None:
        passed = [
            check.name
            for check in asked
            # Only these can be made again at later stages, which know no outputs of actions.
            if check.of_first_run and answer.checks[check.name].status is Status.PASS
        ]
        outcome.written = WrittenRun(outcome.cell, outcome.run_id, answer.inventory, tuple(passed))
    # A run that its own client cannot list was not read back, whatever single checks say.
    elif answer.checks.get(RUN_CHECK) == CheckOutcome(Status.PASS):
        status = Status.TIMEOUT if answer.late else Status.FAIL
        unlisted = CheckOutcome(status, f"the run cannot be listed: {answer.error}")
        return {**answer.checks, RUN_CHECK: unlisted}
    return answer.checks


def _read_again(
    outcome: CellOutcome, surroundings: Surroundings, earlier: Sequence[EarlierRun]
) -> None:
    """Read the runs of earlier stages, in a time of their own: they are not the cell's."""
    if not earlier:
        return
    requests = [
        Request(again.run.cell, again.run.run_id, again.run.passed if again.checked else ())
        for again in earlier
    ]
    outcome.evidence["reread"] = surroundings.logs / "reread.txt"
    # Anew from here: a slow cell must not leave too little time for them.
    deadline = time.monotonic() + surroundings.timeout
    try:
        answers = read_runs(surroundings, requests, name="reread", deadline=deadline)
    except (ClientTimeoutError, ClientError) as error:
        outcome.note_not_read_again(error)
        return
    for again, answer in zip(earlier, answers, strict=True):
        outcome.reread_problems += problems(outcome.cell.client.name, again.run, answer)
    outcome.rereads = len(earlier)


def _keep_service_log(outcome: CellOutcome, surroundings: Surroundings, start: int) -> None:
    """Keep what the service said since its log had a size."""
    if surroundings.service_log is not None and surroundings.service_log.exists():
        outcome.evidence["service"] = surroundings.logs / "service.txt"
        outcome.evidence["service"].write_bytes(_grown(surroundings.service_log, start))


def _keep_rows(outcome: CellOutcome, surroundings: Surroundings) -> None:
    """Keep the rows the run wrote."""
    if surroundings.database is not None and outcome.run_id:
        rows = run_rows(surroundings.database, outcome.cell.probe.flow, outcome.run_id)
        outcome.evidence["rows"] = surroundings.logs / "rows.json"
        text = KNOWN.text(json.dumps(rows, indent=1))
        outcome.evidence["rows"].write_text(text, encoding="utf-8")


def _grown(log: Path, start: int) -> bytes:
    """Return what a log has gained since it had a size: the end of it, where that is much."""
    with log.open("rb") as file:
        more = file.seek(0, os.SEEK_END) - OF_PROGRAM - start
        file.seek(start + max(0, more))
        gained = file.read()
    # Not from within a line.
    return (
        note(f"{more} bytes are left out").encode() + gained.partition(b"\n")[2]
        if more > 0
        else gained
    )


def _size(path: Path | None) -> int:
    return path.stat().st_size if path is not None and path.exists() else 0


def discard_work(surroundings: Surroundings) -> None:
    """Remove the cell's own folder, when nobody will look at it."""
    try:
        shutil.rmtree(surroundings.work)
    except OSError as error:
        raise InfraError(f"{surroundings.work} could not be removed: {error}") from error
