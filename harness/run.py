"""One run: its results folder, its stacks, its cells in parallel, and its end.

nox calls the sessions of a run one after another in one process; the run outlives them all and
ends once: when the last session is done, on Ctrl-C, or when the process exits.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shlex
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import msgspec
import psycopg2

from harness import expectations
from harness.alive import RunLock
from harness.backend import Backend, choose_backend
from harness.cell import CellOutcome, discard_work, not_run, run_cell
from harness.cell.client import Surroundings
from harness.cell.reading import Again
from harness.cli.options import Options
from harness.core.axes import AXES
from harness.core.entries import Begun, CellEntry, Ended, Environment, Note, Provenance, now
from harness.core.provenance import with_key
from harness.core.view import View
from harness.database import Database
from harness.database.admin import one_line
from harness.datastore.choice import choose_datastores
from harness.environment import describe_environment, digest_of_checks
from harness.errors import InfraError, UsageError
from harness.interpreters import python_of
from harness.journal import E, Journal
from harness.kept import Kept
from harness.outcome import CheckOutcome, Status
from harness.plan import Cell, Plan, planned_cell
from harness.processes import kill_marked, raise_exit
from harness.redact import Redactor, from_environment
from harness.report.files import write_reports
from harness.report.terminal import Screen
from harness.service.live import LiveLogs
from harness.service.migration import MigrationError
from harness.stacks import Stack, Stacks
from harness.versions import Client, Service


class Run:
    """One run of a session over all of its clients.

    Args:
        options: how to run it.
        plan: what to run.
        screen: where to print.
    """

    def __init__(self, options: Options, plan: Plan, screen: Screen) -> None:
        self.options = options
        self.plan = plan
        self.screen = screen
        self.id = _run_id(options.session)
        self.folder = options.results / self.id
        self.view = View()
        self._ended = False
        self._cancelled = threading.Event()
        self.backend = self._choose_backend()
        own = self.backend.object_store if self.backend else None
        self._datastores = choose_datastores(options, self.folder, os.environ, own)
        make_folder(options.results, self.id)
        make_latest(options.results, self.id)
        self._lock = RunLock(self.id, self.folder)
        secret = (*(self.backend.secrets if self.backend else ()), *from_environment(os.environ))
        self._redactor = Redactor(secret)
        self.journal = Journal(self.folder / "journal.jsonl", secret)
        logs = self.folder / "logs" / "services"
        self.stacks = (
            Stacks(self.backend, options.database_name, logs, self.note) if self.backend else None
        )
        for datastore in self._datastores.values():
            self.screen.say(f"data: {datastore.description}")
        self._live = LiveLogs(logs, screen.say) if options.with_service_logs else None
        self._environments: dict[Path, Environment] = {}
        self._describing = threading.Lock()
        self._recording = threading.Lock()
        self._record_start()
        atexit.register(self.end)
        # nox ends on SIGTERM without unwinding; as an exception it unwinds like Ctrl-C.
        self._term_before = signal.signal(signal.SIGTERM, raise_exit)

    def _choose_backend(self) -> Backend | None:
        if self.options.session == "local":
            self.screen.say("backend: none: clients alone, local metadata")
            return None
        backend = choose_backend(self.options, self.folder, self.id, self.screen.say)
        self.screen.say(backend.why)
        return backend

    def _record_start(self) -> None:
        self.record(
            Begun(
                at=now(),
                run=self.id,
                session=self.options.session,
                options=list(self.options.given),
                backend=self.backend.why if self.backend else "none",
                datastores=[store.description for store in self._datastores.values()],
                clients=[client.name for client in self.plan.clients],
                services=[service.name for service in self.options.services],
            )
        )
        rerun = {cell: rerun_line(cell, self.options) for cell in self.plan.cells}
        self.record(self.plan.entry(self.id, rerun))
        for service in self.options.services:
            if service.label:
                self.note(service, f"{service.name} is {service.label}")

    def note(self, service: Service, text: str) -> None:
        """Record what is worth knowing of a service and is no failure."""
        self.record(Note(at=now(), run=self.id, service=service.name, text=text))

    def record(self, entry: E) -> E:
        """Write an entry to the journal and take it into account."""
        written = self.journal.append(entry)
        with self._recording:
            self.view.add(written)
        return written

    def services(self) -> tuple[Backend, Stacks]:
        """Return where services come from, and what has been started of them.

        Raises:
            UsageError: in a session whose clients run alone.
        """
        if self.backend is None or self.stacks is None:
            raise UsageError(f"{self.options.session} runs clients alone: there is no service")
        return self.backend, self.stacks

    def compat(self, cells: Sequence[Cell], python: Path) -> list[CellOutcome]:
        """Run the cells of one client, each on its service's stack, and return what came of them.

        Args:
            cells: what to run.
            python: the client's interpreter.
        """
        if self.backend is not None:
            try:
                self.backend.launcher.prepare(self.options.services)
            except InfraError as error:
                self.skip(cells, Status.INFRA, str(error))
                raise
        return self.execute([partial(self._on_its_stack, cell, python) for cell in cells])

    def execute(self, tasks: Sequence[Callable[[], CellOutcome]]) -> list[CellOutcome]:
        """Run cells in parallel, up to ``--jobs``, and record each as it ends."""
        with self.pool() as pool, self.screen.watching(self.view, self.options.jobs):
            return list(self._collect([pool.submit(task) for task in tasks]))

    @contextlib.contextmanager
    def pool(self) -> Iterator[ThreadPoolExecutor]:
        """Yield ``--jobs`` threads, awaited at the end.

        An exception within, Ctrl-C above all, ends every process and part of the run: nobody
        waits for what its threads wait for.
        """
        pool = ThreadPoolExecutor(self.options.jobs)
        try:
            yield pool
        except BaseException:
            self._cancelled.set()
            kill_marked(lambda mark: mark.startswith(f"{self.id}/"))
            self._cancel_backend()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _cancel_backend(self) -> None:
        """End the backend's parts, for the threads that wait for one of them."""
        if self.backend is not None:
            with contextlib.suppress(InfraError):  # the end will meet the same, and say so
                self.backend.cancel()

    def _collect(self, futures: Iterable[Future[CellOutcome]]) -> Iterable[CellOutcome]:
        for future in as_completed(futures):
            outcome = future.result()
            entry = self.record_cell(outcome)
            self.screen.cell(entry, self.view.totals.total(), self.view.planned)
            yield outcome

    def pins(self, client: Client, python: str) -> list[str]:
        """Return the requirements that the datastores add to a client's on a minor of Python."""
        stores = self._datastores.values()
        return [pin for datastore in stores for pin in datastore.pins(client, python)]

    def skip(self, cells: Iterable[Cell], status: Status, reason: str) -> None:
        """Record cells that cannot run at all, and why."""
        for cell in cells:
            self.record_cell(not_run(cell, status, reason))

    def _on_its_stack(self, cell: Cell, python: Path) -> CellOutcome:
        try:
            stack = (
                self.stacks.get(cell.service, cell.point) if self.stacks and cell.service else None
            )
        except InfraError as error:
            return not_run(cell, Status.INFRA, str(error))
        except MigrationError as error:
            return not_run(cell, Status.FAIL, str(error))
        return self.cell(cell, python, stack)

    def cell(
        self,
        cell: Cell,
        python: Path,
        stack: Stack | None,
        *,
        data: Path | None = None,
        earlier: Sequence[Again] = (),
    ) -> CellOutcome:
        """Run one cell; a part of the harness that breaks meanwhile makes it ``infra``.

        Args:
            cell: what to run.
            python: the client's interpreter.
            stack: what it runs against; None for local metadata.
            data: folder of the datastore; None for one of the cell's own.
            earlier: runs of earlier stages the client reads again.
        """
        datastore = self._datastores[cell.datastore]
        unsupported = datastore.unsupported(cell.client, python_of(python))
        if unsupported:
            return not_run(cell, Status.UNSUPPORTED, unsupported)
        outcome = CellOutcome(cell, provenance=self._provenance(cell, python, stack))
        try:
            around = self.surroundings(cell, python, stack, data)
            run_cell(outcome, around, earlier)
            if not outcome.status.expected or outcome.reread_problems:
                # What is dead fails every client: that is not the client's failure.
                if stack is not None:
                    stack.check_alive()
                datastore.check_alive()
            if not self.options.keep and not self._cancelled.is_set():
                discard_work(around)
        except InfraError as error:
            outcome.make_infra(str(error), earlier)
        except psycopg2.OperationalError as error:
            reason = f"the database does not answer any more: {one_line(error)}"
            outcome.make_infra(reason, earlier)
        except psycopg2.Error as error:
            reason = f"the database could not be read: {one_line(error)}"
            outcome.make_infra(reason, earlier)
        return outcome

    def _provenance(self, cell: Cell, python: Path, stack: Stack | None) -> Provenance:
        """Return what decides the outcome of a cell, beside its point and its probe."""
        environment = self._environment(cell.client, python)
        return Provenance(
            python=environment.python,
            environment=environment.digest,
            service=stack.running.code if stack else "",
            reported=stack.reported if stack else None,
            db_schema=stack.schema if stack else None,
            database=stack.server if stack else "",
            harness=digest_of_checks(),
        )

    def _environment(self, client: Client, python: Path) -> Environment:
        """Return what a client's environment holds, written down for the first who asks."""
        with self._describing:
            if python not in self._environments:
                found = describe_environment(self.id, client.name, python)
                self._environments[python] = self.record(found)
            return self._environments[python]

    def surroundings(
        self, cell: Cell, python: Path, stack: Stack | None, data: Path | None = None
    ) -> Surroundings:
        """Return what a cell's client runs in."""
        work = self.folder / "work" / cell.slug
        datastore, folder = self._datastores[cell.datastore], data or work / "data"
        # A walk's data is one for all of its services; else each service has its own.
        place = "walk" if data else cell.service.name if cell.service else cell.session
        tags = [f"mf-version:{cell.client.name}"]
        if stack is not None:
            tags += [
                f"service_version:{stack.running.service.name}",
                f"db_version:{stack.schema}",
            ]
        return Surroundings(
            python=python,
            work=work,
            logs=self.folder / "logs" / "cells" / cell.slug,
            datastore=datastore.environment(cell.client, place, folder),
            objects=partial(datastore.objects, place, folder),
            mark=f"{self.id}/{cell.slug}",
            timeout=self.options.timeout,
            service_url=stack.running.url if stack else None,
            database=stack.database.address if stack else None,
            service_log=stack.running.log if stack else None,
            tags=tuple(tags),
            cancelled=self._cancelled.is_set,
        )

    def judge_migration(
        self, outcome: CheckOutcome, service: Service, before: Service | None
    ) -> CheckOutcome:
        """Judge what came of a stage's migration by what is declared of it.

        Args:
            outcome: pass, or fail with the reason.
            service: the one that migrates.
            before: the one that used the database last; None where nobody knows.
        """
        declared, today = self.options.expectations, datetime.now(timezone.utc).date()
        return expectations.judge_migration(declared, outcome, service, before, today)

    def record_cell(self, outcome: CellOutcome) -> CellEntry:
        """Judge what came of a cell by what is declared of it, and write it to the journal."""
        cell = outcome.cell
        outcome.checks = expectations.apply(
            self.options.expectations,
            outcome.checks,
            expectations.Judged(
                cell.client.version, cell.service, cell.probe.name, point=cell.point
            ),
            today=datetime.now(timezone.utc).date(),
        )
        for path in outcome.evidence.values():
            self._redactor.file(path)
        planned = planned_cell(cell, rerun_line(cell, self.options))
        return self.record(
            CellEntry(
                **msgspec.structs.asdict(planned),
                at=now(),
                run=self.id,
                status=outcome.status,
                checks=outcome.checks,
                flow_run=outcome.pathspec,
                seconds=outcome.seconds,
                evidence={
                    kind: str(path.relative_to(self.folder))
                    for kind, path in outcome.evidence.items()
                },
                provenance=with_key(outcome.provenance, planned),
            )
        )

    def end(self) -> None:
        """Stop everything, write the reports and print the end. Only the first call does it."""
        if self._ended:
            return
        self._ended = True
        atexit.unregister(self.end)
        signal.signal(signal.SIGTERM, self._term_before)
        said: list[str] = []
        with contextlib.ExitStack() as ending:
            ending.callback(self._finish, said)
            ending.callback(lambda: said.extend(self._end_stacks()))
            # Before the stacks: what removes a run's containers would take a store among them
            # along.
            said.extend(datastore.stop() for datastore in self._datastores.values())

    def _finish(self, said: Iterable[str]) -> None:
        """End what is left, write the reports and print the end, with what was said last."""
        kill_marked(lambda mark: mark == self.id or mark.startswith(f"{self.id}/"))
        if not self.options.keep:
            shutil.rmtree(self.folder / "work", ignore_errors=True)
        for path in (self.folder / "logs").rglob("*"):
            self._redactor.file(path)
        self.record(Ended(at=now(), run=self.id))
        self.journal.close()
        write_reports(self.view, self.folder)
        self.screen.end(self.view, self.folder)
        for line in filter(None, said):
            self.screen.say(line)
        self._lock.release()

    def _end_stacks(self) -> list[str]:
        """Stop what is not kept; return lines on what is, or on what could not be stopped."""
        try:
            return self._stop_or_keep_stacks()
        except InfraError as error:
            return [f"not everything could be removed: {error}"]

    def _stop_or_keep_stacks(self) -> list[str]:
        if self._live is not None:
            self._live.stop()
        if self.stacks is None or self.backend is None:
            return []
        last = self.stacks.last if self.options.keep else None
        running = last.running if last and self.backend.outlives else None
        # What was interrupted has no parts that run any more; its files are as good as others.
        if self.backend.outlives and (running is None or self._cancelled.is_set()):
            last = None
        said = []
        if last is not None and running is not None:
            self.stacks.stop_others()
            said.append(f"kept: {running.service.name} at {running.url} (METAFLOW_SERVICE_URL)")
        else:
            self.stacks.stop(keep=last is not None)
        place = last.server.place() if last else None
        if last is not None and place is not None:
            said.append(self._record_kept(self.backend, last.service, last.database, place))
        return said

    def _record_kept(
        self, backend: Backend, service: Service, database: Database, place: Mapping[str, str]
    ) -> str:
        """Write down where the last stack's database is; say how to use and remove it."""
        root, endpoint = self.options.s3_root, self.options.s3_endpoint
        stores = (
            {"s3": {"root": root.under(self.id).url, "endpoint": endpoint or ""}} if root else {}
        )
        Kept(
            self.id, self.folder, backend.name, service.name, database.address, place, stores
        ).write()
        address = database.address
        if self.options.database_password:  # the user's own secret, and known to the user
            address = replace(address, password="PASSWORD")  # noqa: S106 - stands for it
        reach = f" {address.url}" if backend.outlives else ""
        origin = ""
        if not backend.outlives:  # no engine, so the UI comes from a clone, with a page
            clone = self.options.clone.given if self.options.clone else "CLONE"
            assets = self.options.ui.assets if self.options.ui else None
            page = shlex.quote(str(assets or "PAGE"))
            origin = f" --checkout {shlex.quote(clone)} --ui-assets {page}"
        return (
            f"kept: the database{reach} as {service.name} left it\n"
            f"  look at it with: nox -s ui -- --from {self.id}{origin}\n"
            f"  remove it with: nox -s clean -- {self.id}"
        )


def rerun_line(cell: Cell, options: Options) -> str:
    """Return the command that runs just this cell again; a cell of a walk needs its stages."""
    flags: list[str] = []
    for axis in AXES:
        if axis.option == _SERVICE:
            flags += [*_service_flags(cell, options), "--probe", cell.probe.name]
        elif axis.option and axis.of(cell.point):
            flags += [axis.option, axis.of(cell.point)]
    flags += options.rerun_flags(cell.datastore)
    return f"nox -s {cell.session} -- {shlex.join(flags)}"


_SERVICE = "--service"


def _service_flags(cell: Cell, options: Options) -> list[str]:
    """Return what brings a cell's service up: in a walk, all stages that lead to it."""
    if options.seed is not None:
        chosen = ["--service", options.selection] if options.selection is not None else []
        return ["--seed", str(options.seed), *chosen]
    if options.path:
        upto = [step.service.name for step in options.path[: cell.stage]]
        return ["--path", ",".join(upto)]
    return ["--service", cell.service.name] if cell.service is not None else []


def _run_id(session: str) -> str:
    moment = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    return f"{moment}-{session}-{secrets.token_hex(2)}"


def check_results(results: Path) -> None:
    """Raise UsageError when no folder of a run can be made in ``results``; nothing is made."""
    # Not Path.exists(), which raises for what lies in a folder that may not be entered.
    there = next(path for path in (results, *results.parents) if os.access(path, os.F_OK))
    if not there.is_dir():
        raise UsageError(f"--results {results}: cannot be written: {there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"--results {results}: cannot be written: no right to write in {there}")


def make_folder(results: Path, run_id: str) -> None:
    """Make the folder of a run.

    Raises:
        UsageError: when it cannot be made.
    """
    try:
        (results / run_id).mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"--results {results}: cannot be written: {error.strerror}") from error


def make_latest(results: Path, run_id: str) -> None:
    """Let ``latest`` name a run from now on.

    Raises:
        UsageError: when it cannot be written.
    """
    try:
        newest = results / f".latest-{run_id}"
        newest.symlink_to(run_id)
        newest.replace(results / "latest")
    except OSError as error:
        raise UsageError(f"--results {results}: cannot be written: {error.strerror}") from error
