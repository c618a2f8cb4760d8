"""One run: what it is made of, its cells in parallel, and its one end.

nox calls the sessions of a run one after another in one process; the run outlives them all and
ends once: when the last session is done, on Ctrl-C, or when the process exits.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from harness.catalog.releases import Client, Service
from harness.client.cell import CellOutcome, not_run
from harness.core.entries import CellEntry, now
from harness.core.outcome import Status
from harness.core.plan import Cell, Plan
from harness.core.provenance import with_key
from harness.machine.control_group import end_group
from harness.machine.errors import InfraError, UsageError, naming_machine, refusal
from harness.machine.locks import RunLock
from harness.machine.processes import disown, kill_marked, kill_parts, mark_own, raise_exit
from harness.machine.secrets import KNOWN, from_environment
from harness.machine.strays import kill_strays
from harness.report.terminal import Screen
from harness.run.attempts import Attempts, Begun
from harness.run.beginning import record_start, why_no_backend
from harness.run.clients import Clients
from harness.run.cluster.cluster import Cluster
from harness.run.contracts import Contracts
from harness.run.durations import foretell, seconds_of
from harness.run.ending import keep_saved, name_what_stays
from harness.run.executor import Executor
from harness.run.folder import RunFolder
from harness.run.judged import judge_checks, otherwise
from harness.run.keep import leave_stack
from harness.run.options import Options
from harness.run.record import Record
from harness.run.resume import left_of, stages_done
from harness.run.reuse import Earlier, decided_by
from harness.run.reusing import Reusing
from harness.run.unit import StackSource, Unit
from harness.stack.backend import DATABASES, Backend, choose_backend
from harness.stack.service.git import Clone
from harness.stack.service.live import LiveLogs
from harness.stack.stacks import Stacks
from harness.stack.store.choice import choose_datastores
from harness.stack.store.datastore import Datastore


class Run:
    """One run of a session over all of its clients.

    Args:
        options: how to run it.
        plan: all of it, also of a run that goes on.
        screen: where to print.
    """

    def __init__(self, options: Options, plan: Plan, screen: Screen) -> None:
        self.options = options
        self.screen = screen
        self.folder = RunFolder(options.results, options.session, options.resumed)
        self._ended = False
        self.backend = self._choose_backend()
        own = self.backend.object_store if self.backend else None
        there = partial(choose_datastores, options, self.folder.path, os.environ, own)
        self._datastores = {} if options.scheduler else there()
        # Not before: what cannot be had by these options leaves no folder behind.
        if options.resumed is None:
            self.folder.make()
        self.folder.make_latest()
        self._lock = RunLock(self.folder.run, self.folder.path)
        self._guard = self.folder.guard()
        # What nox and the harness start beside: installs, dumps, questions to a store. By a mark of
        # their own: what ends a part by its mark would end them, too.
        mark_own(f"{self.folder.run}/own")
        place = options.metaflow_checkout
        secret = (
            *(self.backend.secrets if self.backend else ()),
            # As of a clone of services: its URL may hold a token.
            *((place.secret,) if isinstance(place, Clone) else ()),
            *from_environment(os.environ),
        )
        # Before anything is started that could print one.
        KNOWN.add(secret)
        goes_on = options.resumed is not None
        self.record = Record(self.folder.run, self.folder.path, secret, goes_on=goes_on)
        self.whole = plan
        self.done = stages_done(plan, self.record.view, self.folder)
        """By walk, the number of the last stage that is done."""
        self.plan = left_of(options, plan, self.record.view, self.folder)
        decided = decided_by(options)
        self.executor = Executor(options.jobs, self._cancel)
        self.clients = Clients(
            self.folder,
            self.record,
            self._datastores,
            timeout=options.timeout,
            keep=options.keep,
            decided=decided,
            cancelled=self.executor.cancelled,
        )
        self.contracts = Contracts(options, self.folder, self.record, self.backend, decided)
        self._reusing = self._make_reusing()
        self.stacks = self._stacks()
        for datastore in self._datastores.values():
            self.screen.say(f"data: {datastore.description}")
        self._expected = foretell(options, self.plan, self.folder.run, screen.say)
        self.attempts = Attempts(
            self.executor,
            self.clients,
            self.record,
            retries=options.retries,
            tell=self._finished,
            seconds=seconds_of(options, self.plan, self._expected),
        )
        self._live = (
            LiveLogs(self.folder.service_logs, screen.say) if options.with_service_logs else None
        )
        self.cluster = self._join_cluster()
        record_start(
            options,
            self.plan,
            self.record,
            self.backend.why if self.backend else why_no_backend(options),
            self._datastores.values(),
        )
        # nox may leave out the session that ends a run: --stop-on-first-error, Ctrl-C.
        atexit.register(self.end)
        # nox ends on SIGTERM without unwinding; as an exception it unwinds like Ctrl-C.
        # It stays so: another run of this process may go on when this one has ended.
        signal.signal(signal.SIGTERM, raise_exit)

    def _choose_backend(self) -> Backend | None:
        if self.options.session == "local" or self.options.scheduler:
            self.screen.say(f"backend: {why_no_backend(self.options)}")
            return None
        backend = choose_backend(self.options, self.folder.path, self.folder.run, self.screen.say)
        self.screen.say(backend.why)
        return backend

    def _join_cluster(self) -> Cluster | None:
        if self.options.scheduler is None:
            return None
        words = self.options.elsewhere
        return Cluster(
            *(self.options.scheduler, words, self.whole, self.folder, self.record),
            show=self._show,
            fail=self.skip,
            say=self.screen.say,
            answered=self._foretell_elsewhere,
        )

    def _foretell_elsewhere(self, threads: int) -> None:
        say, run = self.screen.say, self.folder.run
        self._expected = foretell(self.options, self.plan, run, say, threads)

    def _make_reusing(self) -> Reusing:
        results, say = self.options.results, self.screen.say
        earlier = Earlier(results, say) if self.options.reuse else None
        return Reusing(
            self.options,
            self.whole,
            self.record,
            earlier=earlier,
            backend=self.backend,
            clients=self.clients,
            contracts=self.contracts,
        )

    def _stacks(self) -> Stacks | None:
        if self.backend is None:
            return None
        logs, name = self.folder.service_logs, self.options.database_name
        return Stacks(
            self.backend,
            name,
            logs,
            self.record.note,
            begun=self.contracts.ask_unmigrated,
            opened=self.contracts.judge,
            ended=self.contracts.note_end,
        )

    def services(self) -> tuple[Backend, Stacks]:
        """Return where services come from, and what has been started of them.

        Raises:
            UsageError: in a session whose clients run alone.
        """
        if self.backend is None or self.stacks is None:
            raise UsageError(f"{self.options.session} runs clients alone: there is no service")
        return self.backend, self.stacks

    def begin(self, cells: Sequence[Cell], python_of: Callable[[Cell], Path]) -> Begun:
        """Queue cells of one client each, to run on its service's stack.

        Args:
            cells: what to run.
            python_of: returns the interpreter of a cell's client.
        """
        self.executor.check_not_cancelled()
        if self.cluster is not None:
            return self.cluster.submit([cell] for cell in cells)
        self._prepare(cells)
        units = [Unit(cell, python_of(cell)) for cell in self._reusing.share(cells)]
        return self.attempts.submit(units, self.stacks, self.options.repeat)

    def begin_together(self, cells: Sequence[Cell], pythons: Mapping[Client, Path]) -> Begun:
        """Queue cells of several clients each, all of a service in one database.

        Args:
            cells: what to run.
            pythons: the interpreters of their clients.
        """
        self.executor.check_not_cancelled()
        if self.cluster is not None:
            return self.cluster.submit(
                [cell for cell in cells if cell.service == service] for service in _services(cells)
            )
        self._prepare(cells)
        alone = self._reusing.share(cells)
        units = [Unit(cell, pythons[cell.client], others=pythons) for cell in alone]
        return self.attempts.submit(units, self.stacks)

    def _prepare(self, cells: Sequence[Cell]) -> None:
        """Get what the services of cells need, all at once."""
        if self.backend is None or not cells:
            return
        try:
            self.backend.launcher.prepare(_services(cells))
        except InfraError as error:
            self.skip(cells, Status.INFRA, str(error))
            raise

    def cross(self, pythons: Mapping[Client, Path]) -> None:
        """Run the cells of several clients each, all of a service in one database.

        Args:
            pythons: the prepared clients with their interpreters; the cells of others have been
                recorded already.
        """
        ready = [cell for cell in self.plan.cells if pythons.keys() >= set(cell.clients)]
        batch = self.begin_together(self.reuse(ready, pythons), pythons)
        with self.watched():
            batch.outcomes()

    def reuse(self, cells: Sequence[Cell], pythons: Mapping[Client, Path]) -> list[Cell]:
        """Record the cells whose results earlier runs have, where that is asked for.

        Args:
            cells: those to be run.
            pythons: the interpreters of their clients.

        Returns:
            The cells that are left to be run.
        """
        left = []
        for cell in cells:
            entry = self._reusing.take(cell, pythons)
            if entry is None:
                left.append(cell)
            else:
                self._show(entry)
        return left

    def ask_services(self) -> None:
        """Tell of the services of cells that were not run by themselves, too.

        Raises:
            InfraError: when one does not start, or the run is being ended.
        """
        if self.stacks is not None and self._reusing.took_some:
            self.executor.check_not_cancelled()
            self._reusing.ask_services(self.stacks)

    def execute(self, units: Sequence[Unit], stacks: StackSource | None) -> list[CellOutcome]:
        """Run units in parallel, up to ``--jobs``, and record each as it ends.

        Those that the machine broke are run again in the end, up to ``--retries`` times.

        Args:
            units: what to run.
            stacks: where their stacks are had; None where clients run alone.

        Returns:
            What came of the last attempt at each.
        """
        with self.watched():
            return self.attempts.submit(units, stacks).outcomes()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Show how far the run is while the block waits; an exception within ends the run.

        Raises:
            InfraError: when it has ended already.
        """
        self.executor.check_not_cancelled()
        view, jobs = self.record.view, self.options.jobs
        with self.executor.cancelling(), self.screen.watching(view, jobs, self._expected):
            yield

    def _finished(self, outcome: CellOutcome) -> None:
        entry = self.record_cell(outcome)
        self._show(entry)
        for taken in self._reusing.told_with(entry):
            self._show(taken)

    def _show(self, entry: CellEntry) -> None:
        view = self.record.view
        self.record.check_written()
        attempt = sum(one.run == entry.run for one in view.earlier(entry)) + 1
        self.screen.cell(entry, view.totals.total(), view.planned, attempt)

    def skip(self, cells: Iterable[Cell], status: Status, reason: str) -> list[CellEntry]:
        """Record cells that cannot run at all, and why; return their entries."""
        return [self.record_cell(not_run(cell, status, reason)) for cell in cells]

    def record_cell(self, outcome: CellOutcome) -> CellEntry:
        """Judge what came of a cell by what is declared of it, and write it to the journal."""
        cell, found = outcome.cell, outcome.checks
        outcome.checks = judge_checks(self.options.expectations, cell, found)
        planned = self.plan.planned(cell)
        places = {kind: self.record.place(path) for kind, path in outcome.evidence.items()}
        return self.record.add(
            CellEntry(
                **msgspec.structs.asdict(planned),
                at=now(),
                run=self.folder.run,
                status=outcome.status,
                checks=outcome.checks,
                flow_run=outcome.pathspec,
                ended={f"{cell.probe.flow}/{run}": how for run, how in outcome.ended.items()},
                seconds=outcome.seconds,
                evidence=places,
                provenance=with_key(outcome.provenance, planned),
                undeclared=otherwise(found, outcome.checks),
            )
        )

    def _cancel(self) -> None:
        """End every process and part of the run, for the threads that wait for one of them."""
        # Not the servers of databases, which end in order.
        kill_parts(self.folder.run, DATABASES)
        if self.backend is not None:
            with contextlib.suppress(InfraError):  # the end will meet the same, and say so
                self.backend.cancel()
        if self.cluster is not None:
            self.cluster.cancel()

    def end(self) -> None:
        """Stop everything, write the reports and print the end. Only the first call does it."""
        if self._ended:
            return
        self._ended = True
        atexit.unregister(self.end)
        said: list[str] = []
        # The last comes first; each is done, whatever becomes of those before it.
        with contextlib.ExitStack() as ending:
            ending.callback(self._finish, said)
            ending.callback(
                lambda: said.extend(keep_saved(self.options, self.whole, self.record, self.folder))
            )
            ending.callback(lambda: said.extend(self._end_stacks()))
            # Before the stacks: what removes a run's containers would take a store among them
            # along.
            for datastore in self._datastores.values():
                ending.callback(partial(self._end_store, datastore, said))
            ending.callback(self._end_attempts)
            ending.callback(lambda: said.extend(self._leave_cluster()))

    def _leave_cluster(self) -> list[str]:
        if self.cluster is None:
            return []
        # nox may have been interrupted between two sessions: nobody waits for what is on its way.
        return self.cluster.end(now=self.executor.cancelled() or self.cluster.busy)

    @staticmethod
    def _end_store(datastore: Datastore, said: list[str]) -> None:
        said.append(datastore.stop())

    def _end_attempts(self) -> None:
        """Wait until no cell is on its way."""
        if self.attempts.busy and not self.executor.cancelled():
            # nox was interrupted between two sessions, and those that wait do not come any more.
            self.executor.cancel()
        self.executor.close()

    def _finish(self, said: list[str]) -> None:
        """End what is left, write the reports and print the end, with what was said last."""
        said += name_what_stays(self.options, self.record, self.contracts.flow())
        run = self.folder.run
        disown(f"{run}/own")
        kill_marked(lambda mark: mark.startswith(f"{run}/"))
        said += refusal(partial(end_group, run))
        if not self.options.keep:
            kill_strays(self.folder.work)
            # What refuses to go must not keep the reports from being written.
            shutil.rmtree(self.folder.work, ignore_errors=True)
        self._guard.dismiss()
        refused = self.record.end()
        self.screen.end(self.record.view, self.folder.path)
        for line in filter(None, (*said, *refused)):
            self.screen.say(line)
        # Last: until then ``clean`` lets the run be, and if it is killed finds what it left.
        self._lock.release()

    def _end_stacks(self) -> list[str]:
        """Stop what is not kept; return lines on what is, or on what could not be stopped."""
        if self._live is not None:
            self._live.stop()
        if self.stacks is None or self.backend is None:
            return []
        try:
            with naming_machine():
                return self._end_those(self.backend, self.stacks)
        except InfraError as error:
            return [f"not everything could be removed: {error}"]

    def _end_those(self, backend: Backend, stacks: Stacks) -> list[str]:
        cancelled = self.executor.cancelled()
        said: list[str] = []
        # Of a run that was interrupted, some parts have been killed.
        if not cancelled:
            stacks.tell_ended()
            last = stacks.last if self.options.keep and backend.outlives else None
            said += self.contracts.judge_stops(last.running if last else None)
        if not self.options.keep:
            stacks.stop()
            return said
        # What is noted as kept stays, whatever becomes of this process.
        self._guard.dismiss()
        left = leave_stack(backend, stacks, self.folder, self.options, cancelled=cancelled)
        return said + left


def _services(cells: Iterable[Cell]) -> tuple[Service, ...]:
    """Return the services of cells, each once, in order."""
    return tuple(dict.fromkeys(cell.service for cell in cells if cell.service is not None))
