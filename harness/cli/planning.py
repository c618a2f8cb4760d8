"""From what was asked for to the plan of a run. Pure: made before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from harness.catalog.releases import Client, Service
from harness.cli.lines import rerun_line
from harness.core.plan import Cell, Plan
from harness.machine.dependencies import PINNED, Dependencies
from harness.run.options import Options


@dataclass(frozen=True)
class OnPython:
    """A client of a run on a Python.

    Attributes:
        client: its release.
        python: the minor version it gets; empty where none works.
        asked: whether that one was asked for.
        deps: which versions of what it requires it has.
    """

    client: Client
    python: str
    asked: bool = False
    deps: Dependencies = PINNED


def make_plan(options: Options, clients: Sequence[OnPython]) -> Plan:
    """Return what a run with these options does.

    Client by client, within a client service by service; in a walk stage by stage, within a stage
    client by client. In ``cross`` reader by reader, within a reader writer by writer.

    Args:
        options: of the run.
        clients: those of the run, in order, each once for each of its Pythons and dependencies.
    """
    whole = [
        replace(cell, build=build_of(cell.service, options.backend)) if cell.service else cell
        for cell in _cells(options, clients)
    ]
    rerun = {cell.id: rerun_line(cell, options) for cell in whole}
    return Plan(options.session, options.path, tuple(whole), rerun)


def _cells(options: Options, clients: Sequence[OnPython]) -> Iterator[Cell]:
    """Yield the cells, in ``cross`` those of pairs of clients that come."""
    if not options.pairs:
        yield from _alone(options, clients)
        return
    cells = list(_alone(options, clients))
    come = {None, *(one.client for one in clients)}
    for roles in options.pairs:
        for cell in cells:
            resumed = roles.resumer is not None
            if (
                cell.client == roles.reader
                and {roles.writer, roles.resumer} <= come
                and (cell.probe.resumer_actions or not resumed)
            ):
                yield replace(cell, writer=roles.writer, resumer=roles.resumer)


def _alone(options: Options, clients: Sequence[OnPython]) -> Iterator[Cell]:
    """Yield a cell for each client, with nobody beside it."""
    # A whole walk for each PostgreSQL and what else a database has of its own; one over all of them
    # where it moves.
    walks = (",".join(options.postgres),) if options.postgres_upgrade else options.postgres
    places: Iterable[tuple[str, str, str, int, Service | None, OnPython]] = (
        (postgres, tls, scenario, step.number, step.service, one)
        for postgres, tls, scenario, step, one in product(
            walks, options.database_tls, options.scenarios, options.path, clients
        )
    )
    if not options.path:
        places = (
            (postgres, tls, scenario, 0, service, one)
            for one, postgres, tls, service, scenario in product(
                *(clients, options.postgres, options.database_tls),
                *(options.services or (None,), options.scenarios),
            )
        )
    for postgres, tls, scenario, stage, service, one in places:
        for datastore, probe in product(options.datastores, options.probes):
            yield Cell(
                options.session,
                one.client,
                service,
                datastore,
                probe,
                stage,
                python=one.python,
                postgres=postgres,
                database_tls=tls,
                scenario=scenario,
                packages=" ".join(options.packages),
                deps=one.deps.name,
                deps_build=_digests(one.deps, service),
                backend=_backend_name(options),
                asked=("python",) if one.asked else (),
            )


def _digests(deps: Dependencies, service: Service | None) -> str:
    """Return what tells files of dependencies from others of their names."""
    return "; ".join(filter(None, [deps.digest, service.deps.digest if service else ""]))


def _backend_name(options: Options) -> str:
    """Return where database and service come from, in a word."""
    if options.session == "local":
        return "none"
    somebodys = options.service_url is not None or options.database_url is not None
    return "external" if somebodys else options.backend


def build_of(service: Service, backend: str) -> str:
    """Return what a service's name stands for: an image, a git ref, or nothing but itself."""
    if service.kind == "reference":
        return ""
    if backend == "docker" and service.image is not None:
        return service.image
    return service.label or service.ref or ""
