"""How long cells are going to take, by how long they took. Pure."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import fmean

import msgspec

from harness.core.entries import CellEntry, Inferred, PlannedCell, Reused
from harness.core.outcome import Status

_BETWEEN = 1.0
"""Seconds between the cells of two clients that are there; the rest of a gap went into installing
one, which the next run finds done."""


class Took(msgspec.Struct, frozen=True):
    """What an entry of a cell tells of durations; as ``CellEntry`` has it."""

    id: str
    run: str
    client: str
    probe: str
    at: datetime
    status: Status
    seconds: float = 0.0
    reused: Reused | None = None
    inferred: Inferred | None = None


@dataclass(frozen=True)
class Timed:
    """An earlier run, as far as it tells of times.

    Attributes:
        begun: when the first thing of it began.
        cells: every attempt at one.
        ended: when it did.
        alike: whether as many cells ran at a time as in the run that is told of, and chosen alike.
    """

    begun: datetime
    cells: Sequence[Took]
    ended: datetime
    alike: bool = True


@dataclass(frozen=True)
class Expected:
    """What is expected of the cells of a run.

    Attributes:
        pace: seconds of the clock that a second of a cell took: less than one, where several ran at
            a time, and more for all that is around them.
        took: by the id of a cell, the seconds that it took the last time; none for one that is not
            going to run.
        by_probe: likewise on average, by probe, for cells that nobody has run.
    """

    pace: float
    took: Mapping[str, float]
    by_probe: Mapping[str, float] = field(default_factory=dict)

    def of(self, cell: PlannedCell) -> float:
        """Return the seconds that a cell is going to take by itself."""
        known = self.took.get(cell.id)
        if known is None:
            known = self.by_probe.get(cell.probe)
        return self._mean if known is None else known

    @functools.cached_property
    def _mean(self) -> float:
        """Seconds of a cell of which nothing like it has run."""
        ran = [seconds for seconds in self.took.values() if seconds]
        return fmean(ran) if ran else 0.0

    def seconds(self, cells: Iterable[PlannedCell]) -> float:
        """Return the seconds of the clock that some cells are going to take together."""
        return self.pace * sum(map(self.of, cells))

    def left(self, planned: Sequence[PlannedCell], finished: Sequence[CellEntry]) -> float:
        """Return the seconds of the clock until all cells of a run are through.

        Those that are show whether this run is slower than the one that tells, or faster.
        """
        # Of what was not expected to run it cannot be said how much slower it was.
        ran = [cell for cell in finished if _ran(cell) and self.of(cell)]
        through = {cell.id for cell in finished}
        were = sum(map(self.of, ran))
        slower = sum(cell.seconds for cell in ran) / were if were else 1.0
        return slower * self.seconds(cell for cell in planned if cell.id not in through)


def expected_by(
    runs: Iterable[Timed],
    planned: Collection[str] = (),
    *,
    shares: bool = True,
    searches: bool = False,
) -> Expected | None:
    """Return what is expected by earlier runs of a session.

    Args:
        runs: the newest first.
        planned: ids of the cells that are to run: whoever ran most of them tells the pace.
        shares: whether what comes of a service is going to be told for others of its code.
        searches: whether what can be inferred is not going to run.

    Returns:
        None where none of them ran a cell at such a pace.
    """
    took: dict[str, float] = {}
    skipped: dict[str, float] = {}
    of_probe: dict[str, dict[str, float]] = {}
    paces: list[tuple[int, float]] = []
    for run in runs:
        for cell in run.cells:
            seconds = _takes(cell, shares=shares, searches=searches)
            if seconds is not None:
                # What could not run may be able to now: then what it took before tells.
                (skipped if _is_skipped(cell) else took).setdefault(cell.id, seconds)
            if _ran(cell) and cell.seconds:
                of_probe.setdefault(cell.probe, {}).setdefault(cell.id, cell.seconds)
        if pace := _pace(run):
            ran = {cell.id for cell in run.cells if _ran(cell)}
            paces.append((len(ran.intersection(planned)), pace))
    if not paces or not took:
        return None
    _, pace = max(paces, key=lambda one: one[0])
    means = {probe: fmean(of.values()) for probe, of in of_probe.items()}
    return Expected(pace, {**skipped, **took}, means)


def _takes(cell: Took, *, shares: bool, searches: bool) -> float | None:
    """Return the seconds that a cell takes the next time; None where this does not tell them."""
    if cell.reused is not None and cell.reused.run == cell.run:
        # Told with another, which took as long.
        return 0.0 if shares else cell.seconds
    if cell.inferred is not None:
        return 0.0 if searches else None
    if cell.reused is not None or cell.status is Status.INFRA:
        return None
    return cell.seconds


def _ran(cell: CellEntry | Took) -> bool:
    """Tell whether a cell ran, and tells how long such a one takes."""
    own = cell.reused is None and cell.inferred is None
    return own and cell.status is not Status.INFRA and not _is_skipped(cell)


def _is_skipped(cell: CellEntry | Took) -> bool:
    """Tell whether a cell was left out, because of its client or of what came before it."""
    return cell.status is Status.NOT_RUN and not cell.seconds


def _pace(run: Timed) -> float:
    """Return the seconds of the clock that a second of a cell took; 0 where that is not told."""
    # Where results were taken, the rest of a run is not what it is without.
    taken = any(cell.reused is not None and cell.reused.run != cell.run for cell in run.cells)
    # What the machine broke took its time, too.
    busy = [cell for cell in run.cells if not (cell.reused or cell.inferred) and cell.seconds]
    if not run.alike or taken or not any(map(_ran, busy)):
        return 0.0
    return _clock(run.begun, busy, run.ended) / sum(cell.seconds for cell in busy)


def _clock(begun: datetime, cells: Sequence[Took], ended: datetime) -> float:
    """Return the seconds that a run took, without what went into installing its clients."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for cell in cells:
        end = cell.at.timestamp()
        spans.setdefault(cell.client, []).append((end - cell.seconds, end))
    clients = sorted((min(one)[0], max(end for _, end in one)) for one in spans.values())
    clock, busy_until = (ended - begun).total_seconds(), clients[0][0]
    for start, end in clients:
        # Mostly there is no gap: the cells of a client begin while others still run.
        clock -= max(0.0, start - busy_until - _BETWEEN)
        busy_until = max(busy_until, end)
    return clock
