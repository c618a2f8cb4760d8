"""``nox -s ui -- --check``: what the UIs show is judged, run by run, and written to a journal."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from harness.errors import InfraError
from harness.journal import Entry, Journal, now
from harness.outcome import CheckOutcome, Status, cell_status
from harness.report.files import write_reports
from harness.report.summary import all_green
from harness.report.terminal import Screen
from harness.ui import RunningUI
from harness.ui.acceptance import CHECKS, judge
from harness.ui.guard import DataGuard
from harness.ui.options import UIOptions
from harness.ui.page import CHECKS as PAGE_CHECKS
from harness.ui.page import look, taken
from harness.ui.sample import SampleRun
from harness.versions import Catalog, Service

DATA_CHECK = "data_kept"
"""The check of every run of a kept stack: reading local data does not take it away."""


class Checking:
    """The journal of one run of ``ui``, filled UI by UI.

    Args:
        run: the run's id.
        folder: of its results.
        options: what is asked for.
        catalog: what there is.
        screen: where to print.
        source: the run whose stack is shown; empty for another database.
        secrets: what must not be written down.
    """

    def __init__(
        self,
        run: str,
        folder: Path,
        options: UIOptions,
        catalog: Catalog,
        screen: Screen,
        *,
        source: str,
        secrets: Sequence[str],
    ) -> None:
        self._run = run
        self._folder = folder
        self._options = options
        self._kinds = {service.name: service.kind for service in catalog.services}
        self._screen = screen
        self._source = source
        self._journal = Journal(folder / "journal.jsonl", secrets)
        self._entries: list[Entry] = []
        self._planned = 0

    def begin(self, versions: Sequence[Service], samples: Sequence[SampleRun], over: str) -> None:
        """Write down what is planned: every sample with every UI.

        Args:
            versions: the UIs.
            samples: the runs that each must show.
            over: what they are deployed over, and where they come from, in words.
        """
        self._planned = len(versions) * len(samples)
        self._append(
            "run",
            run=self._run,
            session="ui",
            options=list(self._options.given),
            backend=over,
            clients=list(dict.fromkeys(sample.client for sample in samples)),
            services=list(dict.fromkeys(sample.service for sample in samples)),
            planned=self._planned,
        )

    def judge(
        self, running: RunningUI, samples: Sequence[SampleRun], guard: DataGuard | None
    ) -> None:
        """Look for every sample in one UI.

        Args:
            running: the UI.
            samples: what it must show.
            guard: brings back local data that it takes away; None where there is none to guard.

        Raises:
            InfraError: when the UI ends or cannot be reached.
        """
        for _, group in groupby(samples, key=attrgetter("client")):
            try:
                self._judge_client(running, list(group), guard)
            except InfraError:
                running.check_alive()
                raise

    def _judge_client(
        self, running: RunningUI, samples: Sequence[SampleRun], guard: DataGuard | None
    ) -> None:
        """Look for the samples of one client, in the page and by the API."""
        pictures = self._folder / "pictures" / f"ui-{running.version.replace('/', '-')}"
        started = time.monotonic()
        pages = look(running.page, running.api, samples, pictures)
        each = (time.monotonic() - started) / len(samples)
        gone = guard.put_back() if guard else []
        for sample, page in zip(samples, pages, strict=True):
            started = time.monotonic()
            checks = {**judge(running.api, sample), **page}
            if guard is not None:
                gone += guard.put_back()
                checks[DATA_CHECK] = _data_kept([path for path in gone if _is_of(sample, path)])
            evidence = {"ui": running.log, **taken(sample, pictures)}
            places = {kind: str(path.relative_to(self._folder)) for kind, path in evidence.items()}
            seconds = time.monotonic() - started + each
            self._cell(running.version, sample, checks, seconds, places)

    def give_up(self, version: str, samples: Sequence[SampleRun], why: str) -> None:
        """Write down, for every sample that was not judged in a UI, why it could not be."""
        done = {entry["id"] for entry in self._entries if entry["kind"] == "cell"}
        for sample in samples:
            if _cell_id(version, sample) not in done:
                checks = dict.fromkeys((*CHECKS, *PAGE_CHECKS), CheckOutcome(Status.INFRA, why))
                self._cell(version, sample, checks, 0.0, {})

    def end(self) -> int:
        """Write the reports and print the end; return 1 when something is not as expected."""
        self._append("end", run=self._run, finished=now())
        self._journal.close()
        write_reports(self._entries, self._folder)
        self._screen.end(self._entries, self._folder)
        return int(not all_green(self._entries))

    def _cell(
        self,
        version: str,
        sample: SampleRun,
        checks: Mapping[str, CheckOutcome],
        seconds: float,
        evidence: Mapping[str, str],
    ) -> None:
        entry = self._append(
            "cell",
            id=_cell_id(version, sample),
            run=self._run,
            session=f"ui {version}",
            client=sample.client,
            service=sample.service,
            service_kind=self._kinds.get(sample.service),
            datastore=sample.datastore,
            probe=sample.probe or sample.flow,
            stage=0,
            status=cell_status(checks).value,
            checks={
                name: {"status": outcome.status.value, "reason": outcome.reason}
                for name, outcome in checks.items()
            },
            flow_run=sample.pathspec,
            seconds=round(seconds, 2),
            evidence=dict(evidence),
            rerun=self._rerun(version, sample.client),
        )
        done = sum(entry["kind"] == "cell" for entry in self._entries)
        self._screen.cell(entry, done, self._planned)

    def _rerun(self, version: str, client: str) -> str:
        """Return the command that looks for this client's runs in this UI again."""
        options = self._options
        words = ["--check", "--ui-version", version, "--metaflow", client]
        words += ["--database-url", options.database_url] if options.database_url else []
        words += ["--from", self._source] if self._source else []
        words += options.origin_flags
        return f"nox -s ui -- {shlex.join(words)}"

    def _append(self, kind: str, **fields: object) -> Entry:
        entry = self._journal.append(kind, **fields)
        self._entries.append(entry)
        return entry


def _data_kept(gone: Sequence[str]) -> CheckOutcome:
    if not gone:
        return CheckOutcome(Status.PASS)
    more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
    return CheckOutcome(
        Status.FAIL, f"the UI removed local data while it was read: {gone[0]}{more}; put back"
    )


def _is_of(sample: SampleRun, path: str) -> bool:
    """Tell whether a file of the local datastore, FLOW/RUN/STEP/…, is of a run."""
    return f"/{sample.pathspec}/" in path


def _cell_id(version: str, sample: SampleRun) -> str:
    """Return the stable name: ``ui/v2.5.1/2.19.39/v2.3.0/local/basics``."""
    place = (version, sample.client, sample.service, sample.datastore, sample.probe or sample.flow)
    return "/".join(["ui", *(part.replace("/", "-") for part in place)])
