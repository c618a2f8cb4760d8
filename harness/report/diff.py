"""What changed between two journals: became red, became green, new, gone. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.core.entries import CellEntry, StageEntry
from harness.core.outcome import CheckOutcome, Status
from harness.core.view import View, green
from harness.report.findings import by_signature, findings
from harness.report.sides import Page, Sides, page
from harness.report.summary import UNSAFE, causes, place, stage_sentences, unsafe_sentence
from harness.report.text import counted, shortened

Cells = Mapping[tuple[str, ...], CellEntry]


@dataclass(frozen=True)
class Difference:
    """Sentences with ranges, widest first.

    Attributes:
        became_red: checks that were as expected and are not any more.
        became_green: the other way round.
        new_red: cells and stages that only the newer journal has, and that are not as expected.
        unknown: what the newer journal lacks of its own plan.
        new: other cells that only the newer journal has.
        gone: cells that only the older one has.
    """

    became_red: tuple[str, ...]
    became_green: tuple[str, ...]
    new_red: tuple[str, ...]
    unknown: tuple[str, ...]
    new: tuple[str, ...]
    gone: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """Whether a gate closes: not all that is new or was green is known to be green now."""
        return bool(self.became_red or self.new_red or self.unknown)

    def render(self) -> str:
        """Return the difference as text, a sentence a line."""
        groups = (
            ("became red", self.became_red),
            ("new and red", self.new_red),
            ("unknown", self.unknown),
            ("became green", self.became_green),
            ("new", self.new),
            ("gone", self.gone),
        )
        lines = [f"{title}: {line}" for title, found in groups for line in found]
        return "\n".join(lines) if lines else "no difference"


def compare(old: View, new: View, *, rollback: bool = False) -> Difference:
    """Return what changed from one journal to the other.

    Args:
        old: the older journal.
        new: the newer one.
        rollback: whether a step that cannot be taken back any more is red, whatever its stage is.
    """
    sides, sides_old = Sides(new), Sides(old)
    before, _ = _by_key(old, sides_old)
    after, inferred = _by_key(new, sides)
    # By key, not by id: the number of a stage is part of an id. What is inferred is no result: it
    # is neither compared nor new.
    both = [(before[key], cell) for key, cell in after.items() if key in before]
    only_new = [cell for key, cell in after.items() if key not in before]
    only_old = [c for key, c in before.items() if key not in after and key not in inferred]
    # What was green and ran is not known to be green where it is inferred.
    open_ = [c for key, c in inferred.items() if key in before and green(before[key])]
    stages_red, stages_green, stages_new_red = _stages(old, new, rollback=rollback)
    return Difference(
        became_red=(*stages_red, *_worse(new, sides, both)),
        became_green=(*stages_green, *_better(sides, both)),
        new_red=(*stages_new_red, *_by_status(sides, (c for c in only_new if not green(c)))),
        unknown=(*new.incomplete, *_not_run(open_)),
        new=_by_status(sides, filter(green, only_new)),
        gone=_by_status(sides_old, only_old),
    )


def _by_key(view: View, sides: Sides) -> tuple[Cells, Cells]:
    """Return cells by what makes them the same in both journals: those that ran, the inferred ones.

    That is not the number of the stage, which changes when a walk gets another service, but for
    a service that the walk comes back to; and of circumstances only what tells several cells of
    one name apart.
    """
    ran: dict[tuple[str, ...], CellEntry] = {}
    inferred: dict[tuple[str, ...], CellEntry] = {}
    for cell in view.cells:
        told = view.name(cell).removeprefix(cell.id)
        named = cell.id.replace(f"/{cell.stage:02d}-", "/", 1) if cell.stage else cell.id
        keys = ran if cell.inferred is None else inferred
        keys[named, sides.service(cell), told] = cell
    return ran, inferred


def _not_run(cells: Sequence[CellEntry]) -> list[str]:
    """Return a sentence on cells that ran before, and now are inferred."""
    if not cells:
        return []
    return [f"{counted(len(cells), 'cell')} that ran before, such as {cells[0].id}: inferred now"]


def _worse(
    view: View, sides: Sides, both: Iterable[tuple[CellEntry, CellEntry]]
) -> tuple[str, ...]:
    before = {view.name(new): old.checks for old, new in both}

    def wrong(cell: CellEntry) -> dict[str, CheckOutcome]:
        old = before.get(view.name(cell))
        if old is None:
            return {}  # a new cell did not become anything
        was_green = {name for name in cell.checks if name not in old or green(old[name])}
        return {name: check for name, check in causes(cell).items() if name in was_green}

    found = by_signature(findings(view, sides, wrong))
    return tuple(sentence for failure in found for sentence in failure.sentences)


def _better(sides: Sides, both: Iterable[tuple[CellEntry, CellEntry]]) -> tuple[str, ...]:
    groups: dict[_Kind, list[CellEntry]] = {}
    for old, new in both:
        for name, check in causes(old).items():
            if name in new.checks and green(new.checks[name]):
                went = f"went from {check.status.value} to {new.checks[name].status.value}"
                groups.setdefault((*_kind(new), name, went), []).append(new)

    def say(key: _Kind, inside: Sequence[CellEntry]) -> str:
        return f"{sides.where(inside, str(key[5]))}: {inside[0].probe}: {key[4]}"

    return _sentences(sides, groups, say)


def _by_status(sides: Sides, found: Iterable[CellEntry]) -> tuple[str, ...]:
    groups: dict[_Kind, list[CellEntry]] = {}
    for cell in found:
        groups.setdefault((*_kind(cell), cell.status), []).append(cell)

    def say(_: _Kind, inside: Sequence[CellEntry]) -> str:
        words = sides.where(inside, f"ended as {inside[0].status.value}")
        return f"{words}: {inside[0].probe} ({counted(len(inside), 'cell')})"

    return _sentences(sides, groups, say)


_Kind = tuple[str | Page | Status, ...]


def _kind(cell: CellEntry) -> tuple[str | Page, ...]:
    """Return what cells of one sentence share; it has four parts."""
    return cell.session, page(cell), cell.probe, cell.probe_digest


def _sentences(
    sides: Sides,
    groups: Mapping[_Kind, Sequence[CellEntry]],
    say: Callable[[_Kind, Sequence[CellEntry]], str],
) -> tuple[str, ...]:
    found = [(key, inside) for key, group in groups.items() for inside in sides.rectangles(group)]
    found.sort(key=lambda one: len(one[1]), reverse=True)
    return tuple(say(key, inside) for key, inside in found)


def _stages(old: View, new: View, *, rollback: bool) -> tuple[list[str], list[str], list[str]]:
    """Return what became red, what became green, and what is new and red."""
    before = _stages_by_key(old)
    worse, better, new_red = [], [], []
    for key, same in _stages_by_key(new).items():
        was = before.get(key, [])
        wrong = [stage for stage in same if not green(stage)]
        said = [line for stage in wrong for line in stage_sentences(stage) or [_bare(stage)]]
        if not all(map(green, was)):
            said = []  # it was red before
        if rollback and not any(map(_unsafe, was)):
            # Where NEW itself ran with the gate, its stage says so already.
            said += [_no_way_back(stage) for stage in filter(_unsafe, same)]
        told = [shortened(line) for line in dict.fromkeys(said)]
        if not was:
            new_red += told
        else:
            worse += told
        if not wrong and not all(map(green, was)):
            better.append(_bare(same[-1]))
    return worse, better, new_red


def _unsafe(stage: StageEntry) -> bool:
    return stage.rollback == UNSAFE


def _no_way_back(stage: StageEntry) -> str:
    return f"{place(stage)}: {unsafe_sentence(stage)}"


def _stages_by_key(view: View) -> dict[tuple[str, str, str, int], list[StageEntry]]:
    """Return stages by what makes them the same in both journals, one for each walk that has it.

    That is the walk, the service and the direction, and how often the walk came that way
    before: it may roll back to one service several times.
    """
    times: Counter[tuple[str, str, str, str]] = Counter()
    found: dict[tuple[str, str, str, int], list[StageEntry]] = {}
    for stage in view.stages:
        way = stage.direction if stage.stage else "alone"
        same = stage.run, stage.walk, stage.service, way
        times[same] += 1
        found.setdefault((*same[1:], times[same]), []).append(stage)
    return found


def _bare(stage: StageEntry) -> str:
    return f"{place(stage)}: {stage.status.value}"
