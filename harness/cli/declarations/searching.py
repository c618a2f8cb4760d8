"""What is searched for, by ``compat`` where not all of its cells run, and by ``bisect``; and where.

The steps of ``bisect`` are cells of ``compat``, and take their options.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from harness.cli.checks import has_a_majority, names_a_check, not_negative, scheduler
from harness.cli.declarations.takers import CROSS
from harness.cli.option import Option, Role

_WHAT = "what to run"
_NO_STRATEGY = "{name} is of no use without --strategy"
_VERIFY = "--verify"
BOUNDARIES = (
    Option(
        "--strategy",
        ("compat",),
        _WHAT,
        "boundaries: run a cell of each client and of each service, then only where neighbours"
        " differ, and infer the others, marked so",
        Role.AXIS,
        choices=("boundaries",),
        unasked="each cell runs",
        excludes={
            "--shard": "{name} has no plan that could be split: leave out --shard",
            "--remove-images": "{name} comes back to services: leave out --remove-images",
        },
    ),
    Option(
        _VERIFY,
        ("compat",),
        _WHAT,
        "run so many of the inferred cells, at random; where one is not as inferred, its row and"
        " its column run",
        Role.AXIS,
        metavar="N",
        kind=int,
        default=0,
        check=not_negative,
        needs={"--strategy": _NO_STRATEGY},
    ),
    Option(
        "--verify-seed",
        ("compat",),
        _WHAT,
        "which cells --verify runs: the same ones for the same number",
        Role.AXIS,
        metavar="SEED",
        kind=int,
        unasked="another one each time, which is told",
        needs={"--strategy": _NO_STRATEGY, _VERIFY: "{name} is of no use without --verify"},
    ),
)

_NOT_THERE = "{name}: what {other} needs is not on its workers: leave one out"
CLUSTER = (
    Option(
        "--scheduler",
        ("compat", *CROSS, "local"),
        "how to run it",
        "spread units over the workers of the Dask cluster with this scheduler: what a client needs"
        " and what serves it is made on the worker that does it, as processes unless --backend"
        " docker says otherwise; paths have to be there, too",
        Role.NOT_NEEDED,
        "a line runs its cell here",
        metavar="tcp://HOST:PORT",
        unasked="this machine does them",
        check=scheduler,
        excludes={
            **dict.fromkeys(
                ("--keep", "--with-service-logs", "--database-port", "--service-url"), _NOT_THERE
            ),
            "--reuse": "{name} has results taken by none of its workers: leave out --reuse",
        },
    ),
)

_SESSIONS = ("bisect",)
_GROUP = "what to search"
_WHY = "no cell comes of this session: its steps are runs of compat"
_END = "release of a client or a service; where it is none, a commit of the checkout"

BISECT = (
    Option(
        "--check",
        _SESSIONS,
        _GROUP,
        "the check that turns: as reports name it, basics/resume",
        Role.NOT_NEEDED,
        _WHY,
        metavar="PROBE/CHECK",
        check=names_a_check,
    ),
    Option("--good", _SESSIONS, _GROUP, f"where it passes: {_END}", Role.NOT_NEEDED, _WHY),
    Option("--bad", _SESSIONS, _GROUP, f"where it fails: {_END}", Role.NOT_NEEDED, _WHY),
    Option(
        "--metaflow",
        _SESSIONS,
        _GROUP,
        "the client that stays, and services are searched",
        Role.NOT_NEEDED,
        _WHY,
        metavar="CLIENT",
        unasked="latest",
    ),
    Option(
        "--service",
        _SESSIONS,
        _GROUP,
        "the service that stays, and clients are searched",
        Role.NOT_NEEDED,
        _WHY,
        metavar="SERVICE",
        unasked="latest",
    ),
    Option(
        "--repeat",
        _SESSIONS,
        _GROUP,
        "run each step so often, and take the majority of what came of it; unasked once, and those"
        " that the answer rests on once more: the search stops where the two differ",
        Role.NOT_NEEDED,
        _WHY,
        metavar="N",
        kind=int,
        default=1,
        check=has_a_majority,
    ),
)
OWN = frozenset(option.name for option in BISECT)
"""The names of options that say what is searched."""

# A step is one cell that runs; what it leaves is in the results of the search. A service that
# somebody else runs would get the flows of all of them.
_NOT_OF_STEPS = {
    *("--probe", "--resume", "--plan", "--jobs", "--keep", "--with-service-logs"),
    *("--reuse", "--shard", "--durations", "--strategy", "--verify", "--verify-seed"),
    *("--service-url", "--database-url", "--allow-existing"),
}


def of_steps(options: Iterable[Option]) -> Iterator[Option]:
    """Yield the options of ``compat`` that the steps of a search take, too."""
    for option in options:
        if "compat" in option.sessions and option.name not in OWN | _NOT_OF_STEPS:
            yield replace(option, sessions=_SESSIONS)
