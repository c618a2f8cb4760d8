"""Every option there is, declared once.

The parser, its help, what is checked before anything starts, the lines that run a cell again, the
journal's ``options`` and docs/options.md are made from this table.
"""

from __future__ import annotations

from harness.cli.declarations.parts import CONTAINERS, S3, STACK
from harness.cli.declarations.results import COMMANDS, KEEPING
from harness.cli.declarations.running import CROSSING, EXTERNAL, RUNNING, SELECTION, WALK
from harness.cli.declarations.searching import BISECT, BOUNDARIES, CLUSTER, of_steps
from harness.cli.declarations.ui import CHECKING, GROUND, ORIGIN, PAGE
from harness.cli.option import Option

_OF_RUNS = (
    *(
        *SELECTION,
        *BOUNDARIES,
        *CROSSING,
        *RUNNING,
        *CLUSTER,
        *STACK,
        *CONTAINERS,
        *EXTERNAL,
        *WALK,
    ),
    *(*GROUND, *PAGE, *ORIGIN, *CHECKING),
    *(*S3, *KEEPING),
)
OPTIONS = (*_OF_RUNS, *BISECT, *of_steps(_OF_RUNS), *COMMANDS)
"""In the order of the help."""


def options_of(session: str) -> list[Option]:
    """Return the options of one session, in the order of its help."""
    return [option for option in OPTIONS if session in option.sessions]


def option_of(session: str, name: str) -> Option:
    """Return an option of a session by its name; KeyError when there is none."""
    return {option.name: option for option in options_of(session)}[name]
