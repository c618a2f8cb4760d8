"""How long the cells of earlier runs took, as their journals have it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from harness.core.expected import Expected, Timed, Took, expected_by
from harness.core.plan import Cell, Plan
from harness.report.text import counted, spoken
from harness.run.options import Options, value_in

_RUNS = 5
"""Of the newest runs of a session: older ones tell of another day's load, and take time to read."""
_DECIDE = ("--jobs", "--strategy", "--scheduler")
"""Options by which it is decided how many cells run at a time."""


class _Line(msgspec.Struct):
    """What any line of a journal tells of times, and that of a run's beginning of how it was."""

    kind: str
    at: datetime
    seconds: float = 0.0
    options: list[str] = []


def read_durations(options: Options, planned: Collection[str], but: str = "") -> Expected | None:
    """Return what is expected of cells by the newest runs of a session; None where none tells.

    Args:
        options: of the run that is told of.
        planned: ids of its cells.
        but: a run that does not count.
    """
    runs: list[Timed] = []
    # Ids of runs begin with their moment.
    for journal in sorted(
        options.results.glob(f"*-{options.session}-*/journal.jsonl"), reverse=True
    ):
        if journal.parent.name != but and len(runs) < _RUNS:
            runs += _run(journal, options)
    return expected_by(
        runs, planned, shares=not options.no_dedupe, searches=options.strategy is not None
    )


def foretell(
    options: Options, plan: Plan, run: str, say: Callable[[str], None], threads: int = 0
) -> Expected | None:
    """Say how long a run is going to take, and return it, by what earlier runs took.

    Args:
        options: of the run.
        plan: what it is going to do.
        run: its id.
        say: prints a line.
        threads: of the workers of its cluster; 0 where there is none, or has not answered.

    Returns:
        None where nobody knows.
    """
    # A worker runs several cells of one unit of ``cross`` at a time.
    if options.scheduler and (not threads or options.session == "cross"):
        return None
    planned = [plan.planned(cell) for cell in plan.cells]
    expected = read_durations(options, {cell.id for cell in planned}, run)
    if expected is None:
        return None
    new = sum(cell.id not in expected.took for cell in planned)
    # What a stage of a walk takes beside its cells grows with the stages before it; of what was
    # never searched nobody knows how much is going to run.
    if new and (plan.path or options.strategy):
        return None
    if options.scheduler:
        # What is made on workers, and how its cells came to them, no journal tells.
        expected = replace(expected, pace=1 / threads)
    seconds = spoken(options.repeat * expected.seconds(planned))
    about = f"at least {seconds}" if options.scheduler else f"about {seconds}"
    busy = f", with {counted(threads, 'thread')} busy all the time" if options.scheduler else ""
    most = ", less what is reused" if options.reuse else ""
    guessed = f"; {new} of {len(planned)} by the like of them" if new else ""
    say(f"expected: {about}{most}, by what earlier runs took{busy}{guessed}")
    return expected


def seconds_of(
    options: Options, plan: Plan, expected: Expected | None
) -> Callable[[Cell], float] | None:
    """Return what tells how long a cell is going to take; None for the order of the plan."""
    # Of what is kept it is said which service used it last: always the same one.
    if expected is None or options.keep:
        return None
    return lambda cell: expected.of(plan.planned(cell))


def _run(journal: Path, options: Options) -> list[Timed]:
    """Return what a run tells of times; nothing of one that was not running all of its time."""
    # Of each line only what is needed: there may be 50,000 cells in each.
    cells, asked, ended = [], [], []
    words: list[str] = []
    try:
        for line in journal.read_bytes().split(b"\n")[:-1]:
            found = _LINE.decode(line)
            if found.kind == "run":
                words = found.options
            if found.kind == "cell":
                cells.append(_TOOK.decode(line))
            if found.kind in {"cell", "stage"}:
                asked.append(found.at - timedelta(seconds=found.seconds))
            if found.kind == "end":
                ended.append(found.at)
            if found.kind == "resumed":
                return []
    except (OSError, msgspec.DecodeError):
        # A journal that cannot be read tells no durations; who reads it for more says why.
        return []
    if not cells or not ended:
        return []
    # From when something was asked of the first service or client: what was installed before is
    # there the next time.
    return [Timed(min(asked), cells, ended[-1], _is_alike(words, options))]


def _is_alike(words: Sequence[str], options: Options) -> bool:
    """Tell whether a run that was given some words runs its cells as another is going to."""
    # On a cluster no other run tells that: it takes the workers' threads for it.
    if options.scheduler:
        return True
    own = [value_in(options.given, name) for name in _DECIDE]
    return [value_in(words, name) for name in _DECIDE] == own


_LINE, _TOOK = msgspec.json.Decoder(_Line), msgspec.json.Decoder(Took)
