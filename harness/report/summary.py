"""What a journal says, counted and put in a grid. Pure; every report is drawn from this."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.journal import Entry
from harness.outcome import Status, worst


def cells(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries of cells, the last one of each id, in the order they first finished."""
    latest: dict[str, Entry] = {}
    for entry in entries:
        if entry["kind"] == "cell":
            latest[entry["id"]] = entry
    return list(latest.values())


def totals(entries: Iterable[Entry]) -> dict[str, int]:
    """Return how many cells have each status, worst first, without the statuses nobody has."""
    counts = Counter(Status(entry["status"]) for entry in cells(entries))
    order = sorted(counts, key=lambda status: (status.expected, status.value))
    return {status.value: counts[status] for status in order}


@dataclass(frozen=True)
class Grid:
    """Clients × services; a square stands for every cell with this client and service.

    Attributes:
        squares: status by (client, service); nothing for what is not in the journal.
    """

    clients: tuple[str, ...]
    services: tuple[str, ...]
    squares: dict[tuple[str, str], Status]


def grid(entries: Sequence[Entry]) -> Grid:
    """Return the grid of the journal's cells, in the order the run planned them."""
    found = cells(entries)
    planned = next((entry for entry in entries if entry["kind"] == "run"), {})
    clients = _ordered(planned.get("clients", ()), (cell["client"] for cell in found))
    services = _ordered(planned.get("services", ()), (column(cell) for cell in found))
    squares: dict[tuple[str, str], list[Status]] = {}
    for cell in found:
        squares.setdefault((cell["client"], column(cell)), []).append(Status(cell["status"]))
    return Grid(clients, services, {key: worst(statuses) for key, statuses in squares.items()})


def column(cell: Entry) -> str:
    """Return the name of the grid column a cell belongs to."""
    return cell["service"] or "no service"


def _ordered(planned: Iterable[str], found: Iterable[str]) -> tuple[str, ...]:
    seen = dict.fromkeys(found)
    return tuple(name for name in dict.fromkeys([*planned, *seen]) if name in seen)


def sentence(cell: Entry) -> list[str]:
    """Return what is wrong with a cell, one sentence for each check that is not as expected.

    Checks that did not run because another failed are left to the one that failed.
    """
    wrong = {
        name: check
        for name, check in cell["checks"].items()
        if not Status(check["status"]).expected
    }
    causes = {name: c for name, c in wrong.items() if c["status"] != Status.NOT_RUN.value} or wrong
    return [
        f"client {cell['client']} × {column(cell)}, {cell['datastore']} data, probe"
        f" {cell['probe']}: {name}: {check['status']}: {check['reason']}"
        for name, check in causes.items()
    ]
