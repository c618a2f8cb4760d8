"""Installing a client in the environment of its session."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import nox
from nox.command import CommandFailed

from harness.core.blame import Evidence, blame
from harness.machine.installer import index_trouble


def why_not_installed(session: nox.Session, requirements: Sequence[str]) -> str | None:
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
