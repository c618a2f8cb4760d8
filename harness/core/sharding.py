"""A plan in parts for several machines: whole units, each in one part. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.core.plan import Cell, Plan
from harness.core.provenance import digest

MOST = 256
"""Jobs that GitHub makes of one matrix at most."""


@dataclass(frozen=True)
class Shard:
    """One part of several.

    Attributes:
        number: which one, from 1; 0 for none in particular.
        count: how many there are.
    """

    number: int
    count: int

    @staticmethod
    def parse(text: str) -> Shard:
        """Return what ``I/N``, or ``N`` alone, stands for.

        Raises:
            ValueError: for what is neither.
        """
        number, slash, count = text.partition("/") if "/" in text else ("0", "", text)
        shard = Shard(int(number), int(count))
        if not (bool(slash) <= shard.number <= shard.count and 1 <= shard.count <= MOST):
            raise ValueError(text)
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}" if self.number else str(self.count)


def units(plan: Plan) -> list[tuple[Cell, ...]]:
    """Return the cells that stay together, in the order of the plan.

    Those are all of a walk, or of a database that clients share; else those of one client in one
    environment on one stack. What follows each other has mostly the client in common, and so its
    environment.
    """
    found: dict[tuple[object, ...], list[Cell]] = {}
    for cell in plan.cells:
        stack = (cell.service, cell.postgres, cell.scenario)
        own = (cell.client, cell.python, cell.deps)
        key = (cell.walk,) if plan.path else stack if cell.writer else (*own, *stack)
        found.setdefault(key, []).append(cell)
    return [tuple(cells) for cells in found.values()]


def split(plan: Plan, count: int, seconds: Mapping[str, float]) -> list[Plan]:
    """Return a plan in parts, none of which is empty; every cell is in one of them.

    Neighbours stay together, and parts take about as long as each other.

    Args:
        plan: all of it, which has as many units at least.
        count: how many parts.
        seconds: by id, how long cells took; of others the mean is taken.
    """
    all_units = units(plan)
    known = [seconds[cell.id] for cell in plan.cells if cell.id in seconds]
    mean = sum(known) / len(known) if known else 1.0
    weights = [sum(seconds.get(cell.id, mean) for cell in unit) for unit in all_units]
    part_of: dict[str, int] = {}
    start = 0
    for part in range(count):
        end = _end(weights, start, count - part - 1)
        part_of |= {cell.id: part for unit in all_units[start:end] for cell in unit}
        start = end
    cells: list[list[Cell]] = [[] for _ in range(count)]
    for cell in plan.cells:
        cells[part_of[cell.id]].append(cell)
    cut = digest([[cell.id for cell in own] for own in cells])
    return [replace(plan, cells=tuple(own), cut=cut) for own in cells]


def _end(weights: Sequence[float], start: int, more: int) -> int:
    """Return where the part ends that begins at a place, and that so many more follow."""
    share = sum(weights[start:]) / (more + 1)
    load, end = weights[start], start + 1
    # The last one is taken that is nearer to the share than what is without it.
    while more and end < len(weights) - more and load + weights[end] / 2 <= share:
        load += weights[end]
        end += 1
    return end if more else len(weights)
