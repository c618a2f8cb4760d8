"""The first of ordered variants whose check came out otherwise, by the fewest cells. Pure.

Releases are a line, commits a graph: both are given by the variants that each one came from, and
searched as ``git bisect`` does. What cannot be tested is left out, and the next one is taken far
from it: its neighbours will hardly be better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise


class Verdict(Enum):
    """What a variant turned out to be."""

    GOOD = "good"
    BAD = "bad"
    UNTESTABLE = "cannot be tested"


Ask = Callable[[str], Verdict]
"""Runs the cell of a variant."""


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        first: the variants one of which is the first; several where some could not be tested.
        before: the ones right before those, whose verdict is that of the older end.
        told: the verdict of each variant that was asked, in the order of asking.
        wrong: the end that turned out not to be what it was said to be; empty for none.
        unproven: the ends on whose word the answer rests, for they could not be tested.
    """

    first: tuple[str, ...]
    before: tuple[str, ...]
    told: Mapping[str, Verdict]
    wrong: str = ""
    unproven: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether it is known, and was seen, which one is the first."""
        return not self.wrong and not self.unproven and len(self.first) == 1


def line(variants: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the history of variants that came one after the other, oldest first."""
    return {variants[0]: (), **{new: (old,) for old, new in pairwise(variants)}}


class Bisection:
    """A search between two ends, which are taken at their word until an answer rests on it.

    Args:
        history: what each variant came from, in an order in which those come before it. The first
            is the older end, the last the newer one, and every other lies between.
        newer: the verdict of the newer end; the older one has the other.
        untestable: variants that are known not to be testable.
    """

    def __init__(
        self,
        history: Mapping[str, Iterable[str]],
        newer: Verdict,
        untestable: Iterable[str] = (),
    ) -> None:
        self._variants = list(history)
        self._newer = newer
        self._older = Verdict.GOOD if newer is Verdict.BAD else Verdict.BAD
        place = {variant: number for number, variant in enumerate(self._variants)}
        self._parents = [sum(1 << place[old] for old in history[new]) for new in self._variants]
        # Sets of variants are numbers with a bit for each: those of thousands are compared at once.
        self._upto: list[int] = []
        for number, parents in enumerate(self._parents):
            self._upto.append((1 << number) | _union(self._upto[one] for one in _bits(parents)))
        self._first_at = len(self._variants) - 1
        self._before = self._upto[0]
        self._left_out = {place[variant] for variant in untestable}
        self._place = place
        self.told: dict[str, Verdict] = {}

    @property
    def left(self) -> int:
        """How many variants may be the first."""
        return self._candidates.bit_count()

    @property
    def _candidates(self) -> int:
        return self._upto[self._first_at] & ~self._before

    def next(self) -> str | None:
        """Return the variant whose verdict halves what is left; None when nothing can."""
        candidates = self._candidates
        total = candidates.bit_count()
        weight = {
            number: (self._upto[number] & candidates).bit_count() for number in _bits(candidates)
        }
        aside = [weight[number] for number in self._left_out if number in weight]
        open_ = [one for one in weight if one != self._first_at and one not in self._left_out]

        def gain(number: int) -> int:
            halves = min(weight[number], total - weight[number])
            return halves * min((abs(weight[number] - one) for one in aside), default=1)

        return self._variants[max(open_, key=gain)] if open_ else None

    def tell(self, variant: str, verdict: Verdict) -> None:
        """Take the verdict of a variant into account."""
        number = self._place[variant]
        self.told[variant] = verdict
        if verdict is Verdict.UNTESTABLE:
            self._left_out.add(number)
        elif verdict is self._newer:
            self._first_at = number
        else:
            self._before |= self._upto[number]

    def run(self, ask: Ask) -> Found:
        """Ask until the answer is as exact as it can be, then an end on whose word it rests."""
        while (variant := self.next()) is not None:
            self.tell(variant, ask(variant))
        first = [self._variants[number] for number in _bits(self._candidates)]
        border = _union(self._parents[number] for number in _bits(self._candidates))
        before = [self._variants[number] for number in _bits(border & self._before)]
        unproven = []
        for end, verdict in ((self._variants[-1], self._newer), (self._variants[0], self._older)):
            if end in {self._variants[self._first_at], *before} and end not in self.told:
                self.told[end] = ask(end)
                if self.told[end] is Verdict.UNTESTABLE:
                    unproven.append(end)
                elif self.told[end] is not verdict:
                    return Found(tuple(first), tuple(before), self.told, end)
        return Found(tuple(first), tuple(before), self.told, unproven=tuple(unproven))


def _bits(members: int) -> Iterator[int]:
    """Yield the numbers in a set, smallest first."""
    while members:
        lowest = members & -members
        yield lowest.bit_length() - 1
        members ^= lowest


def _union(sets: Iterable[int]) -> int:
    whole = 0
    for members in sets:
        whole |= members
    return whole
