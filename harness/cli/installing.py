"""What nox installs in the environment of a client, and whether it is what is planned."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import nox
from nox.command import CommandFailed

from harness.catalog.interpreters import python_of
from harness.catalog.releases import Client
from harness.client.environment import beside, lacking
from harness.core.blame import Evidence, blame
from harness.core.outcome import Status
from harness.core.plan import Cell
from harness.machine.dependencies import Dependencies, packages_in, resolve
from harness.machine.errors import InfraError
from harness.machine.installer import index_trouble
from harness.machine.plain import plain
from harness.machine.secrets import KNOWN
from harness.machine.tools import compiling
from harness.run.run import Run


def ready(
    session: nox.Session, run: Run, client: Client, cells: Sequence[Cell], deps: Dependencies
) -> Path | None:
    """Return the interpreter of a session's environment where nothing is left to be installed.

    None where ``fill`` has something to do, and where only an index tells what is planned.
    """
    python = Path(session.virtualenv.bin) / "python"
    minor = python_of(python)
    wanted = run.clients.requirements(client, cells, minor, deps)
    planned = next((cell.python for cell in cells if cell.client == client), "")
    if deps.name or minor != planned or lacking(python, wanted) or beside(python, wanted):
        return None
    return python


def fill(
    session: nox.Session, run: Run, client: Client, cells: Sequence[Cell], deps: Dependencies
) -> Path:
    """Install in a session's environment what cells of its client need; return its interpreter.

    Dependencies that are not pinned are resolved first: what an earlier run left there decides
    nothing. uv removes what else is there; what stays is told. The session ends, and the cells are
    ``infra``, where the environment is not what is planned: with ``-R`` nox installs nothing.
    """
    python = Path(session.virtualenv.bin) / "python"
    # A reused environment may be that of another Python.
    minor = python_of(python)
    planned = next((cell.python for cell in cells if cell.client == client), "")

    def give_up(why: str) -> NoReturn:
        run.skip(cells, Status.INFRA, why)
        session.error(why)

    if planned and minor != planned:
        give_up(f"its environment has Python {minor}, {planned} is planned: nox -N makes it anew")
    wanted = run.clients.requirements(client, cells, minor, deps)
    if deps.name:
        try:
            frozen = resolve(wanted, python, deps, client.released, fixed=[client.requirement])
        except InfraError as error:
            give_up(f"{' '.join(wanted)} could not be resolved with --deps {error}")
        wanted = packages_in(frozen)
        failed = _why_not_frozen(session, frozen, deps.day(client.released))
    else:
        failed = _why_not_installed(session, wanted)
    more = beside(python, wanted) if failed is None else []
    if more and session.venv_backend == "uv":
        # Only then: with --exact uv asks the index also where everything is there.
        failed = _why_not_installed(session, ["--exact", *wanted])
        more = beside(python, wanted)
    if failed is not None:
        give_up(f"{' '.join(wanted)} could not be installed{failed and f': {failed}'}")
    if missing := lacking(python, wanted):
        lacks = f"its environment lacks {' '.join(missing)}"
        give_up(f"{lacks}: without -R nox installs what is planned")
    if more:
        run.screen.say(f"{session.name}: {', '.join(more)} is installed, too, and not planned")
    return python


def _why_not_frozen(session: nox.Session, frozen: Sequence[str], day: Sequence[str]) -> str | None:
    """Install the lines of a requirements file and nothing else; return why that failed.

    Args:
        session: in whose environment.
        frozen: the lines; one may name an index, with a secret, that no log is to show.
        day: the flags by which uv builds what it has to with what there was on a day.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(frozen))
        file.flush()
        flags = ["--exact", *day] if session.venv_backend == "uv" else []
        return _why_not_installed(session, [*flags, "-r", file.name])


def _why_not_installed(session: nox.Session, requirements: Sequence[str]) -> str | None:
    """Install requirements; return why that failed, empty where only the output tells it.

    What the installer printed is shown where it fails, and only there. None where it is done.
    """
    flags = compiling(Path(session.virtualenv.bin).parent) if session.venv_backend == "uv" else []
    # In a file: what nox shows of an installer it keeps to itself.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        try:
            session.install(*flags, *requirements, silent=False, stdout=output)
        except CommandFailed:
            output.seek(0)
            said = output.read()
            session.log(KNOWN.text(plain(said)))
            room = blame(Evidence(said=said))
            return room.sentence if room else index_trouble(said)
    return None
