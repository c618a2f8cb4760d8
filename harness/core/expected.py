"""How long cells are going to take, by how long they took. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import fmean

import msgspec

from harness.core.entries import CellEntry, Inferred, PlannedCell, Reused
from harness.core.outcome import Status

_UNTOLD = {Status.INFRA, Status.NOT_RUN}
_BETWEEN = 1.0
"""Seconds between the cells of two clients that are there; the rest of a gap went into installing
one, which the next run finds done."""


class Took(msgspec.Struct, frozen=True):
    """What an entry of a cell tells of durations; as ``CellEntry`` has it."""

    id: str
    client: str
    probe: str
    at: datetime
    status: Status
    seconds: float
    reused: Reused | None = None
    inferred: Inferred | None = None


@dataclass(frozen=True)
class Expected:
    """What is expected of the cells of a run.

    Attributes:
        pace: seconds of the clock that a second of a cell took: less than one, where several ran at
            a time, and more for all that is around them.
        took: by the id of a cell, the seconds that it took the last time.
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
        return fmean(self.took.values()) if known is None else known

    def seconds(self, cells: Iterable[PlannedCell]) -> float:
        """Return the seconds of the clock that some cells are going to take together."""
        return self.pace * sum(map(self.of, cells))

    def left(self, planned: Sequence[PlannedCell], finished: Sequence[CellEntry]) -> float:
        """Return the seconds of the clock until all cells of a run are through.

        Those that are show whether this run is slower than the one that tells, or faster.
        """
        ran = [cell for cell in finished if _ran(cell)]
        through = {cell.id for cell in finished}
        were = sum(map(self.of, ran))
        slower = sum(cell.seconds for cell in ran) / were if were else 1.0
        return slower * self.seconds(cell for cell in planned if cell.id not in through)


def expected_by(runs: Iterable[tuple[datetime, Sequence[Took], datetime]]) -> Expected | None:
    """Return what is expected by earlier runs of a session.

    Args:
        runs: when the first thing of each began, its cells and when it ended; the newest first.

    Returns:
        None where none of them ran a cell.
    """
    took: dict[str, float] = {}
    of_probe: dict[str, dict[str, float]] = {}
    pace = 0.0
    for begun, cells, ended in runs:
        ran = [one for one in cells if _ran(one)]
        for cell in ran:
            if cell.seconds:
                took.setdefault(cell.id, cell.seconds)
                of_probe.setdefault(cell.probe, {}).setdefault(cell.id, cell.seconds)
        busy = sum(cell.seconds for cell in ran)
        # Where results were taken, the rest of a run is not what it is without.
        if not pace and busy and len(ran) == len(cells):
            pace = _clock(begun, ran, ended) / busy
    if not pace:
        return None
    return Expected(pace, took, {probe: fmean(of.values()) for probe, of in of_probe.items()})


def _ran(cell: CellEntry | Took) -> bool:
    """Tell whether a cell ran, and tells how long such a one takes."""
    return cell.reused is None and cell.inferred is None and cell.status not in _UNTOLD


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
