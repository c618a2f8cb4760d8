"""Between nox and the harness: what the sessions of noxfile.py do."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, NoReturn

import nox

from harness.catalog.releases import Catalog, Client
from harness.catalog.versions import load
from harness.cli.asked import CLIENT_SESSIONS, FULL
from harness.cli.bisect import bisect_main
from harness.cli.choice import Choice, Chosen, exit_with
from harness.cli.clean import clean_main, clear
from harness.cli.client_run import ClientRun
from harness.cli.coming import Coming, coming, one_of
from harness.cli.commands import diff_main, report_main
from harness.cli.installing import elsewhere, fill, ready
from harness.cli.needs import check_environments, check_files
from harness.cli.options import parse, parse_full
from harness.cli.places import check_places
from harness.cli.planning import OnPython, make_plan
from harness.cli.rerun import rerun_main
from harness.cli.rounds import Rounds
from harness.cli.serving import Environments, Serving, pipes
from harness.cli.sharding import matrix, own_part
from harness.cli.ui_options import parse_ui
from harness.cli.verdict import what_is_wrong
from harness.client.development import find_clients
from harness.core.outcome import Status
from harness.core.plan import Cell
from harness.machine.control_group import enter_group
from harness.machine.errors import HarnessError, InfraError, UsageError, naming_machine
from harness.report.terminal import Screen, client_line
from harness.run.attempts import Begun
from harness.run.options import Options
from harness.run.resume import view_before
from harness.run.run import Run
from harness.run.walk import walk
from harness.stack.containers.engine import find_engine
from harness.ui.options import UIOptions
from harness.ui.run import show

# nox shows every library's log lines; each readiness question would be one.
for library in ("urllib3", "docker"):
    logging.getLogger(library).setLevel(logging.WARNING)

_OF_THE_HARNESS = {"plan", "verdict"}
"""Sessions that are there for those of clients."""


def ui_main(arguments: Sequence[str]) -> int:
    """Do ``nox -s ui -- …``; return 1 when ``--check`` found something wrong.

    Raises:
        HarnessError: for bad input, and for what could not be started.
    """
    catalog = load()
    return show(parse_ui(arguments, catalog), catalog, Screen())


_COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "bisect": lambda arguments: bisect_main(arguments, describe_engine),
    "clean": clean_main,
    "diff": diff_main,
    "report": report_main,
    "rerun": rerun_main,
    "ui": ui_main,
}


def describe_engine() -> str:
    """Describe the Docker engine that answers; the first line of a run shows it.

    Raises:
        InfraError: when none does, saying why.
    """
    engine = find_engine(os.environ)
    engine.close()
    return engine.description


class Sessions:
    """What the sessions of one nox process do, one after the other.

    Args:
        choice: what was chosen when the noxfile was loaded.
    """

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._planned: dict[str, ClientRun] = {}
        self._refused: dict[str, UsageError] = {}
        self._clients: dict[str, Client] = {}

    def plan(self, session: nox.Session) -> None:
        """Ask what is not in files, once and before any client's session; print a plan and exit.

        What is wrong is told in one line, and ends the process unless other sessions run, too.
        """
        all_of_them = coming(session)
        selected = [one for one in all_of_them if one.selected]
        others = {one.session for one in selected if not one.client} - _OF_THE_HARNESS
        try:
            clients = _clients_to_come(all_of_them, selected, others)
            self._plan(clients, FULL in others, session.posargs, load())
        except HarnessError as error:
            if others - {FULL}:
                session.error(str(error))
            exit_with(error)
        if any(one.options.plan for one in self._planned.values()):
            self._print_plans()
        if all(one.complete for one in self._planned.values()):
            self._exit_complete()
        asked = pipes()
        if asked is not None:
            self._serve(session, *asked)
        if FULL not in others:  # which has to queue its clients before
            session.notify("verdict")

    def _plan(
        self, clients: Sequence[Coming], full: bool, arguments: Sequence[str], catalog: Catalog
    ) -> None:
        for name in CLIENT_SESSIONS:
            own = [one for one in clients if one.session == name]
            if not own:
                continue
            try:
                options, shown = (
                    parse_full(arguments, catalog, describe_engine)
                    if full
                    else (parse(name, arguments, catalog, describe_engine), None)
                )
            except UsageError as error:
                self._refused[name] = error
                continue
            self._planned[name] = self._run_of(options, own, shown)
        # Of several sessions one must take the options, not all.
        if not self._planned:
            raise next(iter(self._refused.values()))

    def _run_of(
        self, options: Options, own: Sequence[Coming], shown: UIOptions | None
    ) -> ClientRun:
        """Return the run of the clients that come, with every place it needs checked."""
        clients: dict[str, OnPython] = {}
        for one in own:
            if one.client in clients:
                raise UsageError(
                    f"{one.session}({one.client}) comes several times: a session of a client runs"
                    " on one Python, so name one"
                )
            chosen = self._choice.one(one.session, one.client)
            (client,) = find_clients([chosen.client], options.metaflow_checkout, load())
            self._clients[one.client] = client
            minor = _minor(one, chosen, elsewhere=self._choice.elsewhere)
            if chosen.asked and minor != chosen.asked:
                raise UsageError(
                    f"{one.session}({one.client}) is for Python {chosen.asked}, and nox was told to"
                    f" take {minor}: leave out one of --python and --force-python"
                )
            clients[one.client] = OnPython(
                client, minor, asked=bool(chosen.asked), deps=chosen.deps
            )
        check_environments(options.session, list(clients.values()))
        if options.scheduler is not None and {one.client for one in clients.values()} != set(
            options.clients
        ):
            raise UsageError("--scheduler: choose clients by --metaflow, not by nox's own flags")
        if not any(one.python for one in clients.values()):
            reason = self._choice.one(own[0].session, own[0].client).found
            raise UsageError(f"no selected client can run here: {reason}")
        plan = own_part(options, make_plan(options, list(clients.values())))
        before = view_before(options, plan)
        if options.resumed is not None and not options.plan:
            # Before its places are checked: a killed database may hold the port that was asked for.
            for line in clear(options.resumed.name, containers=options.backend == "docker"):
                print(line)
        check_places(options)
        if options.scheduler is None:
            check_files(list(clients.values()), options.services)
        rounds = Rounds(options, plan, before) if options.strategy else None
        return ClientRun(options, plan, before, shown, rounds)

    def _print_plans(self) -> None:
        if any(one.options.plan == "github" for one in self._planned.values()):
            print(matrix((one.options, one.plan) for one in self._planned.values()))
            sys.exit(0)
        for one in self._planned.values():
            if one.options.plan == "json":
                print(one.left.to_json())
            else:
                print(one.left.render())
        for error in self._refused.values():
            exit_with(error)
        sys.exit(0)

    def _exit_complete(self) -> NoReturn:
        for one in self._planned.values():
            print(f"nothing is left to do: {one.options.resumed} is complete")
        sys.exit(int(not all(one.before.green for one in self._planned.values())))

    def _one(self, session: str, name: str) -> Chosen:
        """Return a client by what stands in the parentheses of its session, as it is planned."""
        chosen = self._choice.one(session, name)
        return replace(chosen, client=self._clients.get(name, chosen.client))

    def run_client(self, session: nox.Session, name: str, client_name: str) -> None:
        """Run one client's cells in the session's environment, and meanwhile begin with the next.

        The session is red when a cell has an unexpected outcome, and skipped where no Python works.
        """
        chosen = self._one(name, client_name)
        run = self._start(session, name)
        own = run.plan.of_client(chosen.client, chosen.asked, chosen.deps.name)
        cells = self._planned[name].now(own)
        begun = self._planned[name].begun.pop(client_name, None)
        try:
            if isinstance(begun, Exception):
                # Of nox, or of the harness: it is that of this session.
                raise begun
            batch = begun or self._begin(session, name, client_name)
            with naming_machine(), run.watched():
                self._begin_others(session, name, batch)
                outcomes = batch.outcomes()
        except HarnessError as error:
            session.error(str(error))
        line = client_line(run.record.view, chosen.client.name, chosen.asked, chosen.deps.name)
        ids, finished = {cell.id for cell in cells}, run.record.view.finished
        # Not all of them ran, and of several attempts the view has the last.
        statuses = [one.status for one in finished if one.id in ids]
        statuses += [outcome.status for outcome in outcomes]
        if not all(status.expected for status in statuses):
            session.error(line)
        run.screen.say(line)

    def _begin(self, session: nox.Session, name: str, client_name: str) -> Begun:
        """Install one client in the environment of its session, and let its cells begin."""
        chosen = self._one(name, client_name)
        run, planned = self._runs[name], self._planned[name]
        own = run.plan.of_client(chosen.client, chosen.asked, chosen.deps.name)
        cells = planned.now(own)
        if run.cluster is not None:
            planned.pythons[client_name] = elsewhere(session, run, chosen, cells)
            return run.begin(cells, lambda _: Path())
        # A search that goes on may have nothing for it now, and something later.
        python = self._install(session, run, chosen, cells or own if planned.rounds else cells)
        planned.pythons[client_name] = python
        with naming_machine():
            return run.begin(run.reuse(cells, {chosen.client: python}), lambda _: python)

    def _begin_others(self, session: nox.Session, name: str, own: Begun) -> None:
        """Begin with clients whose sessions are to come, while the cells of this one run.

        So no core waits for the last cell of a client, or for what is installed for the next.
        """
        begun = self._planned[name].begun
        for one in coming(session):
            if own.done:
                return
            if one.session != name or not one.selected or one.client in begun or one.waits:
                continue
            begun[one.client] = None
            its = one.environment()
            if its is not None:
                try:
                    begun[one.client] = self._begin(its, name, one.client)
                except Exception as error:  # noqa: BLE001 - raised in its own session
                    begun[one.client] = error

    def prepare_client(self, session: nox.Session, name: str, client_name: str) -> None:
        """Install one client of a session whose cells start when the last one is ready."""
        chosen = self._one(name, client_name)
        run = self._start(session, name)
        install = self._install if run.cluster is None else elsewhere
        python = install(session, run, chosen, run.plan.of_client(chosen.client))
        self._planned[name].prepared[chosen.client] = python

    def _start(self, session: nox.Session, name: str) -> Run:
        """Return the run the session belongs to, made by the first one."""
        if name in self._refused:
            session.error(str(self._refused[name]))
        if name not in self._planned:
            session.error("the session plan did not run, which nox leaves out by --no-dependencies")
        if session.venv_backend == "none" and session.python:
            exit_with(
                UsageError(
                    "each client is installed in an environment of its own: leave out --no-venv,"
                    " or what else makes nox use none"
                )
            )
        planned = self._planned[name]
        if planned.run is None:
            try:
                with naming_machine():
                    planned.run = Run(planned.options, planned.plan, Screen())
                    enter_group(planned.run.folder.run)
            except HarnessError as error:
                exit_with(error)
        return planned.run

    def _install(
        self, session: nox.Session, run: Run, chosen: Chosen, cells: Sequence[Cell]
    ) -> Path:
        """Install the client, return its interpreter; what cannot be is recorded for its cells."""
        client, why = chosen.client, chosen.found
        if not cells:
            whole = self._planned[run.options.session].plan
            had_some = whole.of_client(client, chosen.asked, chosen.deps.name)
            part = f"--shard {run.options.shard}" if run.options.shard else "--pairs"
            no_part = f"{client.name} has no part in {part}"
            session.skip("all of its cells are done" if had_some else no_part)
        if isinstance(why, str) and not session.python:
            run.skip(cells, Status.NOT_RUN, why)
            session.skip(why)
        there = ready(session, run, client, cells, chosen.deps) if run.options.reuse else None
        return there or fill(session, run, client, cells, chosen.deps)

    def _serve(self, session: nox.Session, requests: BinaryIO, answers: BinaryIO) -> None:
        """Do the units that somebody asks for of the one session there is, and end the process."""
        (name,) = self._planned
        run = self._start(session, name)

        def install(client_name: str) -> Path:
            its = one_of(session, name, client_name).environment()
            chosen = self._one(name, client_name)
            own = run.plan.of_client(chosen.client, chosen.asked, chosen.deps.name)
            if its is None:
                why = f"no environment could be made for {name}({client_name})"
                run.skip(own, Status.INFRA, why)
                raise InfraError(why)
            return self._install(its, run, chosen, own)

        Serving(run, Environments(run, install).begin, answers).serve(requests)
        sys.exit(0)

    def run_full(self, session: nox.Session) -> None:
        """Queue a walk of all clients; the verdict on it queues the UI."""
        for chosen in self._choice.chosen["fixed_db"]:
            # Without arguments: the session plan has read those of this one already.
            session.notify(f"fixed_db({chosen.name})", posargs=())
        session.notify("verdict")

    def end_runs(self, session: nox.Session) -> None:
        """End every run, after what needs several clients; then ``ui``, where it is asked for.

        Red when something in these has an unexpected outcome, or when no cell of a run ran.
        """
        if not self._runs:
            session.error("nothing ran: no client's session came so far, or none was asked for")
        wrong = []
        for name, run in self._runs.items():
            planned = self._planned[name]
            prepared, rounds = planned.prepared, planned.rounds
            if prepared and self._planned[name].ui is not None:  # full itself does not go on
                again = f"nox -s {name} -- --resume {run.folder.run}"
                run.screen.say(f"cut short, this walk goes on by: {again}")
            try:
                with naming_machine():
                    if rounds:
                        rounds.finish(run, planned.pythons)
                    if prepared:
                        (run.cross if name == "cross" else partial(walk, run))(prepared)
                    run.ask_services()
            except HarnessError as error:
                wrong.append(str(error))
            run.end()
            if self._planned[name].ui is not None:
                session.notify("ui", posargs=())
            wrong += filter(None, [what_is_wrong(name, run, bool(prepared or rounds))])
        if wrong:
            session.error("; ".join(wrong))

    @property
    def _runs(self) -> dict[str, Run]:
        """The runs that were started, by session."""
        return {name: one.run for name, one in self._planned.items() if one.run is not None}

    def show_ui(self, session: nox.Session) -> None:
        """Show the UI over what the walk of ``full`` left, or over what was asked for."""
        walks = [one for one in self._planned.values() if one.ui is not None and one.run]
        if not walks:
            self.run_command(session, "ui")
        for walk_of in walks:
            assert walk_of.ui is not None
            assert walk_of.run is not None
            source = None if walk_of.ui.database_url else walk_of.run.folder.run
            shown = replace(walk_of.ui, source=source)
            _end_with(session, partial(show, shown, load(), Screen()))

    def run_command(self, session: nox.Session, name: str) -> None:
        """Do what a session without clients does; red when it comes to anything but 0."""
        _end_with(session, partial(_COMMANDS[name], session.posargs))


def _end_with(session: nox.Session, main: Callable[[], int]) -> None:
    try:
        with naming_machine():
            code = main()
    except HarnessError as error:
        session.error(str(error))
    if code:
        session.error("red; see above")


def _clients_to_come(
    all_of_them: Sequence[Coming], selected: Sequence[Coming], others: set[str]
) -> list[Coming]:
    """Return the sessions of clients that will run.

    Args:
        all_of_them: all sessions there are.
        selected: those nox is going to run.
        others: the names of sessions among them that have no clients.
    """
    clients = [one for one in selected if one.client]
    if FULL in others:
        if clients or len(others) > 1:
            raise UsageError(f"{FULL} is fixed_db and then ui: run it by itself")
        # It queues them when it comes itself.
        return [one for one in all_of_them if one.session == "fixed_db"]
    if not clients:
        raise UsageError(
            "nothing is planned: this session is queued by the others, e.g. nox -s compat; they"
            " share stacks: leave out --parallel and --allow-parallel, use -- --jobs N"
        )
    return clients


def _minor(one: Coming, chosen: Chosen, *, elsewhere: bool) -> str:
    """Return the minor version of the Python a client gets; empty where none works."""
    if elsewhere:
        return "" if isinstance(chosen.found, str) else chosen.found[0]
    if not isinstance(one.python, str):
        return ""
    if not isinstance(chosen.found, str) and one.python == str(chosen.found[1]):
        return chosen.found[0]
    match = re.search(r"3\.\d+", Path(one.python).name)
    return match[0] if match else ""
