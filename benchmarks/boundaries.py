"""The cells that ``--strategy boundaries`` takes of planted grids of all clients and services.

In each are 12 boundaries (a third on the client axis, a third on the service axis, a third corners
of both) and 4 islands (3 to 12 clients or 3 to 6 services wide: over the whole of the other axis,
or over more than half of it), dealt out to the checks of a probe; each turns the check where it
holds. What one check is made of is 3 releases apart. Services are the released ones, and a HEAD.
Exits with 1 above the budget, or where a
cell is inferred to be what it is not. Arguments: how many grids, and how many checks.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.catalog.versions import load
from harness.core.boundaries import WIDTH, Boundaries, Place, Words, chance_missed

BUDGET = 0.05
BOUNDARIES, ISLANDS = 12, 4
GRIDS, CHECKS = 200, 27
"""Checks are as many as ``basics`` has."""

Area = tuple[int, int, int, int]
"""First row and the one after the last, first column and the one after the last."""


class Planted:
    """A grid in which checks fail in known areas.

    Args:
        rows: of the grid.
        columns: of the grid.
        checks: of each cell.
        seed: another one, another grid.
    """

    def __init__(self, rows: int, columns: int, checks: int, seed: int) -> None:
        self._ends = rows, columns
        self._random = random.Random(seed)  # noqa: S311 - to be the same again
        self._areas: list[list[Area]] = [[] for _ in range(checks)]
        for number in range(BOUNDARIES):
            self._plant(self._boundary, number % 3)
        for number in range(ISLANDS):
            self._plant(self._island, number % 4)

    def words(self, place: Place) -> Words:
        """Return what comes of a cell."""
        row, column = place
        return tuple(
            "fail"
            if sum(top <= row < end and left <= column < right for top, end, left, right in areas)
            % 2
            else "pass"
            for areas in self._areas
        )

    def _plant(self, make: Callable[[int], Area], kind: int) -> None:
        while True:
            check = self._random.randrange(len(self._areas))
            area = make(kind)
            if all(self._apart(check, area, axis) for axis in (0, 1)):
                self._areas[check].append(area)
                return

    def _apart(self, check: int, area: Area, axis: int) -> bool:
        edges = {0, self._ends[axis]}
        taken = edges | {cut for one in self._areas[check] for cut in one[2 * axis : 2 * axis + 2]}
        new = set(area[2 * axis : 2 * axis + 2]) - edges
        return all(abs(one - other) >= WIDTH for one in new for other in taken)

    def _boundary(self, kind: int) -> Area:
        sides = []
        for axis, end in enumerate(self._ends):
            cut = self._random.randrange(1, end)
            part = self._random.choice([(0, cut), (cut, end)])
            sides.append((0, end) if kind == 1 - axis else part)
        return (*sides[0], *sides[1])

    def _island(self, kind: int) -> Area:
        narrow, wholly = kind % 2, kind < 2
        sides = []
        for axis, end in enumerate(self._ends):
            if axis == narrow:
                width = self._random.randrange(WIDTH, (13, 7)[axis])
            else:
                width = end if wholly else self._random.randrange(end // 2 + 1, end)
            start = self._random.randrange(end - width + 1)
            sides.append((start, start + width))
        return (*sides[0], *sides[1])


def search(grid: Boundaries, planted: Planted) -> tuple[dict[Place, Words], int, int]:
    """Return what ran, in how many rounds, and how many cells are inferred wrongly."""
    told: dict[Place, Words] = {}
    rounds = 0
    while needed := grid.read(told).needed:
        told |= {place: planted.words(place) for place in needed}
        rounds += 1
    inferred = grid.read(told).inferred
    wrong = sum(planted.words(place) != words for place, words in inferred.items())
    return told, rounds, wrong


def main(grids: int = GRIDS, checks: int = CHECKS) -> int:
    """Search planted grids; print the share of cells that ran, and how many were exact."""
    catalog = load()
    released = [one for one in catalog.services if one.kind == "released"]
    rows, columns = len(catalog.clients), len(released) + 1
    ran, rounds, inexact = [], [], 0
    grid = Boundaries(rows, columns)
    for seed in range(grids):
        told, count, wrong = search(grid, Planted(rows, columns, checks, seed))
        ran.append(len(told))
        rounds.append(count)
        inexact += bool(wrong)
    every = rows * columns
    print(
        f"{rows} × {columns} = {every} cells, {grids} grids of {checks} checks: {min(ran)} to"
        f" {max(ran)} ran, {sum(ran) / len(ran):.0f} on average: at most {max(ran) / every:.2%} of"
        f" {BUDGET:.0%} allowed; {grids - inexact} exact; {max(rounds)} rounds at most"
    )
    for width in (3, 5, 10):
        missed = chance_missed(told, rows, columns, width, width)
        print(f"an island of {width} × {width} in the last of them is missed by {missed:.0%}")
    return int(inexact > 0 or max(ran) > BUDGET * every)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
