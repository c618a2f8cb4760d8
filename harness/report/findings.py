"""What is wrong, in words and ranges: cells that fail alike are one finding. Pure.

Findings of one signature (status, exception, message without what varies, place) are one failure,
whatever their probes, checks and places: every report tells its reason once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harness.core.entries import CellEntry, StageEntry
from harness.core.outcome import CheckOutcome, Status
from harness.core.view import View, green
from harness.machine.plain import plain
from harness.report.sides import Page, Sides, page, places
from harness.report.summary import (
    causes,
    inferred_count,
    known_count,
    known_lines,
    reused_count,
    rollback_count,
    stage_lines,
)
from harness.report.text import counted, shortened, some

# What several clients do, and what one does.
VERBS = {
    Status.FAIL: ("fail", "fails"),
    Status.TIMEOUT: ("time out", "times out"),
    Status.INFRA: ("could not be judged", "could not be judged"),
    Status.EXPECTED_FAIL: ("fail as declared", "fails as declared"),
    Status.UNEXPECTED_PASS: ("pass unexpectedly", "passes unexpectedly"),
    Status.NOT_RUN: ("did not run", "did not run"),
}

PLACES_SHOWN = 4
"""Of the places of one failure, where there may be hundreds."""

# Parts of a reason that differ between cells which fail alike. Status codes of HTTP stay.
_VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?"), "TIME"),
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"0x[0-9a-f]+"), "ADDRESS"),
    (re.compile(r"\[\d+(?:/\w+)*(?: \(pid \d+\))?\]"), "[TASK]"),
    (re.compile(r"\b(pid|task-id|task_id|runs?|tasks?) \d+(?:, \d+)*"), r"\1 N"),
    # Of several tasks some are told again: of the tasks 55, 56 of the step a, 55 has no artifacts.
    (re.compile(r"(?<=, )\d+(?= has )"), "N"),
    # Of a flow that never had a run no entry says the name; this is how they are called.
    (re.compile(r"(?<=/flows/)\w+|\b[A-Z]\w*Flow\b"), "FLOW"),
    # Folders are of a run and a machine; the last part of a path tells what it is.
    (re.compile(r"(?:/[\w.+-]+)+/(?=[\w.+-])"), "…/"),
    # The client's own lines move from release to release: there the function tells the place.
    (re.compile(r"(raised at [^\s:]+):\d+"), r"\1"),
    # A line of a file is a place, however large its number is.
    (re.compile(r"(?<!\d)(?<!\.py:)(?<!line )\d{4,}"), "N"),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True)
class Finding:
    """Cells that are red, or did not run, for the same reason, as a rectangle of the grid.

    Attributes:
        session: ``compat``, say.
        checks: the checks concerned; more than one when they share their reason.
        reason: of the first cell, in one line.
        signature: equal for findings that are the same failure, whatever their probe and place.
        clients: names, in the grid's order; every one of them is concerned with every service.
        services: names, in the grid's order.
        where: the rectangle in words: ``clients 2.0.5–2.2.13 fail on services ≥ v2.3.0``; and how
            many of its cells are inferred.
        cells: names of the cells, those that ran first.
    """

    session: str
    datastore: str
    probe: str
    status: Status
    checks: tuple[str, ...]
    reason: str
    signature: str
    clients: tuple[str, ...]
    services: tuple[str, ...]
    where: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """A rectangle of the grid in which something fails alike.

    Attributes:
        where: it in words.
        findings: one for each probe, or for each set of checks of one.
    """

    where: str
    findings: tuple[Finding, ...]

    @property
    def what(self) -> str:
        """Probes and checks: ``basics: tags, logs``, or ``basics, card and 5 more probes: run``.

        Where the checks are not the same in all probes, they are counted.
        """
        probes = some(tuple(dict.fromkeys(one.probe for one in self.findings)), "probe")
        names = self.findings[0].checks
        if all(one.checks == names for one in self.findings):
            return f"{probes}: {some(names, 'check')}"
        return f"{probes}: {counted(sum(len(one.checks) for one in self.findings), 'check')}"

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the cells."""
        return tuple(dict.fromkeys(name for one in self.findings for name in one.cells))


@dataclass(frozen=True)
class Failure:
    """All findings of one signature, to be told once.

    Attributes:
        reason: of the first cell, in one line.
        places: the widest first.
    """

    status: Status
    reason: str
    places: tuple[Place, ...]

    @property
    def where(self) -> str:
        """The first place in words, and how many more there are."""
        more = len(self.places) - 1
        return self.places[0].where + (f" (and {counted(more, 'more place')})" if more else "")

    @property
    def what(self) -> str:
        """Probes and checks of the first place."""
        return self.places[0].what

    @property
    def sentences(self) -> tuple[str, ...]:
        """The first place with the reason, and each further one."""
        first, *others = (f"{place.where}: {place.what}" for place in self.places)
        return (f"{first}: {self.reason or self.status.value}", *map("the same: {}".format, others))

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the cells, those of the first place first."""
        return tuple(dict.fromkeys(name for place in self.places for name in place.cells))


def signature(reason: str, cell: CellEntry) -> str:
    """Return the reason without what differs between cells that fail alike."""
    # The cell's id before service and client, which are parts of it; likewise run and flow.
    names = (
        (cell.flow_run, "RUN"),
        (cell.flow_run.partition("/")[0], "FLOW"),
        (cell.id, "CELL"),
        (cell.service or "", "SERVICE"),
        (cell.client, "CLIENT"),
        (cell.writer, "WRITER"),
        (cell.resumer, "RESUMER"),
    )
    return _signed(reason, names)


def _signed(reason: str, names: Iterable[tuple[str, str]]) -> str:
    """Return a reason without these names, and without what varies anyway."""
    text = plain(reason)
    for name, word in names:
        text = _replaced(text, name, word) if name and name in text else text
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text.strip()


def _replaced(text: str, name: str, word: str) -> str:
    """Replace a name where it stands as a whole: a version never inside of a longer number."""
    parts = text.split(name)
    joined = parts[0]
    for part in parts[1:]:
        whole = not (joined[-1:].isalnum() or joined[-1:] in {"_", "."}) and not (
            part[:1].isalnum() or part[:1] in {"_", "."}
        )
        joined += (word if whole else name) + part
    return joined


Wrong = Callable[[CellEntry], Mapping[str, CheckOutcome]]
"""Returns the checks of a cell that count, of those that are not as expected."""


def findings(view: View, sides: Sides | None = None, wrong: Wrong = causes) -> list[Finding]:
    """Return what is not as expected, the widest first; what did not run comes last.

    Args:
        view: the journal.
        sides: where its cells stand, where somebody knows.
        wrong: what of each cell counts.
    """
    groups: dict[_Key, list[CellEntry]] = {}
    for cell in view.cells:
        for (status, signed), checks in _alike(cell, wrong(cell)).items():
            where = (cell.session, page(cell), cell.probe, cell.probe_digest)
            groups.setdefault(_Key(where, status, checks, signed), []).append(cell)
    sides = sides or Sides(view)
    order = sorted(groups, key=lambda key: (key.status is Status.NOT_RUN, -len(groups[key])))
    result: list[Finding] = []
    for key in order:
        inside = sorted(sides.rectangles(groups[key]), key=len, reverse=True)
        result += [_finding(view, sides, key, rectangle) for rectangle in inside]
    return result


class _Key(NamedTuple):
    """What cells share that fail alike: where they are, and how."""

    where: tuple[str, Page, str, str]
    status: Status
    checks: tuple[str, ...]
    signature: str


def _finding(view: View, sides: Sides, key: _Key, inside: Sequence[CellEntry]) -> Finding:
    # What is shown of it, and run again, is what ran.
    in_order = sorted(inside, key=lambda cell: cell.inferred is not None)
    first = in_order[0]
    inferred = sum(cell.inferred is not None for cell in inside)
    note = f" ({inferred} of {counted(len(inside), 'cell')} inferred)" if inferred else ""
    # What gives no reason is the same failure for the same check only.
    about = (key.signature,) if key.signature else (first.probe, *key.checks)
    return Finding(
        first.session,
        first.datastore,
        first.probe,
        key.status,
        key.checks,
        reason=shortened(first.checks[key.checks[0]].reason),
        signature="\n".join((key.status.value, *about)),
        clients=tuple(dict.fromkeys(map(sides.row, inside))),
        services=tuple(dict.fromkeys(map(sides.service, inside))),
        where=sides.where(inside, *VERBS[key.status]) + note,
        cells=tuple(map(view.name, in_order)),
    )


def by_signature(found: Iterable[Finding]) -> list[Failure]:
    """Return each failure once, the widest first; what did not run comes last."""
    groups: dict[str, dict[str, list[Finding]]] = {}
    for finding in found:
        places = groups.setdefault(finding.signature, {})
        places.setdefault(finding.where, []).append(finding)
    failures = [_failure(places) for places in groups.values()]
    return sorted(failures, key=lambda one: (one.status is Status.NOT_RUN, -len(one.cells)))


def _failure(by_place: Mapping[str, Sequence[Finding]]) -> Failure:
    """Return findings of one signature, by their places in words, as one failure."""
    places = [Place(where, tuple(found)) for where, found in by_place.items()]
    places.sort(key=lambda place: len(place.cells), reverse=True)
    first = places[0].findings[0]
    return Failure(first.status, first.reason, tuple(places))


def _alike(
    cell: CellEntry, wrong: Mapping[str, CheckOutcome]
) -> dict[tuple[Status, str], tuple[str, ...]]:
    """Return these checks of a cell by status and signature."""
    groups: dict[tuple[Status, str], tuple[str, ...]] = {}
    signed: dict[str, str] = {}
    for name, check in wrong.items():
        if check.reason not in signed:
            signed[check.reason] = signature(check.reason, cell)
        key = (check.status, signed[check.reason])
        groups[key] = (*groups.get(key, ()), name)
    return groups


def known_failures(view: View, sides: Sides | None = None) -> list[str]:
    """Return a sentence for each thing that fails as declared, in stages and in cells."""

    def known(cell: CellEntry) -> dict[str, CheckOutcome]:
        declared = Status.EXPECTED_FAIL
        return {name: check for name, check in cell.checks.items() if check.status is declared}

    of_cells = by_signature(findings(view, sides, known))
    told = [f"{one.where}: {one.what}: {one.reason}" for one in of_cells]
    return _of_stages(view, known_lines, "fails as declared: ") + told


def stage_findings(view: View, *, verdict: bool = True) -> list[str]:
    """Return a sentence for each thing that is wrong with a stage; what several share once.

    Args:
        view: the journal.
        verdict: whether that on rollback is told, where ``--gate`` made it a problem.
    """

    def wrong(stage: StageEntry) -> list[str]:
        found = stage_lines(stage, verdict=verdict)
        return found or ([] if green(stage) else [stage.status.value])

    return _of_stages(view, wrong)


def _of_stages(
    view: View, lines_of: Callable[[StageEntry], Iterable[str]], verb: str = ""
) -> list[str]:
    """Return what is told of stages, with where it is so: a line of several stages once."""
    groups: dict[tuple[str, str, int], list[tuple[StageEntry, str]]] = {}
    for stage in view.stages:
        # Lines of one stage that are alike are several things: each is told.
        times: Counter[str] = Counter()
        for line in lines_of(stage):
            signed = _signed(line, [(stage.service, "SERVICE"), (stage.run, "RUN")])
            times[signed] += 1
            # Stages of one walk, or services by themselves.
            key = (f"{stage.run} {stage.walk}", signed, times[signed])
            groups.setdefault(key, []).append((stage, line))
    several = len({stage.run for stage in view.stages}) > 1
    sentences = []
    for found in groups.values():
        first, line = found[0]
        note = f"run {first.run}, " if several else ""
        of_walk = [one for one in view.stages if (one.run, one.walk) == (first.run, first.walk)]
        where = places(of_walk, [stage for stage, _ in found])
        sentences.append(shortened(f"{note}{where}: {verb}{line}"))
    return sentences


def headline(view: View, wrong: Sequence[Finding]) -> str:
    """Return the verdict in one sentence: what is wrong first, by stage or the widest.

    Known failures are counted in it, and the steps of a walk that are no way back.
    """
    return ", ".join(filter(None, [_verdict(view, wrong), asides(view)]))


def asides(view: View) -> str:
    """Return what is no failure and still worth saying in one line; empty for nothing."""
    known, flaky = known_count(view), sum(map(view.flaky_stage, view.stages))
    reused, inferred = reused_count(view), inferred_count(view)
    said = [
        counted(known, "known failure") if known else "",
        counted(flaky, "flaky service") if flaky else "",
        rollback_count(view),
        f"{reused} of {counted(len(view.cells), 'cell')} reused" if reused else "",
        f"{inferred} of {counted(len(view.cells), 'cell')} inferred" if inferred else "",
    ]
    return ", ".join(filter(None, said))


def _verdict(view: View, wrong: Sequence[Finding]) -> str:
    count = len(view.cells)
    sentences = [
        *stage_findings(view),
        *(f"{failure.where}: {failure.what}" for failure in by_signature(wrong)),
    ]
    if not view.finished and all(one.status is Status.NOT_RUN for one in view.stages):
        return "No cell ran: nothing is known"
    ran = [finding for finding in wrong if finding.status is not Status.NOT_RUN]
    stages_ran = [stage for stage in view.stages if stage.status is not Status.NOT_RUN]
    if not ran and all(map(green, stages_ran)) and view.missing:
        return (
            "What ran is as expected, but not everything was judged:"
            f" {counted(len(view.finished), 'cell')}"
        )
    if sentences:
        others = len(sentences) - 1
        note = f", and {counted(others, 'more finding')}" if others else ""
        return sentences[0][0].upper() + sentences[0][1:] + note
    if not view.green:
        return f"What ran is as expected, but not everything was judged: {counted(count, 'cell')}"
    return f"Everything is as expected: {counted(count, 'cell')}"
