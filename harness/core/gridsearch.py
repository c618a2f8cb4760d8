"""Running a plan's cells only where a boundary may be, and inferring the others. Pure.

Cells of one probe and of the same variants beside client and service are a grid of their own, in
which clients and services are ordered by version.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec

from harness.core.axes import CIRCUMSTANCES
from harness.core.boundaries import Boundaries, Place, Reading, Words, chance_missed
from harness.core.entries import CellEntry, Inferred
from harness.core.hints import Hints
from harness.core.outcome import CheckOutcome, Status
from harness.core.plan import Cell, Plan
from harness.core.view import View

ISLANDS = (3, 5, 10)
"""Releases that islands are wide whose chance to be missed is told."""

_NOBODY = Status.INFRA.value
"""What is known of a check that nobody judged."""

_NOTHING = frozenset({_NOBODY, Status.NOT_RUN.value})
"""What tells nothing of a check."""

_UNKNOWN = "what it would be inferred from could not be judged"

Cells = Mapping[Place, Cell]
"""Of one grid, by row and column."""


def _page_of(cell: Cell) -> object:
    """Return what tells a cell's grid from others."""
    # Each client has a Python, and each service a build; unasked they come with them.
    blank = {axis.name: "" for axis in CIRCUMSTANCES if axis.name not in cell.asked}
    point = msgspec.structs.replace(cell.point, **blank | {"client": "", "service": None})
    return point, cell.probe.name


@dataclass(frozen=True)
class Page:
    """One grid.

    Attributes:
        cells: by row and column.
        hints: where something may change.
    """

    cells: Cells
    hints: Hints

    @cached_property
    def checks(self) -> tuple[str, ...]:
        """The names of the checks of each cell."""
        return tuple(check.name for check in self.cells[0, 0].checks)

    @cached_property
    def grid(self) -> Boundaries:
        """What is searched."""
        hints = self.hints
        return Boundaries(self.rows, self.columns, hints.rows, hints.columns, hints.early)

    @property
    def rows(self) -> int:
        """How many clients it has."""
        return max(row for row, _ in self.cells) + 1

    @property
    def columns(self) -> int:
        """How many services it has."""
        return max(column for _, column in self.cells) + 1


def grids(plan: Plan) -> tuple[list[Cells], list[Cell]]:
    """Return the grids of a plan, and the cells that are in none: no Python runs their client."""
    found: dict[object, list[Cell]] = {}
    aside = [cell for cell in plan.cells if not cell.python]
    for cell in plan.cells:
        if cell.python:
            found.setdefault(_page_of(cell), []).append(cell)
    return [_placed(cells) for cells in found.values()], aside


def _placed(cells: Sequence[Cell]) -> dict[Place, Cell]:
    """Return cells by the places of their clients and services, oldest first."""
    clients = sorted(dict.fromkeys(cell.client for cell in cells), key=lambda one: one.version)
    services = dict.fromkeys(cell.service for cell in cells if cell.service is not None)
    kinds = list(dict.fromkeys(one.kind for one in services))
    in_order = sorted(services, key=lambda one: (kinds.index(one.kind), one.version))
    rows = {client: row for row, client in enumerate(clients)}
    columns = {service: column for column, service in enumerate(in_order)}
    return {
        (rows[cell.client], columns[cell.service]): cell
        for cell in cells
        if cell.service is not None
    }


def words_of(entry: CellEntry, checks: Iterable[str]) -> Words:
    """Return what came of the checks of a cell, whatever is declared of them."""
    found = entry.checks | entry.undeclared
    return tuple(found[name].status.value if name in found else _NOBODY for name in checks)


def is_judged(entry: CellEntry) -> bool:
    """Tell whether any check of a cell was judged, or is inferred from one that was."""
    return _is_judged(words_of(entry, entry.checks))


def _is_judged(words: Words) -> bool:
    # What is not supported is known without.
    looked_at = set(words) - {Status.UNSUPPORTED.value}
    return not looked_at or not looked_at <= _NOTHING


def _as_judged(ran: Words, inferred: Words) -> Words:
    """Return what a verified cell tells: where nobody judged it, what it was inferred to be."""
    # What the machine broke may have kept other checks from running.
    lost = _NOTHING if _NOBODY in ran or not _is_judged(ran) else frozenset()
    both = zip(ran, inferred, strict=True)
    return tuple(guessed if word in lost else word for word, guessed in both)


@dataclass(frozen=True)
class Inference:
    """What a cell is inferred to be.

    Attributes:
        checks: what comes of each, before it is judged by what is declared.
        inferred: of what.
    """

    cell: Cell
    checks: dict[str, CheckOutcome]
    inferred: Inferred


class GridSearch:
    """Which cells of a plan to run next, until all others can be inferred.

    Args:
        plan: all of it; each client with each service.
        hints: returns for a grid where something may change.
        verify: how many inferred cells are run in the end.
        seed: which ones.
    """

    def __init__(
        self, plan: Plan, hints: Callable[[Cells], Hints], verify: int = 0, seed: int = 0
    ) -> None:
        found, self._aside = grids(plan)
        self.pages = [Page(cells, hints(cells)) for cells in found]
        self.cells = len(plan.cells)
        self._verify = verify
        self._random = random.Random(seed)  # noqa: S311 - chooses cells, no secret
        self._drawn: dict[tuple[int, Place], Words] | None = None
        self._whole: list[set[Place]] = [set() for _ in self.pages]
        self._asked: set[str] = set()
        self.wrong: list[Cell] = []
        """Cells that were inferred, and turned out otherwise when they ran."""

    def next(self, view: View) -> list[Cell]:
        """Return the cells to run now; none when all others can be inferred.

        A cell that was asked for and has not come to anything counts as not judged.

        Args:
            view: of the journal so far.
        """
        asked = self._next({one.id: one for one in view.finished if one.inferred is None})
        self._asked |= {cell.id for cell in asked}
        return asked

    def _next(self, entries: Mapping[str, CellEntry]) -> list[Cell]:
        told = [self._told(page, entries) for page in self.pages]
        aside = [cell for cell in self._aside if self._is_open(cell, entries)]
        needed = self._needed(told)
        if needed or aside:
            return [*aside, *needed]
        if self._verify and self._drawn is None:
            self._drawn = self._draw(told)
            return [self.pages[number].cells[place] for number, place in self._drawn]
        cells = []
        for number, (row, column) in self._disproved(told):
            whole = self.pages[number].cells.items()
            cells += [cell for place, cell in whole if place[0] == row or place[1] == column]
        open_ = [cell for cell in dict.fromkeys(cells) if self._is_open(cell, entries)]
        return open_ or (self._needed(told) if cells else [])

    def _disproved(self, told: Sequence[Mapping[Place, Words]]) -> Iterator[tuple[int, Place]]:
        """Yield the verified cells that are not as inferred, each once: lines go through them."""
        for (number, place), words in (self._drawn or {}).items():
            cell = self.pages[number].cells[place]
            if _as_judged(told[number][place], words) != words and cell not in self.wrong:
                self.wrong.append(cell)
                self._whole[number].add(place)
                yield number, place

    def _is_open(self, cell: Cell, entries: Mapping[str, CellEntry]) -> bool:
        return cell.id not in entries and cell.id not in self._asked

    def _told(self, page: Page, entries: Mapping[str, CellEntry]) -> dict[Place, Words]:
        told = {}
        for place, cell in page.cells.items():
            if cell.id in entries:
                told[place] = words_of(entries[cell.id], page.checks)
            elif cell.id in self._asked:
                told[place] = (_NOBODY,) * len(page.checks)
        return told

    def _read(self, told: Sequence[Mapping[Place, Words]]) -> list[Reading]:
        known = [dict(one) for one in told]
        for (number, place), words in (self._drawn or {}).items():
            if place in known[number]:
                # What the machine broke does not tell against what is inferred.
                known[number][place] = _as_judged(known[number][place], words)
        return [
            page.grid.read(one, whole)
            for page, one, whole in zip(self.pages, known, self._whole, strict=True)
        ]

    def _needed(self, told: Sequence[Mapping[Place, Words]]) -> list[Cell]:
        return [
            page.cells[place]
            for page, reading in zip(self.pages, self._read(told), strict=True)
            for place in sorted(reading.needed)
        ]

    def _draw(self, told: Sequence[Mapping[Place, Words]]) -> dict[tuple[int, Place], Words]:
        """Return inferred cells at random, with what they are inferred to be."""
        inferred = {
            (number, place): words
            for number, reading in enumerate(self._read(told))
            for place, words in sorted(reading.inferred.items())
        }
        drawn = self._random.sample(list(inferred), min(self._verify, len(inferred)))
        return {one: inferred[one] for one in drawn}

    def verified(self, view: View) -> tuple[int, int]:
        """Return how many inferred cells ran and were judged, and how many others were to.

        Args:
            view: of the journal so far.
        """
        judged = {one.id for one in view.finished if one.inferred is None and is_judged(one)}
        drawn = [self.pages[number].cells[place].id for number, place in self._drawn or ()]
        count = sum(one in judged for one in drawn)
        return count, len(drawn) - count

    def infer(self, view: View) -> Iterator[Inference]:
        """Yield what the cells that did not run are inferred to be.

        Args:
            view: of the journal, when nothing is left to run.
        """
        entries = {one.id: one for one in view.finished if one.inferred is None}
        told = [self._told(page, entries) for page in self.pages]
        for page, ran, reading in zip(self.pages, told, self._read(told), strict=True):
            sources = _Sources(page, ran, entries)
            for place, words in reading.inferred.items():
                yield sources.infer(place, words)

    def chances(self, view: View) -> list[str]:
        """Return for each grid the chance that an island of some width has no cell that told."""
        ran = {one.id for one in view.finished if one.inferred is None and is_judged(one)}
        return [
            ", ".join(
                _chance([place for place, cell in page.cells.items() if cell.id in ran], page)
            )
            for page in self.pages
        ]


def _chance(ran: Sequence[Place], page: Page) -> Iterator[str]:
    rows, columns = page.rows, page.columns
    if min(rows, columns) == 1:
        what = "clients" if columns == 1 else "services"
        for width in (1, 2, *ISLANDS[:1]):
            missed = chance_missed(ran, rows, columns, width, width)
            yield f"{width} {what if width > 1 else what[:-1]} {_percent(missed)}"
        return
    half = -(-columns // 2), -(-rows // 2)
    for width in ISLANDS:
        shapes = {
            f"{width} clients × half of the services": (width, half[0]),
            f"{width} services × half of the clients": (half[1], width),
            f"{width} × {width}": (width, width),
        }
        for words, (high, wide) in shapes.items():
            if high <= rows and wide <= columns:
                yield f"{words} {_percent(chance_missed(ran, rows, columns, high, wide))}"


def _percent(chance: float) -> str:
    """Return a chance in words; 0% is none at all."""
    return "<1%" if 0 < chance < 0.01 else f"{chance:.0%}"  # noqa: PLR2004 - one of a hundred


class _Sources:
    """The cells that ran, of which others are inferred.

    Args:
        page: whose cells they are.
        ran: what came of them, by place.
        entries: of cells, by id.
    """

    def __init__(
        self, page: Page, ran: Mapping[Place, Words], entries: Mapping[str, CellEntry]
    ) -> None:
        self._page = page
        self._ran = ran
        self._entries = entries
        self._alike: dict[Words, list[Place]] = {}
        for place, words in ran.items():
            self._alike.setdefault(words, []).append(place)

    def infer(self, place: Place, words: Words) -> Inference:
        """Return what a cell is inferred to be, by the nearest that came out like it."""
        cell = self._page.cells[place]
        checks: dict[str, CheckOutcome] = {}
        used: dict[str, None] = {}
        same = _nearest(place, self._alike.get(words, ()))
        for number, check in enumerate(cell.checks):
            why = cell.unsupported(check)
            if why:
                checks[check.name] = CheckOutcome(Status.UNSUPPORTED, why)
                continue
            source = same or self._nearest_of(place, number, words[number])
            named = self._page.cells[source].id
            used[named] = None
            checks[check.name] = self._outcome(named, check.name)
        return Inference(cell, checks, Inferred(beside=list(used)))

    def _outcome(self, cell: str, check: str) -> CheckOutcome:
        """Return what came of a check of a cell that ran, where that tells of others."""
        entry = self._entries.get(cell)
        found = None if entry is None else (entry.checks | entry.undeclared).get(check)
        if found is None or found.status in {Status.INFRA, Status.UNSUPPORTED}:
            return CheckOutcome(Status.NOT_RUN, _UNKNOWN)
        return found

    def _nearest_of(self, place: Place, check: int, word: str) -> Place:
        alike = [one for one, words in self._ran.items() if words[check] == word]
        found = _nearest(place, alike)
        assert found is not None, "what is inferred came of a cell"
        return found


def _nearest(place: Place, places: Iterable[Place]) -> Place | None:
    row, column = place
    return min(
        places,
        key=lambda one: (abs(one[0] - row) + abs(one[1] - column), one),
        default=None,
    )
