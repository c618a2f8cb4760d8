"""``nox -s ui -- --check``: what the UIs show is judged, run by run, and written to a journal."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import msgspec
from packaging.version import InvalidVersion, Version

from harness.catalog.releases import Catalog, Service
from harness.core import judging
from harness.core.actions import COMPLETED
from harness.core.axes import Point, cell_id
from harness.core.entries import Begun, CellEntry, Planned, PlannedCell, now
from harness.core.expectations import Judged
from harness.core.outcome import CheckOutcome, Status, cell_status
from harness.machine.errors import InfraError
from harness.machine.processes import moments
from harness.proof.ui.acceptance import judge
from harness.proof.ui.checks import DATA_CHECK, UI_CHECKS
from harness.proof.ui.page import look, taken
from harness.proof.ui.sample_run import SampleRun
from harness.report.terminal import Screen
from harness.run.record import Record
from harness.stack.database.external import ExternalPostgres
from harness.stack.database.server import Address
from harness.ui.backend import blaming_ui
from harness.ui.data_links import DataLinks
from harness.ui.launcher import RunningUI
from harness.ui.live_runs import WRITER
from harness.ui.options import UIOptions


class Checking:
    """What one run of ``ui`` finds, filled in UI by UI.

    Args:
        record: of the run.
        options: what is asked for.
        catalog: what there is.
        screen: where to print.
        source: the run whose stack is shown; empty for another database.
        database: which the UIs are deployed over, from this machine.
    """

    def __init__(
        self,
        record: Record,
        options: UIOptions,
        catalog: Catalog,
        screen: Screen,
        *,
        source: str,
        database: Address,
    ) -> None:
        self._record = record
        self._options = options
        self._services = {service.name: service for service in catalog.services}
        self._screen = screen
        self._source = source
        self._database = database

    def begin(
        self, versions: Mapping[Service, Sequence[str]], samples: Sequence[SampleRun], over: str
    ) -> None:
        """Write down what is planned: every sample with every UI.

        Args:
            versions: the UIs, each with what is noted of it.
            samples: the runs that each must show.
            over: what they are deployed over, and where they come from, in words.
        """
        self._record.add(
            Begun(
                at=now(),
                run=self._record.run,
                session=_SESSION,
                options=list(self._options.given),
                backend=over,
                clients=list(dict.fromkeys(sample.client for sample in samples)),
                services=list(dict.fromkeys(sample.service for sample in samples)),
            )
        )
        self._record.add(
            Planned(
                at=now(),
                run=self._record.run,
                cells=[self._planned(one, sample) for one in versions for sample in samples],
                asked={_probe(sample): list(UI_CHECKS) for sample in samples},
            )
        )
        for version, notes in versions.items():
            for note in notes:
                self._record.note(version.name, note)

    def judge(
        self,
        version: Service,
        running: RunningUI,
        samples: Sequence[SampleRun],
        links: DataLinks | None,
    ) -> None:
        """Look for every sample in one UI.

        Args:
            version: of the UI.
            running: the UI.
            samples: what it must show.
            links: brings back local data that it takes away; None where there is none.

        Raises:
            ServiceError: when the UI ends by itself.
            InfraError: when it ends otherwise, or cannot be reached.
        """
        # Client by client, so that a UI that breaks off leaves whole rows of the grid.
        for _, group in groupby(samples, key=attrgetter("client")):
            with blaming_ui(version.name, self._database):
                try:
                    self._judge_client(version, running, list(group), links)
                except InfraError:
                    # Connections break a moment before who had them has ended.
                    for _ in moments(_END_SECONDS):
                        running.check_alive()
                    raise

    def _judge_client(
        self,
        version: Service,
        running: RunningUI,
        samples: Sequence[SampleRun],
        links: DataLinks | None,
    ) -> None:
        """Look for the samples of one client, by the API and then in the page.

        The API first: what a page opens, a log say, can be in the way of what is asked later.
        """
        pictures = self._record.folder / "pictures" / f"ui-{version.slug}"
        gone: list[str] = []
        answers: list[tuple[dict[str, CheckOutcome], float]] = []
        for sample in samples:
            started = time.monotonic()
            answers.append((judge(running.api, sample), time.monotonic() - started))
            gone += links.put_back() if links else []
        started = time.monotonic()
        pages = look(
            running.page, running.api, samples, pictures, mark=f"{self._record.run}/browser"
        )
        gone += links.put_back() if links else []
        # By what it was asked last it may have ended, and nobody waits for an answer.
        running.check_alive()
        # One browser looks at all of them; what it takes is shared out evenly.
        each = (time.monotonic() - started) / len(samples)
        for sample, (answer, seconds), page in zip(samples, answers, pages, strict=True):
            checks = {**answer, **page}
            if links is not None:
                checks[DATA_CHECK] = _data_kept(sample, gone, checks["logs"])
            evidence = {"ui": running.log, **taken(sample, pictures)}
            self._cell(version, sample, checks, seconds + each, evidence)

    def left(self, version: Service, samples: Sequence[SampleRun]) -> list[SampleRun]:
        """Return those of the samples that have not been judged in a UI."""
        found = self._record.view.finished
        judged = {entry.id for entry in found if entry.status is not Status.INFRA}
        return [one for one in samples if self._planned(version, one).id not in judged]

    def give_up(
        self, version: Service, samples: Sequence[SampleRun], why: CheckOutcome, log: Path
    ) -> None:
        """Write down the same outcome of each check, for every sample that a UI was not asked for.

        Args:
            version: of the UI.
            samples: the runs.
            why: the outcome.
            log: of the UI.
        """
        for sample in samples:
            self._cell(version, sample, dict.fromkeys(UI_CHECKS, why), 0.0, {"ui": log})

    def end(self) -> int:
        """Write the reports and print the end; return 1 when something is not as expected."""
        refused = self._record.end()
        self._screen.end(self._record.view, self._record.folder)
        for line in refused:
            self._screen.say(line)
        return int(not self._record.view.green)

    def _cell(
        self,
        version: Service,
        sample: SampleRun,
        checks: Mapping[str, CheckOutcome],
        seconds: float,
        evidence: Mapping[str, Path],
    ) -> None:
        places = {
            kind: str(path.relative_to(self._record.folder)) for kind, path in evidence.items()
        }
        service = self._services.get(sample.service)
        checks = judging.apply(
            self._options.expectations,
            checks,
            Judged(_version(sample.client), service, _probe(sample), version.version),
            today=datetime.now(timezone.utc).date(),
        )
        planned = self._planned(version, sample)
        entry = self._record.add(
            CellEntry(
                **msgspec.structs.asdict(planned),
                at=now(),
                run=self._record.run,
                status=cell_status(checks),
                checks=dict(checks),
                flow_run=sample.pathspec,
                seconds=round(seconds, 2),
                evidence=places,
            )
        )
        self._screen.cell(entry, self._record.view.totals.total(), self._record.view.planned)

    def _planned(self, version: Service, sample: SampleRun) -> PlannedCell:
        """Return what is asked of a UI about a run."""
        service = self._services.get(sample.service)
        point = Point(
            client=sample.client,
            service=sample.service,
            datastore=sample.datastore,
            ui=version.name,
            service_deps=version.deps.name,
            deps_build=version.deps.digest,
        )
        return PlannedCell(
            **msgspec.structs.asdict(point),
            id=f"{cell_id(_SESSION, point, _probe(sample))}{_named_state(sample)}",
            session=_SESSION,
            service_kind=service.kind if service else None,
            probe=_probe(sample),
            rerun=rerun_line(version.name, sample, self._options, self._source),
        )


_SESSION = "ui"
_END_SECONDS = 2.0


def _named_state(sample: SampleRun) -> str:
    """Return what an id says of a run's state: nothing of one that ended well at once."""
    return "" if sample.state == COMPLETED else f"/state={sample.state}"


def _probe(sample: SampleRun) -> str:
    """Return the name of the probe that wrote a run, else that of anybody's flow."""
    return sample.probe or sample.flow


def rerun_line(version: str, sample: SampleRun, options: UIOptions, source: str) -> str:
    """Return the command that looks for just this run in this UI again.

    Args:
        version: of the UI.
        sample: the run.
        options: what was asked for.
        source: the run whose stack is shown; empty for another database.
    """
    words = ["--check", "--ui-version", version]
    words += ["--metaflow", sample.client] if sample.client != WRITER else []
    words += ["--run", sample.pathspec]
    words += ["--database-url", _bare(options.database_url)] if options.database_url else []
    words += ["--from", source] if source else []
    words += options.origin_flags
    return f"nox -s ui -- {shlex.join(words)}"


def _data_kept(sample: SampleRun, gone: Sequence[str], logs: CheckOutcome) -> CheckOutcome:
    if sample.datastore != "local":
        return CheckOutcome(
            Status.UNSUPPORTED, f"its data is {sample.datastore or 'nowhere'}, not local"
        )
    # The local datastore's files are FLOW/RUN/STEP/TASK/….
    own = [path for path in gone if f"/{sample.pathspec}/" in path]
    if not own and sample.resumed:
        why = "the logs of its first tasks are those of the run that it goes on from"
        return CheckOutcome(Status.UNSUPPORTED, why)
    if not own and logs.status is Status.UNSUPPORTED:
        return CheckOutcome(Status.UNSUPPORTED, f"no log of it was opened: {logs.reason}")
    if not own:
        return CheckOutcome(Status.PASS)
    more = f" and {len(own) - 1} more" if len(own) > 1 else ""
    return CheckOutcome(
        Status.FAIL, f"the UI removed local data while it was read: {own[0]}{more}; put back"
    )


def _bare(url: str) -> str:
    """Return a database's URL without its password, which PGPASSWORD gives whoever runs a line."""
    return replace(ExternalPostgres(url).address, password="").url


def _version(client: str) -> Version:
    """Return a client's release as a version; one of somebody's own is like none that is known."""
    try:
        return Version(client)
    except InvalidVersion:
        return Version(f"0+{re.sub('[^a-z0-9]+', '.', client.lower()).strip('.') or 'unknown'}")
