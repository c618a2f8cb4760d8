"""Between nox and the harness: what the sessions of noxfile.py call."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import nox
from nox.command import CommandFailed

from harness.cli.options import (
    FULL,
    Options,
    arguments_after_dashes,
    only_lists,
    parse,
    requested_sessions,
)
from harness.containers.engine import find_engine
from harness.core.view import View, green
from harness.database.embedded import check_port, find_binaries
from harness.database.existing import check_existing
from harness.datastore.choice import choose_datastores
from harness.errors import HarnessError, UsageError
from harness.interpreters import choose_python, find_interpreters, python_of
from harness.outcome import Status
from harness.plan import Cell, Plan, make_plan
from harness.report.terminal import Screen, client_line
from harness.run import Run, check_results
from harness.selectors import select_clients
from harness.ui.options import UIOptions
from harness.ui.run import show, ui_main
from harness.versions import Catalog, Client, load
from harness.walk import walk

# nox shows every library's log lines; each readiness question would be one.
for library in ("urllib3", "docker"):
    logging.getLogger(library).setLevel(logging.WARNING)

CLIENT_SESSIONS = ("compat", "fixed_db", "local")
"""The sessions that are parametrized by client and take the harness's options."""


@dataclass(frozen=True)
class Choice:
    """What the command line chose, read when the noxfile loads.

    Attributes:
        options: by session, for those whose options are valid.
        clients: by session, every client that has a session of its own.
        refused: by session, what is wrong with the options for those that do not take them.
        named: by session, the clients named as ``compat(2.2.1)``; empty when none was.
        pythons: by client's name: the interpreter, or why there is none.
        minors: by client's name: the minor version of its Python; nothing where there is none.
    """

    options: Mapping[str, Options]
    refused: Mapping[str, UsageError]
    clients: Mapping[str, tuple[Client, ...]]
    named: Mapping[str, tuple[Client, ...]]
    pythons: Mapping[str, Path | str]
    minors: Mapping[str, str]

    def parameters(self, session: str) -> list[Any]:
        """Return the ``python,client`` parameters of a session; no Python where none works."""
        return [
            nox.param(
                str(python) if isinstance(python := self.pythons[client.name], Path) else False,
                client.name,
                id=client.name,
            )
            for client in self.clients[session]
        ]

    def expected(self, session: str) -> tuple[Client, ...]:
        """Return the clients that nox will come with, as far as the command line tells."""
        return self.named[session] or self.clients[session]

    def plan(self, session: str) -> Plan:
        """Return what the run of a session is going to do."""
        pythons = {client: self._minor(client) for client in self.expected(session)}
        return make_plan(self.options[session], pythons)

    def _minor(self, client: Client) -> str:
        """Return the minor version of the Python a client gets; empty where none works."""
        return "" if isinstance(self.pythons[client.name], str) else self.minors[client.name]

    def client(self, session: str, name: str) -> Client:
        """Return a client of a session by its name."""
        return next(client for client in self.clients[session] if client.name == name)


def choose(argv: Sequence[str], environment: Mapping[str, str]) -> Choice:
    """Read versions.json and nox's command line; print the plan and exit when asked for it.

    What is wrong is printed in one line, and the process exits with 2, before anything starts.
    """
    try:
        requested = requested_sessions(argv, dict(environment))
        choice = _choose(argv, load(), requested, partial(describe_engine, environment))
        _check_pythons(choice)
        if not only_lists(argv):
            for options in choice.options.values():
                _check_places(options)
    except HarnessError as error:
        _exit(str(error))
    plans = [options for options in choice.options.values() if options.plan]
    if plans:
        for options in plans:
            print(choice.plan(options.session).render())
        sys.exit(0)
    return choice


def _exit(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _choose(
    argv: Sequence[str], catalog: Catalog, requested: Sequence[str], engine: Callable[[], str]
) -> Choice:
    arguments = arguments_after_dashes(argv)
    bases = {_base(name) for name in requested}
    asked = [name for name in CLIENT_SESSIONS if name in bases]
    refused: dict[str, UsageError] = {}
    if FULL in bases:
        if len(bases) > 1:
            raise UsageError(f"{FULL} is fixed_db and then ui: run it by itself")
        options = {"fixed_db": parse(FULL, arguments, catalog, engine)}
    elif asked:
        options = {name: parse(name, arguments, catalog, engine) for name in asked}
    elif requested:
        # tests, lint and the like: what follows -- is theirs, not the harness's.
        options = {"compat": parse("compat", [], catalog)}
    else:
        options, refused = _parse_for_any(arguments, catalog, engine)
        # nox runs compat when no session is named.
        if "compat" in refused and not only_lists(argv):
            raise refused["compat"]
    first = next(iter(options.values()))
    named = {name: _named(name, requested, catalog) for name in CLIENT_SESSIONS}
    clients = {
        name: _union(catalog, options.get(name, first).clients, named[name])
        for name in CLIENT_SESSIONS
    }
    found = find_interpreters()
    chosen = {
        client.name: choose_python(client, found) for group in clients.values() for client in group
    }
    pythons = {name: one if isinstance(one, str) else one[1] for name, one in chosen.items()}
    minors = {name: one[0] for name, one in chosen.items() if not isinstance(one, str)}
    return Choice(options, refused, clients, named, pythons, minors)


def describe_engine(environment: Mapping[str, str]) -> str:
    """Describe the Docker engine that answers; the first line of a run shows it.

    Args:
        environment: the variables that may name it.

    Raises:
        InfraError: when none does, saying why.
    """
    engine = find_engine(environment)
    engine.close()
    return engine.description


def _parse_for_any(
    arguments: Sequence[str], catalog: Catalog, engine: Callable[[], str]
) -> tuple[dict[str, Options], dict[str, UsageError]]:
    """Without ``-s`` every session is possible: one must accept the options, not all."""
    options: dict[str, Options] = {}
    refused: dict[str, UsageError] = {}
    for name in CLIENT_SESSIONS:
        try:
            options[name] = parse(name, arguments, catalog, engine)
        except UsageError as error:
            refused[name] = error
    if not options:
        raise refused["compat"]
    return options, refused


def _base(session: str) -> str:
    return session.partition("(")[0]


def _named(session: str, requested: Sequence[str], catalog: Catalog) -> tuple[Client, ...]:
    names = [
        name.partition("(")[2].rstrip(")")
        for name in requested
        if _base(name) == session and "(" in name
    ]
    return select_clients(catalog, ",".join(names)) if names else ()


def _union(
    catalog: Catalog, first: Sequence[Client], second: Sequence[Client]
) -> tuple[Client, ...]:
    wanted = {client.name for client in (*first, *second)}
    return tuple(client for client in catalog.clients if client.name in wanted)


def _check_pythons(choice: Choice) -> None:
    for name in choice.options:
        pythons = [choice.pythons[client.name] for client in choice.expected(name)]
        reasons = [reason for reason in pythons if isinstance(reason, str)]
        if pythons and len(reasons) == len(pythons):
            raise UsageError(f"no selected client can run here: {reasons[0]}")


def _check_places(options: Options) -> None:
    """Raise UsageError for a place, a database or a bucket that the run could not use."""
    check_results(options.results)
    if options.database_port is not None:
        check_port(options.database_port)
    for variant in options.postgres:
        if "/" in variant:
            find_binaries(variant)
    if options.database_url is not None:
        check_existing(options.database_url, options.path, allow=options.allow_existing)
    for datastore in choose_datastores(options, options.results, os.environ).values():
        datastore.check()


_runs: dict[str, Run] = {}
_shown: dict[str, UIOptions] = {}
"""By the id of a walk, what ``full`` shows after it."""

_prepared: dict[Client, Path] = {}
"""The clients of a walk whose environments are ready, each with its interpreter."""


def run_client(choice: Choice, session: nox.Session, name: str, client_name: str) -> None:
    """Install one client in the session's environment and run its cells.

    The session is red when a cell has an unexpected outcome, and skipped where no Python works.
    """
    client = choice.client(name, client_name)
    run = _run_of(choice, session, name)
    cells = run.plan.of_client(client)
    python = _install(choice, session, run, client, cells)
    try:
        outcomes = run.compat(cells, python)
    except HarnessError as error:
        session.error(str(error))
    line = client_line(run.view, client.name)
    if not all(outcome.status.expected for outcome in outcomes):
        session.error(line)
    run.screen.say(line)


def prepare_client(choice: Choice, session: nox.Session, client_name: str) -> None:
    """Install one client of the walk, which starts when the last one is ready."""
    client = choice.client("fixed_db", client_name)
    run = _run_of(choice, session, "fixed_db")
    cells = run.plan.of_client(client)
    _prepared[client] = _install(choice, session, run, client, cells)


def _run_of(choice: Choice, session: nox.Session, name: str) -> Run:
    """Return the run the session belongs to, made by the first one; the verdict follows."""
    if session.parallel:
        session.error("stacks are shared by sessions: leave out --allow-parallel, use -- --jobs N")
    if name in choice.refused:
        session.error(str(choice.refused[name]))
    session.notify("verdict")
    if name not in _runs:
        try:
            _runs[name] = Run(choice.options[name], choice.plan(name), Screen())
        except HarnessError as error:
            _exit(str(error))
    return _runs[name]


def _install(
    choice: Choice, session: nox.Session, run: Run, client: Client, cells: Sequence[Cell]
) -> Path:
    """Install the client and return its interpreter; what cannot be is recorded for its cells."""
    python = choice.pythons[client.name]
    if isinstance(python, str):
        run.skip(cells, Status.NOT_RUN, python)
        session.skip(python)
    bin_folder = Path(session.virtualenv.bin)
    try:
        pins = [*client.pins, *run.pins(client, python_of(bin_folder / "python"))]
        session.install(f"metaflow=={client.name}", *pins, silent=True)
    except CommandFailed:
        run.skip(cells, Status.INFRA, f"metaflow=={client.name} could not be installed")
        raise
    return bin_folder / "python"


def run_full(choice: Choice, session: nox.Session) -> None:
    """Queue a walk of all clients; the verdict on it queues the UI."""
    for client in choice.clients["fixed_db"]:
        session.notify(f"fixed_db({client.name})", posargs=())


def end_runs(session: nox.Session) -> None:
    """End every run of this process, after its walk; then ``ui`` follows, where it is asked for.

    Red when a walk has an unexpected outcome, or when a run had no cell that ran.
    """
    if not _runs:
        session.error("nothing ran: this session is queued by the others, e.g. nox -s compat")
    wrong = []
    for name, run in _runs.items():
        if name == "fixed_db" and _prepared:
            try:
                walk(run, _prepared)
            except HarnessError as error:
                wrong.append(str(error))
        run.end()
        if run.options.ui is not None:
            _shown[run.id] = run.options.ui
            session.notify("ui", posargs=())
        if all(cell.status is Status.NOT_RUN for cell in run.view.finished):
            wrong.append(f"no cell of {name} ran")
        elif name == "fixed_db" and not _green(run.view):
            wrong.append("the walk has unexpected outcomes; see above")
    if wrong:
        session.error("; ".join(wrong))


def show_ui(session: nox.Session) -> None:
    """Show the UI over what the walk of ``full`` left, or over what was asked for."""
    if not _shown:
        run_command(session, ui_main)
    for run_id, options in _shown.items():
        shown = replace(options, source=None if options.database_url else run_id)
        run_command(session, lambda _, shown=shown: show(shown, load(), Screen()))  # type: ignore[misc]


def _green(view: View) -> bool:
    return all(map(green, view.finished)) and all(map(green, view.stages))


def run_command(session: nox.Session, main: Callable[[Sequence[str]], int]) -> None:
    """Do what a session without clients does; red when it comes to anything but 0."""
    try:
        code = main(session.posargs)
    except HarnessError as error:
        session.error(str(error))
    if code:
        session.error("red; see above")
