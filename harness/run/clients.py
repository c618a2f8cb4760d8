"""Clients in a run: the environment each program of theirs gets, and the runner of a cell."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import msgspec
import psycopg2

from harness.catalog.interpreters import python_of
from harness.catalog.releases import Client
from harness.client.cell import CellOutcome, discard_work, not_run, run_cell
from harness.client.environment import describe_environment
from harness.client.program import Surroundings, last_words, nothing_to_break, request_under_way
from harness.client.proxied import behind_proxy
from harness.client.reading import EarlierRun
from harness.core.actions import ROLES
from harness.core.blame import Blame, Evidence, blame
from harness.core.entries import Environment, Provenance
from harness.core.outcome import Status
from harness.core.plan import Cell, asked_of
from harness.machine.dependencies import PINNED, Dependencies
from harness.machine.errors import InfraError, naming_shortage, of_machine, one_line
from harness.machine.memory import memory_kills
from harness.run.folder import RunFolder
from harness.run.record import Record
from harness.stack.evidence import with_silence
from harness.stack.faults import break_in
from harness.stack.stacks import Served, Stack
from harness.stack.store.datastore import Datastore

_WALK = "walk"
"""What tells the data of walks from others in an object store."""


@contextmanager
def _breaking(outcome: CellOutcome, earlier: Sequence[EarlierRun]) -> Iterator[None]:
    """Make a cell ``infra`` whose block breaks by a part of the harness, or by the machine."""
    try:
        yield
    except InfraError as error:
        outcome.make_infra(naming_shortage(str(error)), earlier)
    except psycopg2.OperationalError as error:
        reason = f"the database does not answer any more: {one_line(error)}"
        outcome.make_infra(naming_shortage(reason), earlier)
    except psycopg2.Error as error:
        reason = f"the database could not be read: {one_line(error)}"
        outcome.make_infra(naming_shortage(reason), earlier)
    except (OSError, MemoryError) as error:
        outcome.make_infra(of_machine(error), earlier)


def _left_by(outcome: CellOutcome, surroundings: Surroundings) -> str:
    """Return what the programs of a cell printed, and what files tell of how its tasks ended."""
    files = [path for kind, path in outcome.evidence.items() if kind != "service"]
    texts = [path.read_text("utf-8", "replace") for path in files if path.is_file()]
    for run_id in filter(None, {outcome.run_id, *outcome.ended}):
        # Metaflow prints only that a task failed; by which code lies beside its artifacts.
        texts += surroundings.texts(f"{outcome.cell.probe.flow}/{run_id}/*/*/*.runtime*")
    return "\n".join(texts)


class Clients:
    """Runs programs of clients.

    Args:
        folder: of the run.
        record: where environments are written down.
        datastores: by kind.
        timeout: seconds that a cell may take.
        keep: whether working folders stay.
        decided: what decides outcomes in all of the run.
        cancelled: tells whether the run is being ended.
    """

    def __init__(
        self,
        folder: RunFolder,
        record: Record,
        datastores: Mapping[str, Datastore],
        *,
        timeout: float,
        keep: bool,
        decided: Provenance,
        cancelled: Callable[[], bool],
    ) -> None:
        self._folder = folder
        self._record = record
        self._datastores = datastores
        self._timeout = timeout
        self._keep = keep
        self._decided = decided
        self._cancelled = cancelled
        self._environments: dict[Path, Environment] = {}
        self._describing = threading.Lock()

    def requirements(
        self, client: Client, cells: Sequence[Cell], python: str, deps: Dependencies = PINNED
    ) -> list[str]:
        """Return what is installed for the cells of one client, each requirement once.

        That is its release, and what it, the kinds of data and the probes need beside it.

        Args:
            client: the client.
            cells: those it has a part in.
            python: the minor version of its Python.
            deps: which versions of what it requires it has.
        """
        stores = self._datastores.values()
        needed = [
            client.requirement,
            *deps.pins(client.pins),
            *(pin for datastore in stores for pin in datastore.pins(client, python)),
            *(package for cell in cells for package in cell.packages.split()),
            # A probe that is not for a cell's data is not run there.
            *(
                package
                for cell in cells
                if cell.probe.is_for(cell.datastore)
                for package in cell.probe.packages
            ),
        ]
        return list(dict.fromkeys(needed))

    def cell(
        self,
        cell: Cell,
        python: Path,
        stack: Stack | None,
        *,
        data: Path | None = None,
        earlier: Sequence[EarlierRun] = (),
        attempt: int = 1,
        others: Mapping[Client, Path] = MappingProxyType({}),
    ) -> CellOutcome:
        """Run one cell; a part of the harness that breaks meanwhile makes it ``infra``.

        Args:
            cell: what to run.
            python: the client's interpreter.
            stack: what it runs against; None for local metadata.
            data: folder of the datastore; None for one of the cell's own.
            earlier: runs of earlier stages the client reads again.
            attempt: number of the attempt, from 1; each has folders of its own.
            others: the interpreters of other clients that have a role in it.
        """
        datastore = self._datastores[cell.datastore]
        pythons = {cell.client: python, **others}
        for client in cell.clients:
            unsupported = self.unsupported(client, pythons[client], cell.datastore)
            if unsupported:
                return not_run(cell, Status.UNSUPPORTED, unsupported)
        outcome, kills = CellOutcome(cell), memory_kills()
        with _breaking(outcome, earlier):
            outcome.provenance = self.provenance(cell, pythons, stack.served if stack else Served())
            straight = self._of_clients(cell, pythons, stack, data, attempt)
            surroundings = straight[cell.client]
            try:
                with behind_proxy(outcome, straight) as of_client:
                    of_role = {role: of_client[cell.client_of(role)] for role in ROLES.values()}
                    run_cell(outcome, of_client[cell.client], earlier, of_role)
                if not outcome.status.expected or outcome.reread_problems:
                    # What is dead fails every client: that is not the client's failure.
                    found = self._blame(outcome, surroundings, stack, kills)
                    if found is not None:
                        outcome.take_blame(found, earlier)
                if data is not None:
                    datastore.copy(_WALK, data)
                    # Of one that died meanwhile what the cell stored may not have been copied.
                    surroundings.check_store()
            finally:
                # Also when no log could be written: the room is what the next cell needs. Of a run
                # that is being ended, its end removes all folders at once.
                if not self._keep and not self._cancelled():
                    discard_work(surroundings)
        return outcome

    def _of_clients(
        self,
        cell: Cell,
        pythons: Mapping[Client, Path],
        stack: Stack | None,
        data: Path | None,
        attempt: int,
    ) -> dict[Client, Surroundings]:
        """Return what each client of a cell runs in.

        They share home and data, like those of a user who changes releases.
        """
        return {
            client: self.surroundings(
                f"{cell.slug}__attempt-{attempt}" if attempt > 1 else cell.slug,
                client,
                pythons[client],
                stack,
                datastore=cell.datastore,
                data=data,
                place=cell.service.name if cell.service else cell.session,
            )
            for client in cell.clients
        }

    @staticmethod
    def _blame(
        outcome: CellOutcome,
        surroundings: Surroundings,
        stack: Stack | None,
        kills: int,
    ) -> Blame | None:
        """Return who is to blame for what did not come out well in a cell; None for its client.

        Args:
            outcome: of the cell.
            surroundings: that it ran in.
            stack: that it ran on.
            kills: how many processes the kernel had killed before.
        """
        wrong = [one for one in outcome.checks.values() if not one.status.expected]
        late = any(check.status is Status.TIMEOUT for check in wrong)
        evidence = Evidence()
        if stack is not None:
            given_up = [request_under_way(path) for path in outcome.evidence.values()]
            evidence = stack.evidence(next(filter(None, given_up), ""))
            if late:
                evidence = with_silence(evidence, stack.running)
        try:
            surroundings.check_store()
        except InfraError as error:
            evidence = replace(evidence, store=str(error))
        said = " ".join(check.reason for check in wrong if check.status is Status.FAIL)
        log = outcome.evidence.get("service")
        found = blame(
            replace(
                evidence,
                late=late,
                killed=memory_kills() - kills,
                said=said,
                left=_left_by(outcome, surroundings) if said else "",
                served=log.read_text("utf-8", "replace") if log else "",
            )
        )
        if found is None or found.status is not Status.FAIL or log is None:
            return found
        return replace(found, sentence=f"{found.sentence}; it said last: {last_words(log)}")

    def unsupported(self, client: Client, python: Path, datastore: str) -> str:
        """Return why a client cannot use a kind of data on its Python; empty when it can."""
        return self._datastores[datastore].unsupported(client, python_of(python))

    def surroundings(
        self,
        name: str,
        client: Client,
        python: Path,
        stack: Stack | None,
        *,
        datastore: str,
        data: Path | None,
        place: str = "",
    ) -> Surroundings:
        """Return what the programs of a client run in.

        Args:
            name: of their folders, and what their processes are marked with.
            client: whose they are.
            python: its interpreter.
            stack: what they run against; None for local metadata.
            datastore: the kind they store in.
            data: folder of a walk's data, which is one for all of its services; else each has its
                own.
            place: what tells that own one from others in an object store.
        """
        work, kind = self._folder.work / name, self._datastores[datastore]
        place, folder = (_WALK, data) if data else (place, work / "data")
        variables = kind.environment(client, place, folder)
        number = kind.number
        # Runs are found by these, and the UI's sample tells by them what a run was written through.
        tags = [f"mf-version:{client.name}"]
        if stack is not None:
            tags += [
                f"service_version:{stack.running.service.name}",
                f"db_version:{stack.schema}",
            ]
        return Surroundings(
            python=python,
            work=work,
            logs=self._folder.logs_of(name),
            datastore=variables,
            objects=partial(kind.objects, place, folder),
            texts=partial(kind.texts, place, folder),
            # The run's id comes first: by it the end of the run finds every process.
            mark=f"{self._folder.run}/{name}",
            timeout=self._timeout,
            service_url=stack.running.url if stack else None,
            database=stack.database.address if stack and stack.database else None,
            service_log=stack.running.log if stack else None,
            tags=tuple(tags),
            breaks=partial(break_in, stack) if stack else nothing_to_break,
            watch=self._watch(stack, partial(kind.watch, number)),
            check_store=partial(kind.check_alive, number),
            cancelled=self._cancelled,
        )

    def remove_data(self, data: Path) -> None:
        """Remove what clients stored in a walk, in an object store of the run's own, too.

        Args:
            data: folder of the walk's data.

        Raises:
            OSError, InfraError: when that cannot be.
        """
        for name, datastore in self._datastores.items():
            datastore.empty(_WALK, data / name)
        if data.exists():
            shutil.rmtree(data)

    @staticmethod
    def _watch(stack: Stack | None, watch_store: Callable[[], None]) -> Callable[[], None]:
        """Return what tells that a client waits in vain, for as long as its time-out if let."""

        def watch() -> None:
            if stack is not None:
                stack.watch()
            watch_store()

        return watch

    def provenance(self, cell: Cell, pythons: Mapping[Client, Path], served: Served) -> Provenance:
        """Return what decides the outcome of a cell, beside its point and its probe.

        Args:
            cell: the cell.
            pythons: the interpreters of its clients.
            served: what they are served by.

        Raises:
            InfraError: when a part of it cannot be had.
        """
        # The cell's own client is the first of them.
        own, *others = (self._environment(client, pythons[client]) for client in cell.clients)
        return msgspec.structs.replace(
            self._decided,
            python=own.python,
            environment=own.digest,
            others={one.client: one.digest for one in others},
            store=self._datastores[cell.datastore].code(cell.client),
            asked=asked_of(cell),
            **served._asdict(),
        )

    def _environment(self, client: Client, python: Path) -> Environment:
        """Return what a client's environment holds, written down for the first who asks."""
        # The cells of one client begin side by side, and one of them writes it down.
        with self._describing:
            if python not in self._environments:
                found = describe_environment(self._folder.run, client.name, python)
                self._environments[python] = self._record.add(found)
            return self._environments[python]
