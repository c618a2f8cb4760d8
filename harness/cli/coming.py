"""The sessions that nox is going to run: what they are, and their environments made before."""

from __future__ import annotations

from dataclasses import dataclass, field

import nox
from nox.command import CommandFailed
from nox.sessions import SessionRunner

from harness.catalog.releases import Client
from harness.core.plan import Cell


@dataclass(frozen=True)
class Coming:
    """A session of this process.

    Attributes:
        session: its name, without parameters.
        client: what stands in its parentheses: the client's name, perhaps with a Python; empty for
            a session that is not parametrized by one.
        python: as nox finds it; False where none works.
        selected: whether it is going to run, as far as it is not queued later.
        runner: by which nox runs it.
    """

    session: str
    client: str
    python: object
    selected: bool
    runner: SessionRunner | None = field(default=None, compare=False, repr=False)

    @property
    def waits(self) -> bool:
        """Whether nothing may be done for it before nox comes to it.

        With ``-x`` it may not come at all, and where environments are made anew nox would take
        this one from under its cells.
        """
        if self.runner is None or self.runner.global_config.stop_on_first_error:
            return True
        return not self.runner.reuse_existing_venv()

    def environment(self) -> nox.Session | None:
        """Make its environment, as nox itself will find it; None where that cannot be.

        Then nox meets the same when it comes to it, and says so.
        """
        assert self.runner is not None
        try:
            # All that nox does before it calls a session, and private: it is done here only.
            self.runner._create_venv()  # noqa: SLF001 - see above
        except (CommandFailed, OSError):  # a Python that is missing is one of these
            return None
        return nox.Session(self.runner)


def session_of(cell: Cell, client: Client) -> str:
    """Return what stands in the parentheses of the session of a client of a cell."""
    asked = cell.python if "python" in cell.asked else ""
    return ", ".join(filter(None, [client.name, asked, cell.deps]))


def installs(session: nox.Session) -> bool:
    """Return whether nox installs anything in a session: with ``-R`` not where it is used again.

    What tells it is private, and asked here only.
    """
    runner = session._runner  # noqa: SLF001 - see above
    return not (runner.global_config.no_install and session.virtualenv._reused)  # noqa: SLF001


def one_of(session: nox.Session, name: str, client: str) -> Coming:
    """Return a session by its name, and by what stands in its parentheses."""
    return next(one for one in coming(session) if (one.session, one.client) == (name, client))


def coming(session: nox.Session) -> list[Coming]:
    """Return all sessions there are, and whether nox is going to run them.

    Its manifest alone tells what all of its flags come to, and is private: it is asked here only.
    """
    manifest = session._runner.manifest  # noqa: SLF001 - see above
    return [
        Coming(
            session=runner.name,
            client=getattr(runner.func, "call_spec", {}).get("client", ""),
            python=runner.func.python,
            selected=selected,
            runner=runner,
        )
        for runner, selected in manifest.list_all_sessions()
    ]
