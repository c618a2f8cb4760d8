"""One cell: run the probe's flow, read it back by the same client, compare with the rows."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.cell.client import ClientError, ClientTimeoutError, Surroundings, run_program
from harness.cell.reading import Again, Request, WrittenRun, problems, read_runs
from harness.database.rows import run_rows
from harness.errors import InfraError
from harness.outcome import CheckOutcome, Status, cell_status
from harness.plan import Cell
from harness.probes import FAILED, RUN_CHECK


@dataclass
class CellOutcome:
    """What came of a cell.

    Attributes:
        run_id: the id the client gave its run; empty when it never got one.
        seconds: wall time, without that of reading earlier runs again.
        evidence: what to look at: names of files, by kind.
        written: the run, when it was read back; None when it was not.
        rereads: how many runs of earlier stages were read again.
        reread_problems: what was no longer as it was in them.
    """

    cell: Cell
    checks: dict[str, CheckOutcome] = field(default_factory=dict)
    run_id: str = ""
    seconds: float = 0.0
    evidence: dict[str, Path] = field(default_factory=dict)
    written: WrittenRun | None = None
    rereads: int = 0
    reread_problems: list[str] = field(default_factory=list)

    @property
    def status(self) -> Status:
        """The cell's status from its checks."""
        return cell_status(self.checks)

    @property
    def pathspec(self) -> str:
        """``FLOW/RUN``, as the client names the run; empty when there was none."""
        return f"{self.cell.probe.flow}/{self.run_id}" if self.run_id else ""

    def make_infra(self, reason: str, earlier: Sequence[Again] = ()) -> None:
        """Blame a part of the harness that broke for all checks; what else was noted stays.

        Args:
            reason: what broke.
            earlier: runs of earlier stages that were to be read again.
        """
        self.checks = not_run(self.cell, Status.INFRA, reason).checks
        if earlier and not (self.rereads or self.reread_problems):
            self.note_not_read_again(reason)

    def note_not_read_again(self, reason: object) -> None:
        """Note that runs of earlier stages were not read again, and why."""
        client = self.cell.client.name
        self.reread_problems.append(f"client {client}: earlier runs not read again: {reason}")


def not_run(cell: Cell, status: Status, reason: str) -> CellOutcome:
    """Return the outcome of a cell that never started, all of its checks for the same reason."""
    return CellOutcome(cell, {check.name: CheckOutcome(status, reason) for check in cell.checks})


def run_cell(outcome: CellOutcome, around: Surroundings, earlier: Sequence[Again] = ()) -> None:
    """Run one cell and note what comes of it; nothing it started is left running.

    Args:
        outcome: of the cell to run; what was noted before an error stays.
        around: what it runs in.
        earlier: runs this client wrote at earlier stages, to be read again afterwards.

    Raises:
        InfraError: when a part of the harness breaks, or the run is being ended.
        psycopg2.Error: when the rows cannot be read.
    """
    started = time.monotonic()
    around.make_folders()
    log_start = _size(around.service_log)
    try:
        _make_checks(outcome, around, started + around.timeout)
    finally:
        outcome.seconds = round(time.monotonic() - started, 2)
        if not outcome.status.expected:
            _keep_service_log(outcome, around, log_start)
    if not outcome.status.expected:
        _keep_rows(outcome, around)
    _read_again(outcome, around, earlier)


def _make_checks(outcome: CellOutcome, around: Surroundings, deadline: float) -> None:
    asked = _asked(outcome.cell)
    answered = _run_flow(outcome, around, deadline) if asked else {}
    if asked and not answered:
        answered = _read_back(outcome, around, deadline, asked)
    outcome.checks = _in_order(outcome.cell, asked, answered)


def _run_flow(
    outcome: CellOutcome, around: Surroundings, deadline: float
) -> dict[str, CheckOutcome]:
    """Run the flow; return the outcome of ``run`` if it ended as it should not, else nothing."""
    cell = outcome.cell
    run_id_file = around.work / "run-id"
    # Old clients run pylint on the flow first, which says nothing of the service.
    arguments = [str(cell.probe.path), "--no-pylint", "run", "--run-id-file", str(run_id_file)]
    arguments += [part for tag in (*cell.probe.tags, *around.tags) for part in ("--tag", tag)]
    outcome.evidence["flow"] = around.logs / "flow.txt"
    must_fail = cell.probe.ends == FAILED
    wrong: CheckOutcome | None = None
    failure = ""
    try:
        run_program(around, arguments, name="flow", deadline=deadline)
    except ClientTimeoutError as error:
        wrong = CheckOutcome(Status.TIMEOUT, str(error))
    except ClientError as error:
        failure = str(error)
        wrong = None if must_fail else CheckOutcome(Status.FAIL, failure)
    else:
        if must_fail:
            wrong = CheckOutcome(Status.FAIL, "the flow ended well, and it should fail")
    if run_id_file.exists():
        outcome.run_id = run_id_file.read_text(encoding="utf-8").strip()
    elif wrong is None:
        how = (
            f"failed before it had a run: {failure}"
            if failure
            else "ended well but wrote no run id"
        )
        wrong = CheckOutcome(Status.FAIL, f"the flow {how}")
    return {RUN_CHECK: wrong} if wrong else {}


def _read_back(
    outcome: CellOutcome, around: Surroundings, deadline: float, asked: tuple[str, ...]
) -> dict[str, CheckOutcome]:
    """Read the new run and return its checks."""
    outcome.evidence["readback"] = around.logs / "readback.txt"
    request = Request(outcome.cell, outcome.run_id, asked)
    try:
        (answer,) = read_runs(around, [request], name="readback", deadline=deadline)
    except ClientTimeoutError as error:
        return dict.fromkeys(asked, CheckOutcome(Status.TIMEOUT, str(error)))
    except ClientError as error:
        return dict.fromkeys(asked, CheckOutcome(Status.FAIL, str(error)))
    if answer.inventory is not None:
        passed = [name for name, check in answer.checks.items() if check.status is Status.PASS]
        outcome.written = WrittenRun(outcome.cell, outcome.run_id, answer.inventory, tuple(passed))
    elif answer.checks.get(RUN_CHECK) == CheckOutcome(Status.PASS):
        status = Status.TIMEOUT if answer.late else Status.FAIL
        unlisted = CheckOutcome(status, f"the run cannot be listed: {answer.error}")
        return {**answer.checks, RUN_CHECK: unlisted}
    return answer.checks


def _read_again(outcome: CellOutcome, around: Surroundings, earlier: Sequence[Again]) -> None:
    """Read the runs of earlier stages, in a time of their own: they are not the cell's."""
    if not earlier:
        return
    requests = [
        Request(again.run.cell, again.run.run_id, again.run.passed if again.checked else ())
        for again in earlier
    ]
    outcome.evidence["reread"] = around.logs / "reread.txt"
    deadline = time.monotonic() + around.timeout
    try:
        answers = read_runs(around, requests, name="reread", deadline=deadline)
    except (ClientTimeoutError, ClientError) as error:
        outcome.note_not_read_again(error)
        return
    for again, answer in zip(earlier, answers, strict=True):
        outcome.reread_problems += problems(outcome.cell.client.name, again.run, answer)
    outcome.rereads = len(earlier)


def _asked(cell: Cell) -> tuple[str, ...]:
    return tuple(check.name for check in cell.checks if not cell.unsupported(check))


def _in_order(
    cell: Cell, asked: Sequence[str], answered: dict[str, CheckOutcome]
) -> dict[str, CheckOutcome]:
    """Return the outcome of every check of the probe, in the probe's order."""
    checks = {}
    for check in cell.checks:
        if check.name not in asked:
            checks[check.name] = CheckOutcome(Status.UNSUPPORTED, cell.unsupported(check))
        else:
            why = CheckOutcome(
                Status.NOT_RUN, f"the run did not end as it should: {cell.probe.ends}"
            )
            checks[check.name] = answered.get(check.name, why)
    return checks


def _keep_service_log(outcome: CellOutcome, around: Surroundings, start: int) -> None:
    """Keep what the service said since its log had a size."""
    if around.service_log is not None and around.service_log.exists():
        outcome.evidence["service"] = around.logs / "service.txt"
        with around.service_log.open("rb") as log:
            log.seek(start)
            outcome.evidence["service"].write_bytes(log.read())


def _keep_rows(outcome: CellOutcome, around: Surroundings) -> None:
    """Keep the rows the run wrote."""
    if around.database is not None and outcome.run_id:
        rows = run_rows(around.database, outcome.cell.probe.flow, outcome.run_id)
        outcome.evidence["rows"] = around.logs / "rows.json"
        outcome.evidence["rows"].write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _size(path: Path | None) -> int:
    return path.stat().st_size if path is not None and path.exists() else 0


def discard_work(around: Surroundings) -> None:
    """Remove the cell's own folder, when nobody will look at it."""
    try:
        shutil.rmtree(around.work)
    except OSError as error:
        raise InfraError(f"{around.work} could not be removed: {error}") from error
