"""How long the cells of earlier runs took, as their journals have it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from harness.core.expected import Expected, Took, expected_by
from harness.core.plan import Cell, Plan
from harness.report.text import spoken
from harness.run.options import Options

_RUNS = 5
"""Of the newest runs of a session: older ones tell of another day's load, and take time to read."""


class _Line(msgspec.Struct):
    """What any line of a journal tells of times."""

    kind: str
    at: datetime
    seconds: float = 0.0


def read_durations(results: Path, session: str, but: str = "") -> Expected | None:
    """Return what is expected of cells by the newest runs of a session; None where none tells.

    Args:
        results: the folder of their results.
        session: of the runs.
        but: a run that does not count.
    """
    runs: list[tuple[datetime, list[Took], datetime]] = []
    # Ids of runs begin with their moment.
    for journal in sorted(results.glob(f"*-{session}-*/journal.jsonl"), reverse=True):
        if journal.parent.name != but and len(runs) < _RUNS:
            runs += _run(journal)
    return expected_by(runs)


def foretell(options: Options, plan: Plan, run: str, say: Callable[[str], None]) -> Expected | None:
    """Say how long a run is going to take, and return it, by what earlier runs took.

    Args:
        options: of the run.
        plan: what it is going to do.
        run: its id.
        say: prints a line.

    Returns:
        None where nobody knows.
    """
    expected = read_durations(options.results, options.session, run)
    # What a stage of a walk takes is not in its cells; of a search nobody knows how many run, and
    # of a cluster how many at a time.
    if expected is None or plan.path or options.strategy or options.scheduler:
        return None
    planned = [plan.planned(cell) for cell in plan.cells]
    about = spoken(options.repeat * expected.seconds(planned))
    new = sum(cell.id not in expected.took for cell in planned)
    guessed = f"; {new} of {len(planned)} by the like of them" if new else ""
    most = ", less what is reused" if options.reuse else ""
    say(f"expected: about {about}{most}, by what earlier runs took{guessed}")
    return expected


def seconds_of(
    options: Options, plan: Plan, expected: Expected | None
) -> Callable[[Cell], float] | None:
    """Return what tells how long a cell is going to take; None for the order of the plan."""
    # Of what is kept it is said which service used it last: always the same one.
    if expected is None or options.keep:
        return None
    return lambda cell: expected.of(plan.planned(cell))


def _run(journal: Path) -> list[tuple[datetime, list[Took], datetime]]:
    """Return when a run began, its cells and when it ended; nothing of one that tells no pace."""
    # Of each line only what is needed: there may be 50,000 cells in each.
    cells, asked, ended = [], [], []
    try:
        for line in journal.read_bytes().split(b"\n")[:-1]:
            found = _LINE.decode(line)
            if found.kind == "cell":
                cells.append(_TOOK.decode(line))
            if found.kind in {"cell", "stage"}:
                asked.append(found.at - timedelta(seconds=found.seconds))
            if found.kind == "end":
                ended.append(found.at)
            if found.kind == "resumed":
                # It was not running all the time.
                return []
    except (OSError, msgspec.DecodeError):
        # A journal that cannot be read tells no durations; who reads it for more says why.
        return []
    # From when something was asked of the first service or client: what was installed before is
    # there the next time.
    return [(min(asked), cells, ended[-1])] if cells and ended else []


_LINE, _TOOK = msgspec.json.Decoder(_Line), msgspec.json.Decoder(Took)
