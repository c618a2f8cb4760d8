"""The plan of a run, as a value: which cells, in which order. Pure: made before anything starts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import msgspec

from harness.catalog.releases import Client, Service
from harness.core.actions import FAILED, FIRST_RUN
from harness.core.axes import Point, cell_id, walk_name
from harness.core.entries import CellEntry, Planned, PlannedCell, PlannedStage, now
from harness.core.outcome import Status
from harness.core.path import Step
from harness.core.probes import ROWS, STORED, Check, Probe, packages_of
from harness.core.provenance import digest, short
from harness.core.scenarios import fault_of, lost_answers, lost_checks
from harness.core.told import why_not

_NAMED = 3
"""Clients that a note names, of all it is about."""


@dataclass(frozen=True)
class Cell:
    """One client × one service × one datastore × one probe, and what else it is made of.

    Attributes:
        session: ``compat``, ``cross``, ``fixed_db`` or ``local``.
        service: None in ``local``, where clients run alone.
        writer: the client that does the writer's actions; None where ``client`` does all.
        resumer: likewise the resumer's; in a cell with a writer None where nobody resumes.
        stage: number of the stage in a fixed-database walk, from 1; 0 elsewhere.
        python: minor version of the Python its client runs on; empty where none works.
        build: what the service's name stands for: an image, or a git ref.
        postgres: the PostgreSQL that was asked for; empty for the one unasked.
        database_tls: how the service reaches its database; empty for what nobody asked for.
        scenario: what is done wrong on purpose; empty for nothing.
        packages: requirements that were asked for beside the clients, with a space between.
        deps: which versions of what they require clients have; empty for what is pinned.
        deps_build: digests of the user's files of dependencies; empty without.
        backend: where database and service come from.
        asked: the circumstances that were asked for, by name: its id and its rerun line tell them.
    """

    session: str
    client: Client
    service: Service | None
    datastore: str
    probe: Probe
    stage: int = 0
    python: str = ""
    build: str = ""
    postgres: str = ""
    database_tls: str = ""
    scenario: str = ""
    packages: str = ""
    deps: str = ""
    deps_build: str = ""
    backend: str = ""
    writer: Client | None = None
    resumer: Client | None = None
    asked: tuple[str, ...] = ()

    @cached_property
    def point(self) -> Point:
        """The variants it is made of, by name."""
        return Point(
            client=self.client.name,
            writer=self.writer.name if self.writer else "",
            resumer=self.resumer.name if self.resumer else "",
            python=self.python,
            client_build="; ".join(filter(None, (one.label for one in self.clients))),
            service=self.service.name if self.service else None,
            build=self.build,
            datastore=self.datastore,
            postgres=self.postgres,
            database_tls=self.database_tls,
            scenario=self.scenario,
            packages=self.packages,
            deps=self.deps,
            service_deps=self.service.deps.name if self.service else "",
            deps_build=self.deps_build,
            backend=self.backend,
        )

    @cached_property
    def id(self) -> str:
        """The stable name of the cell: ``compat/2.19.39/reference-2.5/local/basics``."""
        return cell_id(self.session, self.point, self.probe.name, self.stage, self.asked)

    @property
    def slug(self) -> str:
        """The id as a file name."""
        return short(self.id.replace("/", "__"))

    @property
    def walk(self) -> str:
        """What tells its walk from the others of the run; mostly nothing."""
        return walk_name(self.point)

    @property
    def checks(self) -> tuple[Check, ...]:
        """The probe's checks, and the one that every cell with an object store has.

        Where answers are lost, those on the first run, and one for each kind of request.
        """
        checks = self.probe.checks
        if self.writer is not None:
            checks = self.probe.checks_of_resumer if self.resumer else self.probe.checks_of_others
        if self.datastore == "s3":
            checks = (*checks, STORED)
        if not lost_answers(self.scenario):
            return checks
        run = self.probe.action(FIRST_RUN)
        lost = (
            replace(check, client=run.client, service=run.service, release=run.release)
            for check in lost_checks(self.scenario)
        )
        return (*(check for check in checks if check.of_first_run), *lost)

    @property
    def clients(self) -> tuple[Client, ...]:
        """All that have a part in it, each once."""
        return tuple(dict.fromkeys(filter(None, (self.client, self.writer, self.resumer))))

    def client_of(self, role: str) -> Client:
        """Return the client that does the actions of a role."""
        named = {"writer": self.writer, "resumer": self.resumer}.get(role)
        return named or self.client

    @property
    def refused(self) -> str:
        """Why its service cannot be brought up as asked for, by design; empty when it can."""
        return why_not(self.service, self.database_tls, self.scenario) if self.service else ""

    @property
    def supported(self) -> tuple[str, ...]:
        """The names of the checks that can be asked of it."""
        return tuple(check.name for check in self.checks if not self.unsupported(check))

    def unsupported(self, check: Check) -> str:
        """Return why the check cannot be asked of this cell; empty when it can."""
        if self.refused:
            return self.refused
        if not self.probe.is_for(self.datastore):
            return f"needs {' or '.join(self.probe.datastores)} data, this is {self.datastore}"
        fault = fault_of(self.scenario)
        if fault is not None and fault.local_data and self.datastore != "local":
            return f"needs local data: {fault.words}, which S3 data never meets"
        if lost_answers(self.scenario) and self.probe.ends == FAILED:
            return "needs a run that ends well: what a lost answer did to it is told by its end"
        beside = packages_of((*self.packages.split(), *self.probe.packages))
        if check.package and check.package not in beside:
            return f"needs the package {check.package}: --with {check.package}"
        return self._unsupported_by_clients(check) or self._unsupported_by_service(check)

    def _unsupported_by_clients(self, check: Check) -> str:
        for client in dict.fromkeys(filter(None, (self.client, self.resumer))):
            if check.client and not client.satisfies(check.client):
                return f"needs client {check.client}, this is {client.name}"
        if self.writer and check.writer and not self.writer.satisfies(check.writer):
            return f"needs writer {check.writer}, this is {self.writer.name}"
        return ""

    def _unsupported_by_service(self, check: Check) -> str:
        if ROWS in check.wants and self.service is None:
            return "needs the rows of a service, and clients run alone"
        # Where clients run alone there is no service that could lack anything.
        if check.service and self.service and not self.service.satisfies(check.service):
            reported = self.service.reported or "no version"
            return f"needs service {check.service}, {self.service.name} reports {reported}"
        if check.release and self.service and not self.service.is_release(check.release):
            return f"needs service release {check.release}, this is {self.service.name}"
        return ""


def asked_of(cell: Cell) -> str:
    """Return a digest of what is asked of a cell, and of what is known of its service."""
    return digest([cell.supported, cell.service.known if cell.service else None])


@dataclass(frozen=True)
class Plan:
    """What a run is going to do.

    Attributes:
        session: ``compat``, ``fixed_db`` or ``local``.
        path: the stages that each walk goes through; empty in other sessions.
        cells: in the order they are started.
        rerun: by the id of a cell, the line that runs it again.
        cut: of a shard, what tells its whole plan and how that is cut from others; else empty.
    """

    session: str
    path: tuple[Step, ...]
    cells: tuple[Cell, ...]
    rerun: Mapping[str, str]
    cut: str = ""

    @property
    def clients(self) -> tuple[Client, ...]:
        """Its clients, in order."""
        return tuple(dict.fromkeys(client for cell in self.cells for client in cell.clients))

    @property
    def walks(self) -> tuple[str, ...]:
        """The names of its walks; none in other sessions."""
        return tuple(dict.fromkeys(cell.walk for cell in self.cells)) if self.path else ()

    def of_client(
        self, client: Client, python: str = "", deps: str | None = None
    ) -> tuple[Cell, ...]:
        """Return the cells that a client has a part in.

        Args:
            client: the client.
            python: the minor version of its Python, of several that were asked for.
            deps: its dependencies; None for all that were asked for.
        """
        return tuple(
            cell
            for cell in self.cells
            if client in cell.clients and python in {"", cell.python} and deps in {None, cell.deps}
        )

    def of_stage(self, walk: str, stage: int, clients: Iterable[Client] = ()) -> tuple[Cell, ...]:
        """Return the cells of one stage of a walk.

        Args:
            walk: its name.
            stage: its number.
            clients: those that take part; all of them unasked.
        """
        wanted = set(clients or self.clients)
        return tuple(
            cell
            for cell in self.cells
            if cell.stage == stage and cell.walk == walk and cell.client in wanted
        )

    def minus(self, attempts: Iterable[CellEntry], repeat: int = 1) -> Plan:
        """Return what is left to do after attempts at its cells.

        Args:
            attempts: in any order.
            repeat: how often each cell runs.
        """
        told = conclusive(attempts)
        return replace(self, cells=tuple(cell for cell in self.cells if told[cell.id] < repeat))

    def after(self, stages: Mapping[str, int]) -> Plan:
        """Return what is left of walks of which some stages are done.

        Args:
            stages: by walk, the number of the last one that is; 0 where none is.
        """
        left = (cell for cell in self.cells if cell.stage > stages.get(cell.walk, 0))
        return replace(self, cells=tuple(left))

    def render(self) -> str:
        """Return the plan as text, one cell a line, with what it cannot be asked."""
        lines = [str(step) for step in self.path]
        for cell in self.cells:
            names: dict[str, list[str]] = {"": []}
            for check in cell.checks:
                names.setdefault(cell.unsupported(check), []).append(check.name)
            asked = ", ".join(names.pop(""))
            left_out = (f"; unsupported: {', '.join(of)}: {why}" for why, of in names.items())
            lines.append(f"{cell.id}: {asked}{''.join(left_out)}")
        return "\n".join([*lines, f"{len(self.cells)} cell{'' if len(self.cells) == 1 else 's'}"])

    def to_json(self) -> str:
        """Return what a journal says of the plan, and what each cell is asked, as one object."""
        entry = msgspec.to_builtins(self.entry(""))
        asked = [_asked(cell) for cell in self.cells]
        answers = [answer["asked"] for checks in asked for answer in checks.values()]
        whole = {
            "session": self.session,
            "cells": [
                {**planned, "checks": checks}
                for planned, checks in zip(entry["cells"], asked, strict=True)
            ],
            "stages": entry["stages"],
            "totals": {
                "clients": len(self.clients),
                "cells": len(self.cells),
                "stages": len(entry["stages"]),
                "asked": answers.count(True),
                "unsupported": answers.count(False),
            },
        }
        return json.dumps(whole)

    def planned(self, cell: Cell) -> PlannedCell:
        """Return one of its cells as an entry of a journal has it."""
        return PlannedCell(
            **msgspec.structs.asdict(cell.point),
            id=cell.id,
            session=cell.session,
            service_kind=cell.service.kind if cell.service else None,
            probe=cell.probe.name,
            probe_digest=cell.probe.digest,
            stage=cell.stage,
            rerun=self.rerun[cell.id],
        )

    def entry(self, run: str) -> Planned:
        """Return the plan as an entry of the journal of a run, which is named by its id."""
        return Planned(
            at=now(),
            run=run,
            cells=[self.planned(cell) for cell in self.cells],
            stages=[planned_stage(step, walk) for walk in self.walks for step in self.path],
            asked={cell.probe.name: [check.name for check in cell.checks] for cell in self.cells},
            cut=self.cut,
        )


def conclusive(attempts: Iterable[CellEntry]) -> Counter[str]:
    """Return by id how many attempts at a cell tell something of it.

    Those do not where the harness broke, or where nothing ran.
    """
    nothing = {Status.INFRA, Status.NOT_RUN}
    return Counter(
        attempt.id
        for attempt in attempts
        if attempt.status not in nothing and attempt.inferred is None
    )


def notes_on_pins(cells: Iterable[Cell]) -> list[str]:
    """Return what says that outcomes rest on what versions.json pins, a sentence for each pin."""
    by_pin: dict[str, dict[str, None]] = {}
    for cell in cells:
        for client in () if cell.deps else cell.clients:
            for pin in client.pins:
                by_pin.setdefault(pin, {})[client.name] = None
    return [
        f"{pin} is pinned beside {_in_short(list(clients))}, which may not work without it:"
        " --deps latest tells"
        for pin, clients in by_pin.items()
    ]


def notes_on_data(cells: Iterable[Cell], pins: Callable[[Client, str], Iterable[str]]) -> list[str]:
    """Return the same of what a kind of data needs beside a client, whatever ``--deps`` says.

    Args:
        cells: what is going to run.
        pins: tells what is installed beside a client for the data, by its minor version of Python.
    """
    by_pin: dict[str, dict[str, None]] = {}
    for cell in cells:
        for client in cell.clients if cell.python else ():
            for pin in pins(client, cell.python):
                by_pin.setdefault(pin, {})[client.name] = None
    return [
        f"{pin} is pinned beside {_in_short(list(clients))}, which may not reach the run's data"
        " without it"
        for pin, clients in by_pin.items()
    ]


def _in_short(names: Sequence[str]) -> str:
    few = len(names) <= _NAMED
    return ", ".join(names) if few else f"{len(names)} clients from {names[0]} to {names[-1]}"


def _asked(cell: Cell) -> dict[str, dict[str, str | bool]]:
    """Return for each check of a cell whether it is asked, and why it is not."""
    reasons = {check.name: cell.unsupported(check) for check in cell.checks}
    return {
        name: {"asked": False, "reason": reason} if reason else {"asked": True}
        for name, reason in reasons.items()
    }


def planned_stage(step: Step, walk: str) -> PlannedStage:
    """Return a stage of a walk as an entry of a journal has it."""
    return PlannedStage(
        stage=step.number,
        service=step.service.name,
        service_kind=step.service.kind,
        direction=step.direction,
        walk=walk,
        postgres=step.postgres,
    )
