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
from harness.machine.installer import index_trouble
from harness.run.run import Run


def fill(session: nox.Session, run: Run, client: Client, cells: Sequence[Cell]) -> Path:
    """Install in a session's environment what cells of its client need; return its interpreter.

    uv removes what else an earlier run left there; what stays is told. The session ends, and the
    cells are ``infra``, where the environment is not what is planned: with ``-R`` nox installs
    nothing.
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
    wanted = run.clients.requirements(client, cells, minor)
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


def _why_not_installed(session: nox.Session, requirements: Sequence[str]) -> str | None:
    """Install requirements; return why that failed, empty where only the output tells it.

    What the installer printed is shown where it fails, and only there. None where it is done.
    """
    # In a file: what nox shows of an installer it keeps to itself.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        try:
            session.install(*requirements, silent=False, stdout=output)
        except CommandFailed:
            output.seek(0)
            said = output.read()
            session.log(said)
            room = blame(Evidence(said=said))
            return room.sentence if room else index_trouble(said)
    return None
