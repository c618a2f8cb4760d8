"""What nox installs in the environment of a client, and whether it is what is planned."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import nox
from nox.command import CommandFailed

from harness.catalog.interpreters import python_of
from harness.catalog.releases import Client
from harness.cli.choice import Chosen
from harness.cli.coming import installs
from harness.client.environment import beside, holds, lacking, of_files
from harness.core.blame import Evidence, blame
from harness.core.outcome import Status
from harness.core.plan import Cell
from harness.machine.dependencies import Dependencies, packages_in, resolve
from harness.machine.errors import InfraError
from harness.machine.files import write_whole
from harness.machine.installer import index_trouble
from harness.machine.plain import plain
from harness.machine.secrets import KNOWN
from harness.machine.tools import compiling, find_uv
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
    # What is not pinned has no list: an index may have something newer.
    listed = _list_of(python, wanted)
    if deps.name or minor != planned or not listed.exists():
        return None
    return python if holds(python, listed.read_text("utf-8").splitlines()) else None


def fill(
    session: nox.Session, run: Run, client: Client, cells: Sequence[Cell], deps: Dependencies
) -> Path:
    """Install in a session's environment what cells of its client need; return its interpreter.

    All of it is resolved first, or taken from the list of the run that was the first to want the
    same here: what an earlier run left decides nothing. uv removes what else is there; what stays
    is told. The session ends, and the cells are ``infra``, where the environment is not what is
    planned: with ``-R`` nox installs nothing.
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
    asked, listed = " ".join(wanted), _list_of(python, wanted)
    # Without uv pip resolves for itself; what is not pinned does not come here then.
    resolved = deps.name or listed.exists() or (find_uv() is not None and installs(session))
    try:
        frozen = _frozen(listed, wanted, python, client, deps) if resolved else wanted
    except InfraError as error:
        give_up(f"{asked} could not be resolved with --deps {error}")
    wanted, failed = packages_in(frozen), None
    # Only then: with --exact uv asks the index also where everything is there.
    if not holds(python, wanted):
        # The file that the installer is given, and nox shows, says nothing.
        session.log(KNOWN.text(f"installing {asked}: {len(wanted)} packages"))
        failed = _why_not_frozen(session, frozen, deps.day(client.released))
    if failed is not None:
        give_up(f"{asked} could not be installed{failed and f': {failed}'}")
    if missing := lacking(python, wanted):
        lacks = f"its environment lacks {' '.join(missing)}"
        give_up(f"{lacks}: without -R nox installs what is planned")
    if resolved and not deps.name:
        listed.parent.mkdir(exist_ok=True)
        write_whole(listed, "".join(f"{line}\n" for line in wanted).encode())
    if more := beside(python, wanted):
        run.screen.say(f"{session.name}: {', '.join(more)} is installed, too, and not planned")
    return python


def elsewhere(session: nox.Session, run: Run, chosen: Chosen, cells: Sequence[Cell]) -> Path:
    """Return what stands for the interpreter of a client that a worker of a cluster installs.

    The session is skipped where no Python is known for it.
    """
    if isinstance(chosen.found, str):
        run.skip(cells, Status.NOT_RUN, chosen.found)
        session.skip(chosen.found)
    return Path()


def _list_of(python: Path, wanted: Sequence[str]) -> Path:
    """Return the file of what pinned requirements came to in an environment, which it goes with."""
    digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:12]
    return python.parent.parent / "lists" / f"{digest}.txt"


def _frozen(
    listed: Path, wanted: Sequence[str], python: Path, client: Client, deps: Dependencies
) -> list[str]:
    """Return the lines of what is to be installed: those kept for what is pinned, else resolved.

    Raises:
        InfraError: when there is no such set.
    """
    if deps.name:
        return resolve(wanted, python, deps, client.released, fixed=[client.requirement])
    if listed.exists():
        return listed.read_text("utf-8").splitlines()
    return resolve(wanted, python, deps, client.released)


def _why_not_frozen(session: nox.Session, frozen: Sequence[str], day: Sequence[str]) -> str | None:
    """Install the lines of a requirements file, by uv nothing else; return why that failed.

    Args:
        session: in whose environment.
        frozen: the lines; one may name an index, with a secret, that no log is to show.
        day: the flags by which uv builds what it has to with what there was on a day.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(frozen))
        file.flush()
        # uv looks at the dates of few files of a folder; pip installs it anew unasked.
        anew = [f"--reinstall-package={name}" for name in of_files(packages_in(frozen))]
        flags = ["--exact", *day, *anew] if session.venv_backend == "uv" else []
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
