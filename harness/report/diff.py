"""What changed between two journals: became red, became green, new, gone. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.journal import Entry
from harness.outcome import Status
from harness.report.findings import VERBS, Axes, signature
from harness.report.summary import causes, cells, green, incomplete, stage_sentences, stages
from harness.report.text import counted, shortened

Cells = Mapping[tuple[str, ...], Entry]


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


def compare(old: Sequence[Entry], new: Sequence[Entry]) -> Difference:
    """Return what changed from one journal to the other."""
    before, after = _by_key(old), _by_key(new)
    axes = Axes(new)
    both = [(before[key], cell) for key, cell in after.items() if key in before]
    only_new = [cell for key, cell in after.items() if key not in before]
    only_old = [cell for key, cell in before.items() if key not in after]
    stages_red, stages_green, stages_new_red = _stages(old, new)
    return Difference(
        became_red=(*stages_red, *_worse(axes, both)),
        became_green=(*stages_green, *_better(axes, both)),
        new_red=(*stages_new_red, *_by_status(axes, (c for c in only_new if not green(c)))),
        unknown=tuple(incomplete(new)),
        new=_by_status(axes, filter(green, only_new)),
        gone=_by_status(Axes(old), only_old),
    )


def _by_key(entries: Sequence[Entry]) -> Cells:
    """Return cells by what makes them the same in both journals.

    That is not the number of the stage, which changes when a walk gets another service, but for
    a service that the walk comes back to.
    """
    axes = Axes(entries)
    return {
        (c["session"], c["client"], axes.service(c), c["datastore"], c["probe"]): c
        for c in cells(entries)
    }


def _worse(axes: Axes, both: Iterable[tuple[Entry, Entry]]) -> tuple[str, ...]:
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for old, new in both:
        for name, check in causes(new).items():
            if name not in old["checks"] or green(old["checks"][name]):
                key = (*_kind(new), name, check["status"], signature(check["reason"], new))
                groups.setdefault(key, []).append(new)

    def say(key: tuple[str, ...], inside: Sequence[Entry]) -> str:
        name, status = key[3], Status(key[4])
        reason = shortened(inside[0]["checks"][name]["reason"]) or status.value
        return f"{axes.where(inside, *VERBS[status])}: {key[2]}: {name}: {reason}"

    return _sentences(axes, groups, say)


def _better(axes: Axes, both: Iterable[tuple[Entry, Entry]]) -> tuple[str, ...]:
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for old, new in both:
        for name, check in causes(old).items():
            if name in new["checks"] and green(new["checks"][name]):
                key = (*_kind(new), name, check["status"], new["checks"][name]["status"])
                groups.setdefault(key, []).append(new)

    def say(key: tuple[str, ...], inside: Sequence[Entry]) -> str:
        words = axes.where(inside, f"went from {key[4]} to {key[5]}")
        return f"{words}: {key[2]}: {key[3]}"

    return _sentences(axes, groups, say)


def _by_status(axes: Axes, found: Iterable[Entry]) -> tuple[str, ...]:
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for cell in found:
        groups.setdefault((*_kind(cell), cell["status"]), []).append(cell)

    def say(key: tuple[str, ...], inside: Sequence[Entry]) -> str:
        return (
            f"{axes.where(inside, f'ended as {key[3]}')}: {key[2]} ({counted(len(inside), 'cell')})"
        )

    return _sentences(axes, groups, say)


def _kind(cell: Entry) -> tuple[str, str, str]:
    return cell["session"], cell["datastore"], cell["probe"]


def _sentences(
    axes: Axes,
    groups: Mapping[tuple[str, ...], Sequence[Entry]],
    say: Callable[[tuple[str, ...], Sequence[Entry]], str],
) -> tuple[str, ...]:
    found = [(key, inside) for key, group in groups.items() for inside in axes.rectangles(group)]
    found.sort(key=lambda one: len(one[1]), reverse=True)
    return tuple(say(key, inside) for key, inside in found)


def _stages(old: Sequence[Entry], new: Sequence[Entry]) -> tuple[list[str], list[str], list[str]]:
    """Return what became red, what became green, and what is new and red."""
    before = {key: all(map(green, same)) for key, same in _stages_by_key(old).items()}
    worse, better, new_red = [], [], []
    for key, same in _stages_by_key(new).items():
        wrong = [stage for stage in same if not green(stage)]
        said = [line for stage in wrong for line in stage_sentences(stage) or [_bare(stage)]]
        said = [shortened(line) for line in said]
        if key not in before:
            new_red += said
        elif before[key]:
            worse += said
        elif not wrong:
            better.append(_bare(same[-1]))
    return worse, better, new_red


def _stages_by_key(entries: Sequence[Entry]) -> dict[tuple[str, str, int], list[Entry]]:
    """Return stages by what makes them the same in both journals, one for each walk that has it.

    That is the service and the direction, and how often the walk came that way before: it may
    roll back to one service several times.
    """
    times: Counter[tuple[str, str, str]] = Counter()
    found: dict[tuple[str, str, int], list[Entry]] = {}
    for stage in stages(entries):
        run, service, direction = stage["run"], stage["service"], stage["direction"]
        times[run, service, direction] += 1
        key = service, direction, times[run, service, direction]
        found.setdefault(key, []).append(stage)
    return found


def _bare(stage: Entry) -> str:
    return f"stage {stage['stage']:02d}, {stage['service']}: {stage['status']}"
