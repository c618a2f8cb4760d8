"""What a journal comes to, built once, entry by entry; every report takes it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from harness.core.axes import CIRCUMSTANCES, walk_name
from harness.core.entries import (
    Begun,
    CellEntry,
    Ended,
    Entry,
    Environment,
    Note,
    Planned,
    PlannedCell,
    PlannedStage,
    Rerun,
    Resumed,
    StageEntry,
)
from harness.core.outcome import CheckOutcome, Status

Key = tuple[object, ...]
"""What makes entries those of one cell: equal keys are attempts at the same."""

_StageKey = tuple[str, str, int, str]
"""Run, walk, number and service: services by themselves all have the number 0."""

NEVER = "nobody ran it: the run ended before"
"""The reason of what was planned and is not in the journal."""


def key_of(cell: PlannedCell) -> Key:
    """Return what a cell is told apart by: all of its axes, circumstances too, and its probe."""
    return (
        cell.id,
        cell.probe_digest,
        *(getattr(cell, axis.name) for axis in CIRCUMSTANCES),
    )


def green(entry: CellEntry | StageEntry | CheckOutcome) -> bool:
    """Whether a cell, a stage or a check of one is as expected."""
    return entry.status.expected


def red(entry: CellEntry | StageEntry | CheckOutcome) -> bool:
    """Whether it ran and is not as expected; what did not run is neither green nor red."""
    return not green(entry) and entry.status is not Status.NOT_RUN


class View:
    """What a journal says: the last entry of each cell and stage, and what is missing.

    Adding an entry costs the same however many there are.

    Args:
        entries: of a journal, in its order.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.runs: dict[str, Begun] = {}
        """By id, those that began."""
        self.notes: dict[str, dict[str, None]] = {}
        """By service, what was noted of it, each text once."""
        self.environments: dict[str, Environment] = {}
        """By digest."""
        self.reruns: set[str] = set()
        """Ids of the runs that ran cells of others again."""
        self.repeated: set[str] = set()
        """Ids of the runs whose cells were run again."""
        self.resumptions: Counter[str] = Counter()
        """By run, how often it went on after it had been cut short."""
        self.asked: dict[str, list[str]] = {}
        """By probe, the checks that were planned."""
        self.cuts: dict[str, str] = {}
        """By run, of what whole plan it is a shard; empty where it is none, or nobody knows."""
        self.totals: Counter[Status] = Counter()
        """How many cells that ran have each status."""
        self._all_planned: set[Key] = set()
        self._attempts: dict[Key, list[CellEntry]] = {}
        self._planned: dict[str, dict[Key, PlannedCell]] = {}
        self._stages: dict[_StageKey, list[StageEntry]] = {}
        self._planned_stages: dict[_StageKey, PlannedStage] = {}
        self._ended: set[str] = set()
        self._names: dict[Key, str] | None = None
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Take one more entry into account."""
        match entry:
            case CellEntry():
                self._add_cell(entry)
            case Begun():
                self.runs.setdefault(entry.run, entry)
            case Planned():
                self._add_plan(entry)
            case StageEntry():
                self._stages.setdefault(_stage_key(entry), []).append(entry)
            case Note():
                self.notes.setdefault(entry.service, {})[entry.text] = None
            case Environment():
                self.environments[entry.digest] = entry
            case Rerun():
                self.reruns.update(entry.runs)
                self.repeated.update(entry.of)
            case Resumed():
                self.resumptions[entry.run] += 1
                self._ended.discard(entry.run)
                self._set_aside(entry.run, set(entry.set_aside))
            case Ended():
                self._ended.add(entry.run)

    def _add_cell(self, entry: CellEntry) -> None:
        key = key_of(entry)
        attempts = self._attempts.setdefault(key, [])
        if attempts and entry.inferred is not None and attempts[-1].inferred is None:
            # What ran outweighs what is inferred, whichever comes last.
            return
        if attempts:
            # A cell counts once, by its last entry.
            self.totals[attempts[-1].status] -= 1
            if attempts[-1].inferred is not None:
                # That was no attempt.
                attempts.clear()
        else:
            # A new cell may share its id with another, and then both need longer names.
            self._names = None
        attempts.append(entry)
        self.totals[entry.status] += 1

    def _set_aside(self, run: str, ids: AbstractSet[str]) -> None:
        """Forget what came of cells that are done again, and of their stages."""
        for key, cell in self._planned.get(run, {}).items():
            if cell.id in ids:
                attempts = self._attempts.pop(key, [])
                self.totals.subtract(one.status for one in attempts[-1:])
                for stage in [one for one in self._stages if one[0] == run]:
                    if stage[1:3] == (walk_name(cell), cell.stage):
                        del self._stages[stage]
        self._names = None

    def _add_plan(self, entry: Planned) -> None:
        planned = self._planned.setdefault(entry.run, {})
        planned.update((key_of(cell), cell) for cell in entry.cells)
        self._all_planned.update(planned)
        self.asked.update(entry.asked)
        self.cuts[entry.run] = entry.cut
        self._names = None
        for stage in entry.stages:
            self._planned_stages[entry.run, stage.walk, stage.stage, stage.service] = stage

    @property
    def attempts(self) -> Iterator[CellEntry]:
        """Every entry of a cell, not only the last of each."""
        # A copy, here and below: of a run on its way further cells end meanwhile.
        for attempts in list(self._attempts.values()):
            yield from attempts

    @property
    def finished(self) -> list[CellEntry]:
        """The last entry of each cell that has one, in the order they first finished."""
        return [attempts[-1] for attempts in list(self._attempts.values())]

    @property
    def planned(self) -> int:
        """How many cells were planned."""
        return len(self._all_planned)

    def planned_of(self, run: str) -> list[PlannedCell]:
        """Return the cells that a run planned; none where it was cut short before it had a plan."""
        return list(self._planned.get(run, {}).values())

    @property
    def missing(self) -> list[CellEntry]:
        """The planned cells that no entry tells of, as cells that did not run."""
        return [
            self._never(self.runs[run], cell)
            for run, cells in self._planned.items()
            for key, cell in cells.items()
            if key not in self._attempts
        ]

    def _never(self, run: Begun, cell: PlannedCell) -> CellEntry:
        why = CheckOutcome(Status.NOT_RUN, NEVER)
        return CellEntry(
            **msgspec.structs.asdict(cell),
            at=run.at,
            run=run.run,
            status=Status.NOT_RUN,
            checks=dict.fromkeys(self.asked.get(cell.probe, ["run"]), why),
        )

    @property
    def cells(self) -> list[CellEntry]:
        """Every cell: the finished ones, then the missing ones."""
        return self.finished + self.missing

    def earlier(self, cell: CellEntry) -> Sequence[CellEntry]:
        """Return the entries of a cell before its last, oldest first."""
        return self._attempts.get(key_of(cell), [])[:-1]

    def flaky(self, cell: CellEntry) -> bool:
        """Tell whether a cell was red once, and green when the same was run again.

        A later run that is green may be a repaired one: only a rerun of the same says flaky.
        """
        told = self._telling(cell)
        again = cell.run in self.reruns or any(entry.run == cell.run for entry in told)
        return green(cell) and again and any(map(red, told))

    def _telling(self, cell: CellEntry) -> list[CellEntry]:
        """Return the entries of a cell before its last that say something of it, oldest first."""
        # What the machine broke was done again by the run itself.
        return [
            one
            for one in self.earlier(cell)
            if one.run != cell.run or one.status is not Status.INFRA
        ]

    def differences(self, cell: CellEntry) -> list[str]:
        """Return what did not come out alike in the attempts of one run at a cell.

        Returns:
            A line for each check, with its statuses in the order of the attempts:
            ``logs: pass, fail, pass``.
        """
        before = [one for one in self._telling(cell) if one.run == cell.run]
        if not before:
            return []
        attempts = [*before, cell]
        words = {
            name: [one.checks[name].status.value for one in attempts if name in one.checks]
            for name in cell.checks
        }
        return [f"{name}: {', '.join(told)}" for name, told in words.items() if len({*told}) > 1]

    def name(self, cell: CellEntry) -> str:
        """Return the cell's id; with what tells it apart where several cells have one id."""
        if self._names is None:
            self._names = dict(_names(self.cells))
        return self._names[key_of(cell)]

    @property
    def stages(self) -> list[StageEntry]:
        """The stages of walks, run by run, by number, the last entry of each; missing ones, too.

        With the number 0 they are services by themselves, as ``compat`` brought them up.

        A stage of one run is never replaced by that of another: each walk has a database of its
        own, and what was lost in one is not found again in the next.
        """
        # As the journal has them: a merge has put reruns behind what they repeat.
        order = {run: place for place, run in enumerate(self.runs)}
        keys = dict.fromkeys([*self._planned_stages, *self._stages])
        in_order = sorted(keys, key=lambda key: (order[key[0]], key[1], key[2]))
        return [
            self._stages[key][-1] if key in self._stages else self._stage_never(key)
            for key in in_order
        ]

    def earlier_stages(self, stage: StageEntry) -> Sequence[StageEntry]:
        """Return what a run that went on said of a stage or service before, oldest first."""
        return self._stages.get(_stage_key(stage), [])[:-1]

    def flaky_stage(self, stage: StageEntry) -> bool:
        """Tell whether a stage or service was red once, and green when the run went on."""
        # What the machine broke tells nothing of it, and was done again.
        before = [one for one in self.earlier_stages(stage) if one.status is not Status.INFRA]
        return green(stage) and any(map(red, before))

    def _stage_never(self, key: _StageKey) -> StageEntry:
        planned, run = self._planned_stages[key], self.runs[key[0]]
        return StageEntry(
            **msgspec.structs.asdict(planned), at=run.at, run=run.run, problems=[NEVER]
        )

    @property
    def incomplete(self) -> list[str]:
        """A sentence for each run that has fewer cells than it planned, no plan, or no end."""
        return [sentence for run in self.runs for sentence in self._incomplete(run)]

    def _incomplete(self, run: str) -> Iterator[str]:
        planned = self._planned.get(run)
        count = len(planned.keys() & self._attempts.keys()) if planned else 0
        if planned is None:
            yield f"run {run} was cut short before it had a plan"
        elif count < len(planned):
            yield f"run {run} has {count} of {len(planned)} planned cells"
        # A run that was cut short is complete once its cells were run again.
        elif run not in self._ended and run not in self.repeated:
            yield f"run {run} did not come to its end"

    @property
    def green(self) -> bool:
        """Whether the journal shows that everything planned ran and is as expected."""
        cells = self.finished
        # A run in which nothing could be asked proves nothing.
        judged = any(cell.status is not Status.UNSUPPORTED for cell in cells)
        judged = judged and all(map(green, cells)) and all(map(green, self.stages))
        return judged and not self.incomplete


def _stage_key(stage: StageEntry) -> _StageKey:
    return stage.run, stage.walk, stage.stage, stage.service


def _names(cells: Iterable[CellEntry]) -> Iterator[tuple[Key, str]]:
    """Yield a name for each cell that no other has: its id, and what differs where it must."""
    same: dict[str, list[CellEntry]] = {}
    for cell in cells:
        same.setdefault(cell.id, []).append(cell)
    for name, several in same.items():
        if len(several) == 1:
            yield key_of(several[0]), name
            continue
        fields = [*(axis.name for axis in CIRCUMSTANCES), "probe_digest"]
        # What all of them share would only make the names longer.
        told = [field for field in fields if len({getattr(cell, field) for cell in several}) > 1]
        for cell in several:
            words = ", ".join(f"{field}={getattr(cell, field) or 'none'}" for field in told)
            yield key_of(cell), f"{name} ({words})"
