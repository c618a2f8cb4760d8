"""What the command line chooses while the noxfile loads: the sessions of each client.

Nothing is asked but files: what else decides, the session ``plan`` asks before any client's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import nox

from harness.catalog.interpreters import choose_python, find_interpreters
from harness.catalog.releases import Catalog, Client
from harness.catalog.selectors import select_clients
from harness.catalog.versions import load
from harness.cli.asked import CLIENT_SESSIONS, Asked, ask_nox
from harness.cli.draft import read
from harness.machine.errors import HarnessError, UsageError


@dataclass(frozen=True)
class Choice:
    """The clients that have sessions, and their Pythons.

    Attributes:
        clients: by session, every client that has one of its own.
        pythons: by client's name: minor version and interpreter, or why there is none.
        forced: the Pythons that nox itself was told to take (``-p``, ``--force-python``).
    """

    clients: Mapping[str, tuple[Client, ...]]
    pythons: Mapping[str, tuple[str, Path] | str]
    forced: tuple[str, ...] = ()

    def parameters(self, session: str) -> list[Any]:
        """Return the ``python,client`` parameters of a session; no Python where none works."""
        return [
            nox.param(self._python(client), client.name, id=client.name)
            for client in self.clients[session]
        ]

    def _python(self, client: Client) -> str | bool:
        found = self.pythons[client.name]
        if isinstance(found, str):
            return False
        minor, path = found
        # nox compares what it is given by -p with this, letter by letter, and finds it then.
        return minor if minor in self.forced else str(path)

    def client(self, session: str, name: str) -> Client:
        """Return a client of a session by its name."""
        return next(client for client in self.clients[session] if client.name == name)


def choose() -> Choice:
    """Read nox's command line and the files that what follows ``--`` names.

    What is wrong is printed in one line, and the process exits with 2, before anything starts.
    """
    asked = ask_nox()
    _show_to_nox(asked.pythons)
    try:
        return choose_from(asked, load())
    except HarnessError as error:
        exit_with(error)


def _show_to_nox(minors: Sequence[str]) -> None:
    """Put Pythons behind all of PATH, where nox looks for one that it is told by its version."""
    found = find_interpreters()
    # Behind, so that what the user has on PATH is found first, as before.
    folders = [str(found[minor].parent) for minor in minors if minor in found]
    if folders:
        os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), *folders])


def exit_with(error: HarnessError) -> NoReturn:
    """Print what is wrong in one line and end the process."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def choose_from(asked: Asked, catalog: Catalog) -> Choice:
    """Return what is chosen, or raise UsageError for what no session that may run can take."""
    selected = _selected(asked, catalog)
    named = {name: asked.named(name) for name in CLIENT_SESSIONS}
    clients = {
        name: _union(catalog, selected, select_clients(catalog, text) if text else ())
        for name, text in named.items()
    }
    found = find_interpreters()
    pythons = {
        client.name: choose_python(client, found) for group in clients.values() for client in group
    }
    return Choice(clients, pythons, asked.pythons)


def _selected(asked: Asked, catalog: Catalog) -> tuple[Client, ...]:
    """Return the clients that ``--metaflow`` selects, which means the same in every session."""
    refused: list[UsageError] = []
    # Help is that of a session which runs; with -k and -t only nox knows which those are.
    helps = {"-h", "--help"} & set(asked.arguments) if asked.leaves_arguments else set()
    for name in () if helps else asked.takers:
        try:
            return read(name, asked.arguments, catalog).clients
        except UsageError as error:
            refused.append(error)
    if refused and not asked.leaves_arguments:
        raise refused[0]
    return read("local", (), catalog).clients


def _union(
    catalog: Catalog, first: Sequence[Client], second: Sequence[Client]
) -> tuple[Client, ...]:
    wanted = {client.name for client in (*first, *second)}
    return tuple(client for client in catalog.clients if client.name in wanted)
