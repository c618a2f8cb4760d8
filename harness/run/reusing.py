"""Taking results in place of what a run would do: of earlier runs, of services of the same code."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.catalog.releases import Client, Service
from harness.core.entries import CellEntry, now
from harness.core.expectations import Expectation
from harness.core.outcome import cell_status
from harness.core.plan import Cell, Plan
from harness.core.provenance import with_key
from harness.machine.errors import InfraError
from harness.run.clients import Clients
from harness.run.contracts import Contracts
from harness.run.judged import judge_checks, otherwise
from harness.run.options import Options
from harness.run.record import Record
from harness.run.reuse import Earlier
from harness.run.same_code import share, told_with
from harness.stack.backend import Backend
from harness.stack.service.launcher import ServiceError
from harness.stack.stacks import Served, Stacks


class Reusing:
    """What a run does not do, because it is known what would come of it.

    Args:
        options: of the run.
        plan: all of it.
        record: where results are written.
        earlier: the results of earlier runs; None where none is to be taken.
        backend: what its stacks are made of; None where clients run alone.
        clients: of the run.
        contracts: of its services.
    """

    def __init__(
        self,
        options: Options,
        plan: Plan,
        record: Record,
        *,
        earlier: Earlier | None,
        backend: Backend | None,
        clients: Clients,
        contracts: Contracts,
    ) -> None:
        self._options = options
        self._plan = plan
        self._record = record
        self._earlier = earlier
        self._backend = backend
        self._clients = clients
        self._contracts = contracts
        self._taken: list[Cell] = []
        self._same: dict[str, list[Cell]] = {}
        """By the id of a cell those it is told for, too: their services are of the same code."""

    def take(self, cell: Cell, pythons: Mapping[Client, Path]) -> CellEntry | None:
        """Write down the result that an earlier run has for a cell, judged by what is declared now.

        Args:
            cell: to be run.
            pythons: the interpreters of its clients.

        Returns:
            The entry; None where no earlier run has one.
        """
        earlier = self._earlier
        key = self._key(earlier, cell, pythons) if earlier else ""
        found = earlier.cell(key, self._record.folder) if earlier else None
        if found is None:
            return None
        self._taken.append(cell)
        return record_taken(self._record, found, cell, self._plan, self._options.expectations)

    def _key(self, earlier: Earlier, cell: Cell, pythons: Mapping[Client, Path]) -> str:
        """Return the key that a cell would have, without running it; empty where nobody knows."""
        served = self._served(earlier, cell)
        if served is None:
            return ""
        try:
            provenance = self._clients.provenance(cell, pythons, served)
        except InfraError:
            # Whoever runs the cell meets the same, and tells it.
            return ""
        return with_key(provenance, self._plan.planned(cell)).key

    def share(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return which of some cells are to be run; what comes of them is told for the others."""
        options = self._options
        # Where images are removed they are brought a few at a time, and not all can be compared.
        each = options.no_dedupe or options.remove_images
        # Who breaks what a service needs wants to see it with each that is named.
        if self._backend is None or each or options.session == "chaos":
            return list(cells)
        left, others = share(cells, self._code)
        self._same |= others
        return left

    def _code(self, service: Service) -> str:
        """Return what tells the code of a service from any other; empty where it cannot be had."""
        assert self._backend is not None
        try:
            return self._backend.launcher.code(service)
        except InfraError:
            # Its own cells meet the same, and tell it.
            return ""

    def told_with(self, entry: CellEntry) -> list[CellEntry]:
        """Write down what came of a cell for those it is told for, too; return their entries."""
        declared = self._options.expectations
        return [
            record_taken(
                self._record, told_with(entry, cell, self._plan), cell, self._plan, declared
            )
            for cell in self._same.get(entry.id, ())
        ]

    def _served(self, earlier: Earlier, cell: Cell) -> Served | None:
        """Return what would serve a cell, without starting it; None where nobody knows."""
        if self._backend is None or cell.service is None:
            return Served()
        try:
            code = self._backend.launcher.code(cell.service)
            server = self._backend.server(cell.point).code
        except InfraError:
            # Whoever runs the cell meets the same, and tells it.
            return None
        return earlier.served(code, server, cell.scenario)

    @property
    def took_some(self) -> bool:
        """Whether there are cells that were not run, or will not be."""
        return bool(self._taken or self._same)

    def ask_services(self, stacks: Stacks) -> None:
        """Tell of the services of taken cells by themselves: as an earlier run does, or anew.

        Args:
            stacks: where one is started that nothing tells of.

        Raises:
            InfraError: when one does not start.
        """
        for cell in self._taken:
            self._ask_service(cell, None, stacks)
        ran = {cell.id: cell for cell in self._plan.cells}
        for name, others in self._same.items():
            for cell in others:
                self._ask_service(cell, ran[name].service, stacks)

    def _ask_service(self, cell: Cell, same: Service | None, stacks: Stacks) -> None:
        """Tell of the service of a cell by itself, perhaps by that of another of the same code."""
        service, point = cell.service, cell.point
        if service is None or self._contracts.is_told(service, point):
            return
        if same is not None and self._contracts.share(service, same, point):
            return
        earlier = self._earlier
        served = self._served(earlier, cell) if earlier else None
        if earlier and served and self._contracts.reuse(earlier, service, point, served):
            return
        with contextlib.suppress(ServiceError):  # told as what came of the service
            stacks.get(service, point)


def record_taken(
    record: Record, found: CellEntry, cell: Cell, plan: Plan, declared: Sequence[Expectation]
) -> CellEntry:
    """Write down the result of another cell, or of another run, as that of a cell.

    Args:
        record: where to.
        found: the result, with its checks as they were before they were declared.
        cell: whose it is now.
        plan: that has the cell.
        declared: what is declared now.
    """
    checks = judge_checks(declared, cell, found.checks)
    return record.add(
        msgspec.structs.replace(
            found,
            **msgspec.structs.asdict(plan.planned(cell)),
            at=now(),
            run=record.run,
            status=cell_status(checks),
            checks=checks,
            undeclared=otherwise(found.checks, checks),
        )
    )
