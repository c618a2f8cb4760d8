"""One cell: run the probe's flow, read it back by the same client, compare with the rows."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.cell.rows import missing_rows
from harness.database import Address
from harness.database.rows import run_rows
from harness.errors import InfraError
from harness.outcome import CheckOutcome, Status, cell_status
from harness.plan import Cell
from harness.probes import RUN_CHECK
from harness.processes import ManagedProcess, tail

READBACK = Path(__file__).with_name("readback.py")


@dataclass(frozen=True)
class Surroundings:
    """What a cell runs in.

    Attributes:
        python: the client's interpreter.
        work: folder of the cell's own for HOME, caches and temporary files.
        logs: folder for its evidence.
        datastore: environment variables of the datastore.
        mark: what its processes are marked with.
        timeout: seconds the whole cell may take.
        service_url: the metadata API; None for local metadata.
        database: where the rows are; None for local metadata.
        service_log: the file whose growth during the cell is its evidence; None without.
        tags: put on the run beside the probe's own.
    """

    python: Path
    work: Path
    logs: Path
    datastore: Mapping[str, str]
    mark: str
    timeout: float
    service_url: str | None = None
    database: Address | None = None
    service_log: Path | None = None
    tags: tuple[str, ...] = ()


@dataclass
class CellOutcome:
    """What came of a cell.

    Attributes:
        run_id: the id the client gave its run; empty when it never got one.
        evidence: what to look at: names of files, by kind.
        seconds: wall time.
    """

    cell: Cell
    checks: dict[str, CheckOutcome]
    run_id: str = ""
    seconds: float = 0.0
    evidence: dict[str, Path] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """The cell's status from its checks."""
        return cell_status(self.checks)

    @property
    def pathspec(self) -> str:
        """``FLOW/RUN``, as the client names the run; empty when there was none."""
        return f"{self.cell.probe.flow}/{self.run_id}" if self.run_id else ""


def not_run(cell: Cell, status: Status, reason: str) -> CellOutcome:
    """Return the outcome of a cell that never started, all of its checks for the same reason."""
    return CellOutcome(
        cell, {check.name: CheckOutcome(status, reason) for check in cell.probe.checks}
    )


def client_environment(surroundings: Surroundings) -> dict[str, str]:
    """Return the whole environment of a client: only what it needs, nothing of this machine's.

    facts: USER must be set; METAFLOW_CLIENT_CACHE_PATH is otherwise one folder shared by all;
    the environment's bin comes first on PATH because ``@parallel`` spawns ``python``.
    """
    work = surroundings.work
    environment = {
        "PATH": f"{surroundings.python.parent}{os.pathsep}{os.defpath}",
        "LANG": "C.UTF-8",
        "USER": "compat",
        "HOME": str(work / "home"),
        "TMPDIR": str(work / "tmp"),
        "METAFLOW_HOME": str(work / "home" / ".metaflowconfig"),
        "METAFLOW_CLIENT_CACHE_PATH": str(work / "cache"),
        **surroundings.datastore,
    }
    if surroundings.service_url is None:
        environment["METAFLOW_DEFAULT_METADATA"] = "local"
    else:
        environment["METAFLOW_DEFAULT_METADATA"] = "service"
        environment["METAFLOW_SERVICE_URL"] = surroundings.service_url
    return environment


def run_cell(cell: Cell, surroundings: Surroundings) -> CellOutcome:
    """Run one cell and return what came of it; nothing it started is left running."""
    started = time.monotonic()
    for name in ("home/.metaflowconfig", "tmp", "cache"):
        (surroundings.work / name).mkdir(parents=True, exist_ok=True)
    surroundings.logs.mkdir(parents=True, exist_ok=True)
    log_start = _size(surroundings.service_log)
    outcome = CellOutcome(cell, {})
    outcome.checks = _Steps(outcome, surroundings, started + surroundings.timeout).run()
    outcome.seconds = round(time.monotonic() - started, 2)
    if not outcome.status.expected:
        _keep_evidence(outcome, surroundings, log_start)
    return outcome


class _Steps:
    """The three steps of a cell, in the time that is left."""

    def __init__(self, outcome: CellOutcome, surroundings: Surroundings, deadline: float) -> None:
        self.outcome = outcome
        self.cell = outcome.cell
        self.around = surroundings
        self.deadline = deadline
        self.asked = [c for c in self.cell.probe.checks if not self.cell.unsupported(c)]

    def run(self) -> dict[str, CheckOutcome]:
        checks = {
            check.name: CheckOutcome(Status.UNSUPPORTED, self.cell.unsupported(check))
            for check in self.cell.probe.checks
            if check not in self.asked
        }
        failed = self._flow() if self.asked else None
        if failed is not None:
            checks |= self._after_failed_run(failed)
        elif self.asked:
            checks |= self._read_back()
        return {check.name: checks[check.name] for check in self.cell.probe.checks}

    def _after_failed_run(self, failed: CheckOutcome) -> dict[str, CheckOutcome]:
        why = CheckOutcome(Status.NOT_RUN, "the run did not end well")
        return {check.name: failed if check.name == RUN_CHECK else why for check in self.asked}

    def _flow(self) -> CheckOutcome | None:
        """Run the flow; None when it ended well."""
        run_id_file = self.around.work / "run-id"
        tags = [*self.cell.probe.tags, *self.around.tags]
        # Old clients run pylint on the flow first, which says nothing of the service.
        command = [str(self.around.python), str(self.cell.probe.path), "--no-pylint", "run"]
        command += ["--run-id-file", str(run_id_file)]
        command += [part for tag in tags for part in ("--tag", tag)]
        code = self._run("flow", command)
        if run_id_file.exists():
            self.outcome.run_id = run_id_file.read_text(encoding="utf-8").strip()
        if code is None:
            return self._timed_out("the flow")
        if code:
            return CheckOutcome(
                Status.FAIL, f"the flow ended with exit code {code}: {self._last_words('flow')}"
            )
        if not self.outcome.run_id:
            return CheckOutcome(Status.FAIL, "the flow ended well but wrote no run id")
        return None

    def _read_back(self) -> dict[str, CheckOutcome]:
        request, answer = self.around.work / "request.json", self.around.work / "answer.json"
        question = {
            "flow_file": str(self.cell.probe.path),
            "flow": self.cell.probe.flow,
            "run_id": self.outcome.run_id,
            "checks": [check.name for check in self.asked],
        }
        request.write_text(json.dumps(question), encoding="utf-8")
        command = [str(self.around.python), str(READBACK), str(request), str(answer)]
        code = self._run("readback", command)
        if code is None:
            return dict.fromkeys(question["checks"], self._timed_out("reading back"))
        if code:
            reason = f"reading back ended with exit code {code}: {self._last_words('readback')}"
            return dict.fromkeys(question["checks"], CheckOutcome(Status.FAIL, reason))
        answers = json.loads(answer.read_text(encoding="utf-8"))
        return {name: self._with_rows(answers[name]) for name in question["checks"]}

    def _with_rows(self, answer: dict[str, Any]) -> CheckOutcome:
        """Believe a check only when the rows it promises are in the database."""
        if answer["status"] != "pass":
            return CheckOutcome(Status.FAIL, answer["reason"])
        if self.around.database is None:
            return CheckOutcome(Status.PASS)
        rows = run_rows(self.around.database, self.cell.probe.flow, self.outcome.run_id)
        missing = missing_rows(answer["rows"], rows)
        return CheckOutcome(Status.FAIL, missing) if missing else CheckOutcome(Status.PASS)

    def _run(self, name: str, command: list[str]) -> int | None:
        """Run a step of the cell; return its exit code, or None when the time is over."""
        log = self.around.logs / f"{name}.txt"
        self.outcome.evidence[name] = log
        process = ManagedProcess(
            command,
            env=client_environment(self.around),
            mark=self.around.mark,
            log=log,
            cwd=self.around.work,
        )
        try:
            return process.wait(max(0.0, self.deadline - time.monotonic()))
        finally:
            process.kill()

    def _timed_out(self, what: str) -> CheckOutcome:
        return CheckOutcome(
            Status.TIMEOUT, f"{what} was not done within {self.around.timeout:g} s (--timeout)"
        )

    def _last_words(self, name: str) -> str:
        return " / ".join(tail(self.outcome.evidence[name], 3).split("\n"))


def _keep_evidence(outcome: CellOutcome, surroundings: Surroundings, log_start: int) -> None:
    """Keep the rows the run wrote and what the service said meanwhile."""
    if surroundings.service_log is not None and surroundings.service_log.exists():
        outcome.evidence["service"] = surroundings.logs / "service.txt"
        with surroundings.service_log.open("rb") as log:
            log.seek(log_start)
            outcome.evidence["service"].write_bytes(log.read())
    if surroundings.database is not None and outcome.run_id:
        rows = run_rows(surroundings.database, outcome.cell.probe.flow, outcome.run_id)
        outcome.evidence["rows"] = surroundings.logs / "rows.json"
        outcome.evidence["rows"].write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _size(path: Path | None) -> int:
    return path.stat().st_size if path is not None and path.exists() else 0


def discard_work(surroundings: Surroundings) -> None:
    """Remove the cell's own folder, when nobody will look at it."""
    try:
        shutil.rmtree(surroundings.work)
    except OSError as error:
        raise InfraError(f"{surroundings.work} could not be removed: {error}") from error
