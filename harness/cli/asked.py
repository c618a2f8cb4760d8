"""What nox was asked for, as far as a noxfile can know it while it loads."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from nox._options import options

CLIENT_SESSIONS = ("compat", "cross", "fixed_db", "chaos", "local")
"""The sessions that are parametrized by client and take the harness's options."""

FULL = "full"
"""The session that is ``fixed_db`` and then ``ui``."""

_TAKING = (*CLIENT_SESSIONS, FULL)
_UNASKED = ("compat",)
_NAMED = re.compile(r"(\w+)[^()]*\((.*)\)")


@dataclass(frozen=True)
class Asked:
    """What nox's command line and variables say, read by nox's own parser.

    Which sessions will run is known to nox only once the noxfile is loaded, and to us when the
    session ``plan`` runs.

    Attributes:
        sessions: as ``-s`` or NOXSESSION names them, ``compat(2.2.1)``, ``compat(2.2.1, 3.12)``,
            ``compat(2.2.1, 3.12, latest)``; empty without.
        by_expression: whether ``-k`` or ``-t`` choose among all sessions.
        pythons: as ``-p`` or ``--force-python`` name them.
        lists: whether sessions are only listed.
        arguments: what follows ``--``.
    """

    sessions: tuple[str, ...] = ()
    by_expression: bool = False
    pythons: tuple[str, ...] = ()
    lists: bool = False
    arguments: tuple[str, ...] = ()

    @property
    def takers(self) -> tuple[str, ...]:
        """The sessions that may run and take the harness's options."""
        if self.by_expression or (self.lists and not self.sessions):
            return _TAKING
        return tuple(name for name in _TAKING if name in self._bases)

    @property
    def leaves_arguments(self) -> bool:
        """Whether what follows ``--`` may be for a session that has arguments of its own."""
        if self.by_expression:
            return not self.lists
        return not self._bases <= set(_TAKING)

    @property
    def _bases(self) -> set[str]:
        found = (re.match(r"\w*", name) for name in self.sessions or _UNASKED)
        return {match[0] for match in found if match}

    def named(self, session: str) -> list[tuple[str, str, str]]:
        """Return the clients named as ``session(client, python, dependencies)``, or less of it.

        Each comes with its Python and its dependencies, which are empty where none are named.
        """
        found = (_NAMED.fullmatch(name) for name in self.sessions)
        named = []
        for match in found:
            if match and match[1] == session:
                client, *more = (part.strip() for part in match[2].split(",", 2))
                is_python = len(more) > 1 or any(re.fullmatch(r"[\d.]+", part) for part in more)
                python = more.pop(0) if is_python else ""
                named.append((client, python, more[0] if more else ""))
        return named


def ask_nox() -> Asked:
    """Return what nox was asked for.

    nox shows a noxfile none of it, but has its own parser read the same words the same way: this
    is the one place that calls it, because it is private.
    """
    if "_ARGCOMPLETE" in os.environ:
        return Asked()  # a shell completes a word: the parser would complete it instead of reading
    config = options.parse_args()
    return Asked(
        sessions=tuple(config.sessions or ()),
        by_expression=bool(config.keywords or config.tags),
        pythons=tuple(config.pythons or ()),
        lists=config.list_sessions,
        arguments=tuple(config.posargs),
    )
