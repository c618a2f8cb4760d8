"""The plan: which cells run in which order. Pure: computed before anything starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.path import Step
from harness.probes import STORED, Check, Probe
from harness.versions import Client, Service


@dataclass(frozen=True)
class Cell:
    """One client × one service × one datastore × one probe.

    Attributes:
        session: ``compat``, ``fixed_db`` or ``local``.
        service: None in ``local``, where clients run alone.
        stage: number of the stage in a fixed-database walk, from 1; 0 elsewhere.
    """

    session: str
    client: Client
    service: Service | None
    datastore: str
    probe: Probe
    stage: int = 0

    @property
    def id(self) -> str:
        """The stable name of the cell: ``compat/2.19.39/reference-2.5/local/basics``."""
        service = self.service.slug if self.service else "no-service"
        stage = f"{self.stage:02d}-" if self.stage else ""
        parts = (self.session, self.client.name, stage + service, self.datastore, self.probe.name)
        return "/".join(parts)

    @property
    def slug(self) -> str:
        """The id as a file name."""
        return self.id.replace("/", "__")

    @property
    def checks(self) -> tuple[Check, ...]:
        """The probe's checks, and the one that every cell with an object store has."""
        return (*self.probe.checks, STORED) if self.datastore == "s3" else self.probe.checks

    def unsupported(self, check: Check) -> str:
        """Return why the check cannot be asked of this cell; empty when it can."""
        if self.probe.datastores and self.datastore not in self.probe.datastores:
            return f"needs {' or '.join(self.probe.datastores)} data, this is {self.datastore}"
        if check.client and not self.client.satisfies(check.client):
            return f"needs client {check.client}, this is {self.client.name}"
        if check.service and self.service and not self.service.satisfies(check.service):
            reported = self.service.reported or "no version"
            return f"needs service {check.service}, {self.service.name} reports {reported}"
        if check.release and self.service and not self.service.is_release(check.release):
            return f"needs service release {check.release}, this is {self.service.name}"
        return ""


def matrix(
    session: str,
    clients: Iterable[Client],
    services: Iterable[Service | None],
    datastores: Iterable[str],
    probes: Iterable[Probe],
) -> tuple[Cell, ...]:
    """Return every combination, client by client; within a client service by service."""
    services, datastores, probes = tuple(services), tuple(datastores), tuple(probes)
    return tuple(
        Cell(session, client, service, datastore, probe)
        for client in clients
        for service in services
        for datastore in datastores
        for probe in probes
    )


def walk_cells(
    path: Iterable[Step],
    clients: Iterable[Client],
    datastores: Iterable[str],
    probes: Iterable[Probe],
) -> tuple[Cell, ...]:
    """Return every cell of a fixed-database walk, stage by stage."""
    clients, datastores, probes = tuple(clients), tuple(datastores), tuple(probes)
    return tuple(
        Cell("fixed_db", client, step.service, datastore, probe, step.number)
        for step in path
        for client in clients
        for datastore in datastores
        for probe in probes
    )


def render(cells: Iterable[Cell]) -> str:
    """Return the plan as text, one cell a line, with what it cannot be asked."""
    lines = []
    for cell in cells:
        asked = [check.name for check in cell.checks if not cell.unsupported(check)]
        reasons = filter(None, (cell.unsupported(check) for check in cell.checks))
        left_out = "".join(f"; unsupported: {reason}" for reason in reasons)
        lines.append(f"{cell.id}: {', '.join(asked)}{left_out}")
    return "\n".join([*lines, f"{len(lines)} cells"])
