"""What the command line chooses while the noxfile loads: the sessions of each client.

Nothing is asked but files: what else decides, the session ``plan`` asks before any client's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

import nox

from harness.catalog.interpreters import asked_python, by_minor, choose_python, find_interpreters
from harness.catalog.releases import Catalog, Client
from harness.catalog.selectors import select_clients
from harness.catalog.versions import load
from harness.cli.asked import CLIENT_SESSIONS, Asked, ask_nox
from harness.cli.checks import pythons
from harness.cli.draft import Draft, read
from harness.machine.dependencies import PINNED, Dependencies, parse_dependencies
from harness.machine.errors import HarnessError, UsageError, about
from harness.machine.words import show_everything


@dataclass(frozen=True)
class Chosen:
    """A client that has a session, and its Python.

    Attributes:
        client: its release.
        found: minor version and interpreter of the Python, or why there is none.
        asked: the minor version that was asked for; empty for the Python it gets unasked.
        deps: which versions of what it requires it has.
    """

    client: Client
    found: tuple[str, Path] | str
    asked: str = ""
    deps: Dependencies = PINNED

    @property
    def name(self) -> str:
        """What stands in the parentheses of its session: ``2.8.5``, ``2.8.5, 3.12, latest``."""
        return ", ".join(filter(None, [self.client.name, self.asked, self.deps.name]))


@dataclass(frozen=True)
class Choice:
    """The clients that have sessions, and their Pythons.

    Attributes:
        chosen: by session, every client that has one of its own, once for each of its Pythons and
            dependencies.
        forced: the Pythons that nox itself was told to take (``-p``, ``--force-python``).
        elsewhere: whether workers of a cluster make the environments, and nox makes none here.
    """

    chosen: Mapping[str, tuple[Chosen, ...]]
    forced: tuple[str, ...] = ()
    elsewhere: bool = False

    def parameters(self, session: str) -> list[Any]:
        """Return the ``python,client`` parameters of a session; no Python where none works."""
        return [nox.param(self._python(one), one.name, id=one.name) for one in self.chosen[session]]

    def _python(self, one: Chosen) -> str | bool:
        if self.elsewhere or isinstance(one.found, str):
            return False
        minor, path = one.found
        # nox compares what it is given by -p with this, letter by letter, and finds it then.
        return minor if minor in self.forced else str(path)

    def one(self, session: str, name: str) -> Chosen:
        """Return a client of a session by what stands in its parentheses."""
        return next(one for one in self.chosen[session] if one.name == name)


def choose() -> Choice:
    """Read nox's command line and the files that what follows ``--`` names.

    What is wrong is printed in one line, and the process exits with 2, before anything starts.
    """
    show_everything()
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
    draft = _selected(asked, catalog)
    elsewhere = draft.raw.scheduler is not None
    found = find_interpreters()
    with about("--python"):
        for python in () if elsewhere else draft.pythons:
            _asked(python, found)
    if elsewhere and (asked.pythons or any(asked.named(name) for name in CLIENT_SESSIONS)):
        raise UsageError(
            "--scheduler: workers do not see nox's own flags: choose clients by --metaflow, and"
            " Pythons by --python"
        )
    chosen = {
        name: tuple(
            _on_python(client, python, deps, found, elsewhere=elsewhere)
            for client, python, deps in _wanted(catalog, draft, asked.named(name))
        )
        for name in CLIENT_SESSIONS
    }
    return Choice(chosen, asked.pythons, elsewhere)


def _on_python(
    client: Client, python: str, deps: Dependencies, found: Mapping[str, Path], *, elsewhere: bool
) -> Chosen:
    if elsewhere and python:
        # Whether its worker has one shows there.
        return Chosen(client, (python, Path()), python, deps)
    if not python:
        return Chosen(client, choose_python(client, found), python, deps)
    return Chosen(client, _asked(python, found), python, deps)


def _asked(python: str, found: Mapping[str, Path]) -> tuple[str, Path] | str:
    """Return a Python that was asked for; on a worker of a cluster perhaps why there is none."""
    try:
        return asked_python(python, found)
    except UsageError as error:
        # Not above: a listing would wait for what it imports.
        from harness.run.cluster.on_worker import UNITS  # noqa: PLC0415

        if UNITS in os.environ:
            # It does what it can, and tells of the others that it cannot.
            return str(error)
        raise


def _selected(asked: Asked, catalog: Catalog) -> Draft:
    """Return what is said of clients and Pythons, which means the same in every session."""
    refused: list[UsageError] = []
    # Help is that of a session which runs; with -k and -t only nox knows which those are.
    helps = {"-h", "--help"} & set(asked.arguments) if asked.leaves_arguments else set()
    for name in () if helps else asked.takers:
        try:
            return read(name, asked.arguments, catalog)
        except UsageError as error:
            refused.append(error)
    if refused and not asked.leaves_arguments:
        raise refused[0]
    return read("local", (), catalog)


def _wanted(
    catalog: Catalog, draft: Draft, named: Sequence[tuple[str, str, str]]
) -> list[tuple[Client, str, Dependencies]]:
    """Return the clients of a session in order, each with a Python and its dependencies.

    An empty Python is not asked for.

    Args:
        catalog: what there is.
        draft: what the options say.
        named: what the name of the session says.
    """
    # Not a set: refs of a checkout, which no catalog orders, come as they are asked for.
    wanted = dict.fromkeys(product(draft.clients, draft.pythons or ("",), draft.deps))
    for text, python, words in named:
        wrong = pythons(python) if python else ""
        if wrong:
            raise UsageError(f"-s …({text}, {python}): {wrong}")
        if draft.pythons and not python:
            raise UsageError(
                f"-s …({text}) names no Python, and --python names {', '.join(draft.pythons)}:"
                f' name the session, for example, "…({text}, {draft.pythons[0]})"'
            )
        refs = draft.raw.metaflow_checkout is not None
        clients = select_clients(catalog, text, refs=refs)
        wanted |= dict.fromkeys(product(clients, (python,), _named_deps(draft, text, words)))
    order = {client: place for place, client in enumerate(catalog.clients)}
    last = len(order)
    deps = list(dict.fromkeys(one for _, _, one in wanted))
    return sorted(
        wanted,
        key=lambda one: (
            order.get(one[0], last),
            by_minor(one[1]) if one[1] else 0,
            deps.index(one[2]),
        ),
    )


def _named_deps(draft: Draft, client: str, words: str) -> tuple[Dependencies, ...]:
    """Return the dependencies that the name of a session says; without, those that options say."""
    asked = {one.name: one for one in draft.deps}
    if words in asked:
        return (asked[words],)
    if not words:
        raise UsageError(
            f"-s …({client}) names no dependencies, and --deps names {', '.join(asked)}: name the"
            f' session, for example, "…({client}, {next(iter(asked))})"'
        )
    return parse_dependencies(f"-s …({client}, {words})", words)
