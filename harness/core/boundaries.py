"""Where the checks of a grid of clients × services change, from few of its cells. Pure.

Both axes are ordered, so what fails together is mostly a rectangle. Both ends and the middle of
either axis are *lines*, looked at all along: a cell every ``WIDTH`` releases, where the lines
beside have none, so that every client and every service has one; of a grid with one service, or one
client, there is one line, and every third has one. Between two that differ it goes
on by halves until they are neighbours. Lines cut the grid into blocks, and what changes at the
sides of a block cuts it into pieces. A piece is inferred where its corners agree; a corner where
two cuts cross that are seen at both of their ends need not run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

Place = tuple[int, int]
"""A row and a column of the grid, each from 0."""

Words = tuple[str, ...]
"""What came of each check of a cell."""

WIDTH = 3
"""Releases from one cell of a line to the next, at most: what is as wide and crosses it is seen."""

_Block = tuple[int, int, int, int]
"""First and last row, first and last column."""


def lines(length: int) -> tuple[int, ...]:
    """Return the places of lines across an axis: its ends and its middle.

    What reaches over half of the axis, or to one of its ends, is on one of them.
    """
    return tuple(sorted({0, length // 2, length - 1}))


def chance_missed(ran: Iterable[Place], rows: int, columns: int, high: int, wide: int) -> float:
    """Return the chance that an island has no cell that ran, wherever it may be.

    Args:
        ran: the places of the cells that ran.
        rows: of the grid.
        columns: of the grid.
        high: rows of the island.
        wide: columns of the island.
    """
    high, wide = min(high, rows), min(wide, columns)
    above = [[0] * (columns + 1) for _ in range(rows + 1)]
    seen = set(ran)
    for row in range(rows):
        for column in range(columns):
            above[row + 1][column + 1] = (
                ((row, column) in seen)
                + above[row][column + 1]
                + above[row + 1][column]
                - above[row][column]
            )
    missed = [
        above[row + high][column + wide]
        - above[row][column + wide]
        - above[row + high][column]
        + above[row][column]
        == 0
        for row in range(rows - high + 1)
        for column in range(columns - wide + 1)
    ]
    return sum(missed) / len(missed)


class Boundaries:
    """Which cells of a grid to run, and what the others are inferred to be.

    Exact where what changes a check is a boundary on either axis, a corner of both, or an island
    that reaches over one axis, however narrow it is, or over half of one, ``WIDTH`` releases wide;
    in a grid of one row or one column only where an island is ``WIDTH`` wide; and where these are
    ``WIDTH`` releases apart. Other islands are found by chance.

    Args:
        rows: clients, in order.
        columns: services, in order.
        row_hints: rows whose outcomes may be other than those of the row before: tried first.
        column_hints: likewise columns.
        early: places that run in any case.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        row_hints: Iterable[int] = (),
        column_hints: Iterable[int] = (),
        early: Iterable[Place] = (),
    ) -> None:
        self.rows = rows
        self.columns = columns
        self.hints = (frozenset(row_hints), frozenset(column_hints))
        self.line_rows = lines(rows)
        self.line_columns = lines(columns)
        self.first = frozenset((*self._first(), *early))
        """The places that run before anything is known."""

    def _first(self) -> Iterator[Place]:
        for row in range(self.rows):
            ends = row in {0, self.rows - 1}
            for number in range(len(self.line_columns)) if ends else self._turns(row, 1):
                yield row, self.line_columns[number]
        for column in range(self.columns):
            ends = column in {0, self.columns - 1}
            for number in range(len(self.line_rows)) if ends else self._turns(column, 0):
                yield self.line_rows[number], column

    def _turns(self, place: int, axis: int) -> list[int]:
        """Return the numbers of the lines that have a cell at a place of the other axis."""
        count = len((self.line_rows, self.line_columns)[axis])
        # Turn by turn: of any WIDTH neighbours each line has one, and each place is on some line.
        turns = list(range(place % WIDTH, count, WIDTH))
        # Where there is one line only, that would be every cell.
        return turns or ([place % count] if count > 1 else [])

    def read(self, told: Mapping[Place, Words], whole: Iterable[Place] = ()) -> Reading:
        """Return what cells that ran come to.

        Args:
            told: what came of them, by place; the same checks in each.
            whole: places whose row and column have run, all of them: they are lines, too.
        """
        return Reading(self, told, whole)


class Reading:
    """What cells come to: which others have to run before all can be inferred, and then those.

    Args:
        grid: what is searched.
        told: what came of the cells that ran, by place.
        whole: places whose row and column are lines, too.

    Attributes:
        needed: the places to run next; empty when everything is known.
    """

    def __init__(
        self, grid: Boundaries, told: Mapping[Place, Words], whole: Iterable[Place] = ()
    ) -> None:
        self._grid = grid
        self._told = told
        self._at: dict[Place, Words] = dict(told)
        """What is known of places, those on lines included."""
        self._hints = tuple(set(hints) for hints in grid.hints)
        self._pieces: list[tuple[int, _Block, str]] = []
        self.needed = {place for place in grid.first if place not in told}
        if self.needed:
            return
        whole = list(whole)
        rows = sorted({*grid.line_rows, *(row for row, _ in whole)})
        columns = sorted({*grid.line_columns, *(column for _, column in whole)})
        self._see_lines(rows, columns)
        if not self.needed:
            self._see_blocks(rows, columns)

    @property
    def inferred(self) -> dict[Place, Words]:
        """What every place is inferred to be that did not run; once nothing is needed."""
        checks = len(next(iter(self._told.values())))
        words = [[[""] * checks for _ in range(self._grid.columns)] for _ in range(self._grid.rows)]
        for check, (top, bottom, left, right), word in self._pieces:
            for row in range(top, bottom + 1):
                for column in range(left, right + 1):
                    words[row][column][check] = word
        found = {
            (row, column): tuple(one)
            for row, line in enumerate(words)
            for column, one in enumerate(line)
        }
        return {place: one for place, one in (found | self._at).items() if place not in self._told}

    def _see_lines(self, rows: Sequence[int], columns: Sequence[int]) -> None:
        """Find where lines change, and see whether others have what is narrow in one."""
        last = self._grid.rows - 1, self._grid.columns - 1
        along = [[(row, column) for row in range(last[0] + 1)] for column in columns]
        across = [[(row, column) for column in range(last[1] + 1)] for row in rows]
        for line in (*along, *across):
            self._note_changes(line)
        for line in (*along, *across):
            self._resolve(line)
        if self.needed:
            return
        for several in (along, across):
            for line in several:
                for number in self._narrow(line):
                    self.needed |= {other[number] for other in several} - self._told.keys()

    def _note_changes(self, line: Sequence[Place]) -> None:
        axis = 0 if line[0][1] == line[-1][1] else 1
        for old, new in pairwise(line):
            if old in self._told and new in self._told and self._told[old] != self._told[new]:
                self._hints[axis].add(new[axis])

    def _narrow(self, line: Sequence[Place]) -> Iterator[int]:
        """Yield a number within each stretch of a line that others may have no cell in."""
        changes = [n for n in range(1, len(line)) if self._at[line[n]] != self._at[line[n - 1]]]
        for start, end in pairwise([0, *changes, len(line)]):
            if end - start < WIDTH:
                yield start

    def _resolve(self, line: Sequence[Place], check: int | None = None) -> list[int] | None:
        """Fill a line between cells that agree; return where it changes; None if cells are needed.

        Args:
            line: neighbouring places.
            check: what alone has to agree; None for all checks. Then nothing is filled.
        """
        missing = {place for place in (line[0], line[-1]) if place not in self._at}
        if missing:
            self.needed |= missing
            return None
        known = [number for number, place in enumerate(line) if place in self._at]
        changes = [
            (old, new) for old, new in pairwise(known) if self._differ(line[old], line[new], check)
        ]
        wide = [(old, new) for old, new in changes if new - old > 1]
        for old, new in wide:
            self.needed |= self._between(line, old, new)
        if wide:
            return None
        if check is None:
            for number, place in enumerate(line):
                self._at.setdefault(place, self._at[line[max(0, number - 1)]])
        return [new for _, new in changes]

    def _differ(self, one: Place, other: Place, check: int | None) -> bool:
        if check is None:
            return self._at[one] != self._at[other]
        return self._at[one][check] != self._at[other][check]

    def _between(self, line: Sequence[Place], old: int, new: int) -> set[Place]:
        """Return the places to run where a line changes from one number to another."""
        axis = 0 if line[0][1] == line[-1][1] else 1
        start = line[0][axis]
        middle = (old + new) // 2
        hints = [one - start for one in self._hints[axis] if old < one - start <= new]
        if not hints:
            return {line[middle]}
        hint = min(hints, key=lambda one: (abs(one - middle - 1), one))
        return {line[number] for number in (hint - 1, hint) if old < number < new}

    def _see_blocks(self, rows: Sequence[int], columns: Sequence[int]) -> None:
        checks = len(next(iter(self._told.values())))
        blocks = [
            (top, bottom, left, right)
            for top, bottom in pairwise(rows)
            for left, right in pairwise(columns)
        ]
        inside: dict[_Block, list[Place]] = {block: [] for block in blocks}
        for block in blocks:
            inside[block] = [place for place in self._told if _is_inside(place, block)]
        for check in range(checks):
            for block in blocks:
                self._settle(block, check, inside[block])

    def _settle(self, block: _Block, check: int, inside: Sequence[Place]) -> None:
        """Cut a block into pieces whose corners agree on a check; ask for cells where they do not.

        Args:
            block: whose sides are known.
            check: its number.
            inside: the places in the block that ran.
        """
        top, bottom, left, right = block
        if bottom - top < 2 or right - left < 2:  # noqa: PLR2004 - nothing is inside
            return
        pieces = self._cut(block, check)
        for piece in pieces:
            word = self._word(piece, check)
            odd = [one for one in inside if _has(piece, one) and self._told[one][check] != word]
            if odd:
                self._split(block, check, inside, odd[0])
                return
        words = [(check, piece, self._word(piece, check)) for piece in pieces]
        self._pieces += words

    def _changes(self, block: _Block, check: int, axis: int) -> tuple[set[int], set[int]]:
        """Return the rows, or columns, at which either side of a block changes."""
        top, bottom, left, right = block
        sides: Iterable[list[Place]] = (
            [(row, column) for row in range(top, bottom + 1)] for column in (left, right)
        )
        if axis:
            sides = ([(row, column) for column in range(left, right + 1)] for row in (top, bottom))
        one, other = (
            {new[axis] for old, new in pairwise(side) if self._differ(old, new, check)}
            for side in sides
        )
        return one, other

    def _cut(self, block: _Block, check: int) -> list[_Block]:
        """Return the pieces of a block, whose corners agree; none while cells are needed."""
        top, bottom, left, right = block
        sides = self._changes(block, check, 0), self._changes(block, check, 1)
        # What changes at both ends goes straight through.
        through = tuple(one & other for one, other in sides)
        cuts = tuple(one | other for one, other in sides)
        while True:
            pieces = [
                (*rows, *columns)
                for rows in _spans(top, bottom, cuts[0])
                for columns in _spans(left, right, cuts[1])
            ]
            asked = {place for piece in pieces for place in self._unknown(piece, through)}
            found = [self._inner_cuts(piece, check) for piece in pieces]
            new = tuple({cut for one in found for cut in one[axis]} - cuts[axis] for axis in (0, 1))
            if not any(new):
                # Whoever looks for a cut may have asked for cells, too.
                self.needed |= asked
                return [] if self.needed else pieces
            cuts = cuts[0] | new[0], cuts[1] | new[1]

    def _unknown(self, piece: _Block, through: Sequence[set[int]]) -> list[Place]:
        """Return the corners of a piece that have to run."""
        corners = _corners(piece)
        unknown = [place for place, _ in corners if place not in self._at]
        if len(unknown) == len(corners):
            return unknown[:1]
        return [
            place
            for place, cuts in corners
            if place in unknown and not (cuts[0] in through[0] and cuts[1] in through[1])
        ]

    def _inner_cuts(self, piece: _Block, check: int) -> tuple[set[int], set[int]]:
        """Return the rows and columns at which the edges of a piece change."""
        cuts: tuple[set[int], set[int]] = set(), set()
        for edge, axis in _edges(piece):
            ends = edge[0], edge[-1]
            if all(place in self._at for place in ends) and self._differ(*ends, check):
                cuts[axis].update(edge[number][axis] for number in self._resolve(edge, check) or ())
        return cuts

    def _word(self, piece: _Block, check: int) -> str:
        """Return what the corners of a piece tell of a check."""
        return next(self._at[place][check] for place, _ in _corners(piece) if place in self._at)

    def _split(self, block: _Block, check: int, inside: Sequence[Place], odd: Place) -> None:
        """Settle a block in four, cut at a place that is not what the block says."""
        top, bottom, left, right = block
        row, column = odd
        done = [
            self._resolve([(row, one) for one in range(left, right + 1)]),
            self._resolve([(one, column) for one in range(top, bottom + 1)]),
        ]
        if None in done:
            return
        for rows in ((top, row), (row, bottom)):
            for columns in ((left, column), (column, right)):
                part = (*rows, *columns)
                own = [one for one in inside if _is_inside(one, part)]
                self._settle(part, check, own)


def _is_inside(place: Place, block: _Block) -> bool:
    """Tell whether a place is within a block, and not on its sides."""
    top, bottom, left, right = block
    return top < place[0] < bottom and left < place[1] < right


def _has(block: _Block, place: Place) -> bool:
    top, bottom, left, right = block
    return top <= place[0] <= bottom and left <= place[1] <= right


def _spans(first: int, last: int, cuts: Iterable[int]) -> list[tuple[int, int]]:
    """Return the stretches from one place to another, each cut beginning a new one."""
    starts = [first, *sorted(cuts)]
    return [(start, end - 1) for start, end in pairwise([*starts, last + 1])]


def _corners(piece: _Block) -> tuple[tuple[Place, tuple[int, int]], ...]:
    """Return the corners of a piece, each with the cuts that meet there: a row and a column."""
    top, bottom, left, right = piece
    return (
        ((top, left), (top, left)),
        ((top, right), (top, right + 1)),
        ((bottom, left), (bottom + 1, left)),
        ((bottom, right), (bottom + 1, right + 1)),
    )


def _edges(piece: _Block) -> Iterator[tuple[list[Place], int]]:
    """Yield the places of each edge, and the axis along which it goes."""
    top, bottom, left, right = piece
    for row in {top, bottom}:
        yield [(row, column) for column in range(left, right + 1)], 1
    for column in {left, right}:
        yield [(row, column) for row in range(top, bottom + 1)], 0
