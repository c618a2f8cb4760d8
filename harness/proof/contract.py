"""The contract of a metadata service, asked without any client, and how releases changed it.

A write that is answered 2xx can be read back equal and its row is there; a write that is answered
4xx or 5xx left every row as it was. How else a service behaves is observed, so that two stages of
a walk can be held against each other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter

import psycopg2

from harness.catalog.releases import Service
from harness.machine.errors import InfraError, one_line
from harness.proof.declared import ALWAYS, DECLARED, declared
from harness.proof.exercise import Exercise, flows_of
from harness.proof.requests import Exchange
from harness.stack.database.server import Address

EXTERNAL = "external"
"""The kind of a service that somebody else runs."""

REFERENCE = "reference"
"""The kind of a service that is a level of the reference service."""


@dataclass(frozen=True)
class Contract:
    """What a service was found to do.

    Attributes:
        observations: named behaviour to what was answered, free of ids, times and order:
            ``duplicate flow`` to ``409``. What needs an object that could not be made is absent.
        problems: sentences naming the check, what was sent, what was answered and what the
            database holds; none when the service keeps its word.
        complete: whether everything could be asked for.
    """

    observations: Mapping[str, str]
    problems: tuple[str, ...]
    complete: bool = True


@dataclass(frozen=True)
class Observed:
    """How a service, called by its name, was found to behave."""

    name: str
    observations: Mapping[str, str]


def exercise(url: str, address: Address | None, flow_id: str) -> Contract:
    """Ask a service that is up to register, refuse and read objects of one flow.

    What it registers stays in the database, for later stages to carry on.

    Args:
        url: base address of the metadata API.
        address: the service's database, to see what it really holds; None where it is not known:
            then its answers alone are judged.
        flow_id: name of a flow nobody has used, nor one that begins so.

    Raises:
        InfraError: when the service or the database does not answer at all.
    """
    if address is None:
        return _asked(Exchange(url, None, flows_of(flow_id)), flow_id)
    try:
        with contextlib.closing(address.connect()) as connection:
            return _asked(Exchange(url, connection, flows_of(flow_id)), flow_id)
    except psycopg2.OperationalError as error:
        raise InfraError(f"the rows of {flow_id} cannot be read: {one_line(error)}") from error
    except psycopg2.Error as error:  # a table that a migration has not made, say
        why = f"the rows of {flow_id} cannot be read: {one_line(error)}"
        return Contract({}, (why,), complete=False)


def _asked(exchange: Exchange, flow_id: str) -> Contract:
    asking = Exercise(exchange, flow_id)
    complete = asking.ask_all()
    return Contract(asking.observations, tuple(exchange.problems), complete)


def undeclared(found: Contract, service: Service, schema: int) -> list[str]:
    """Name each behaviour of a service that is declared, and is not as it is declared.

    What is declared for ``service`` holds with the next release and after a jump over several.

    Args:
        found: what was observed.
        service: who was asked.
        schema: the newest migration its database has.
    """
    named = []
    for check, now in sorted(found.observations.items()):
        known = declared(check, service, schema)
        if known is not None and now not in known.expected:
            told = f"{known.change.reason}; since {known.change.since}"
            expected = " or ".join(known.expected)
            named.append(f"{check}: is {now} with {service.name}; declared: {expected} ({told})")
    return named


def differences(before: Observed, after: Observed) -> list[str]:
    """Name each behaviour that differs, and that no release is declared to have changed.

    Args:
        before: of the older service, or of the stage before.
        after: of the newer one, or of this stage.
    """
    known = {one.check for one in DECLARED}
    return [
        f"{check}: was {was} with {before.name}, is {now} with {after.name}"
        for check, was in sorted(before.observations.items())
        if check not in known and (now := after.observations.get(check, was)) != was
    ]


def beside(
    service: Service, services: Iterable[Service], asked: Mapping[str, Observed]
) -> list[str]:
    """Name what differs, undeclared, between a service and its neighbours in order of version.

    Levels of the reference service are neighbours of each other alone.

    Args:
        service: whose neighbours are looked for.
        services: all that a run has.
        asked: by name, what was observed of them so far; of ``service``, too.
    """
    reference = service.kind == REFERENCE
    alike = [one for one in services if (one.kind == REFERENCE) == reference]
    alike.sort(key=attrgetter("version"))
    return [
        line
        for older, newer in pairwise(alike)
        if service in {older, newer} and {older.name, newer.name} <= asked.keys()
        for line in differences(asked[older.name], asked[newer.name])
    ]


def unusual(found: Contract, service: Service) -> list[str]:
    """Name what a service that somebody else runs does as no release does; none of any other."""
    if service.kind != EXTERNAL:
        return []
    releases = Observed("every release", ALWAYS)
    return differences(releases, Observed(service.name, found.observations))
