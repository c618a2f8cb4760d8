"""Who reads and resumes what whom wrote: the roles of clients in ``cross``. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness.catalog.releases import Client
from harness.machine.errors import UsageError, nearest

NEIGHBOURS = "neighbours"
_SELECTIONS = (NEIGHBOURS, "corners", "all")
_FORM = "WRITER:READER, or WRITER:READER:RESUMER"


@dataclass(frozen=True)
class Roles:
    """Who has which role in a cell.

    Attributes:
        resumer: None where nobody resumes the run.
    """

    writer: Client
    reader: Client
    resumer: Client | None = None


def make_pairs(text: str, clients: Sequence[Client]) -> tuple[Roles, ...]:
    """Return the roles that a selection comes to: reading, and then resuming, each pair.

    Args:
        text: ``neighbours``, ``corners``, ``all``, or a comma list of pairs by name.
        clients: those that take part, oldest first.

    Raises:
        UsageError: for what is neither, and for a client that takes no part.
    """
    if text not in _SELECTIONS:
        parts = (part.strip() for part in text.split(","))
        return tuple(dict.fromkeys(_named(part, text, clients) for part in parts))
    found = []
    for writer, reader in _selected(text, clients):
        found += [Roles(writer, reader), Roles(writer, reader, reader)]
    return tuple(found)


def _selected(text: str, clients: Sequence[Client]) -> Iterator[tuple[Client, Client]]:
    """Yield writer and reader, reader by reader."""
    ends = {clients[0], clients[-1]}
    near = {frozenset(two) for two in pairwise(clients)}
    for reader in clients:
        for writer in clients:
            # Each with itself is the control: what fails there is not the other release's fault.
            if (
                text == "all"
                or writer == reader
                or (text == NEIGHBOURS and frozenset((writer, reader)) in near)
                or (text == "corners" and ends & {writer, reader})
            ):
                yield writer, reader


def _named(part: str, text: str, clients: Sequence[Client]) -> Roles:
    names = part.split(":")
    if len(names) not in (2, 3):
        raise UsageError(
            f"--pairs {text}: {part!r} is neither {_FORM} nor one of {', '.join(_SELECTIONS)}"
            f"{nearest(part, _SELECTIONS)}"
        )
    return Roles(*(_client(name, text, clients) for name in names))


def _client(name: str, text: str, clients: Sequence[Client]) -> Client:
    found = next((client for client in clients if client.name == name.strip()), None)
    if found is None:
        known = [client.name for client in clients]
        raise UsageError(
            f"--pairs {text}: {name!r} is not among the clients of --metaflow"
            f"{nearest(name, known)}: {', '.join(known)}"
        )
    return found
