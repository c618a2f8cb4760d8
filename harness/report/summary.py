"""What a view says, in words: counts, causes, sentences. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from harness.core.axes import Side, on
from harness.core.entries import CellEntry, StageEntry
from harness.core.outcome import ROLLBACK, CheckOutcome, Status, worst_first
from harness.core.view import View, green, red
from harness.report.text import counted

UNSAFE = "unsafe"


def totals(cells: Iterable[CellEntry]) -> dict[str, int]:
    """Return how many cells have each status, worst first, without the statuses nobody has."""
    counts = Counter(cell.status for cell in cells)
    order = sorted(counts, key=lambda status: (status.expected, status.value))
    return {status.value: counts[status] for status in order}


def flaky_count(view: View) -> int:
    """Return how many cells are flaky; each is also counted under its status."""
    return sum(map(view.flaky, view.finished))


def difference_lines(view: View) -> list[str]:
    """Return a line for each check that did not come out alike in the attempts of a run.

    So for each service by itself: with what was wrong with it when the run was cut short.
    """
    of_cells = [
        f"differs: {view.name(cell)}: {line}"
        for cell in view.finished
        for line in view.differences(cell)
    ]
    return of_cells + [line for stage in view.stages for line in _stage_differs(view, stage)]


def _stage_differs(view: View, stage: StageEntry) -> list[str]:
    # What the machine broke tells nothing of it, and was done again.
    attempts = [one for one in view.earlier_stages(stage) if one.status is not Status.INFRA]
    attempts.append(stage)
    statuses = [one.status.value for one in attempts]
    if len(set(statuses)) == 1:
        return []
    wrong = dict.fromkeys(line for one in attempts[:-1] for line in (*one.lost, *one.problems))
    return [f"differs: {place(stage)}: {', '.join(statuses)}", *(f"  {line}" for line in wrong)]


def totals_line(view: View, cells: Iterable[CellEntry] | None = None) -> str:
    """Return the counts in one line: ``2 fail, 118 pass (1 flaky): 120 cells``.

    Args:
        view: the journal.
        cells: some of its cells; all of them unasked, those that are missing as ``not-run``.
    """
    chosen = view.cells if cells is None else list(cells)
    counts = totals(chosen)
    words = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none ran"
    flaky = sum(map(view.flaky, chosen))
    reused = sum(cell.reused is not None for cell in chosen)
    inferred = sum(cell.inferred is not None for cell in chosen)
    told = ((flaky, "flaky"), (reused, "reused"), (inferred, "inferred"))
    notes = [f"{count} {what}" for count, what in told if count]
    note = f" ({', '.join(notes)})" if notes else ""
    return f"{words}{note}: {counted(sum(counts.values()), 'cell')}"


def reused_count(view: View) -> int:
    """Return how many cells were not run, but taken from where they had been."""
    return sum(cell.reused is not None for cell in view.finished)


def inferred_count(view: View) -> int:
    """Return how many cells nobody ran, but were inferred from those beside them."""
    return sum(cell.inferred is not None for cell in view.finished)


def source_words(entry: CellEntry | StageEntry) -> str:
    """Return where a result is from that was not obtained; empty for what ran."""
    if isinstance(entry, CellEntry) and entry.inferred is not None:
        beside = ", ".join(entry.inferred.beside)
        return f"inferred, not run: as {beside}" if beside else "inferred, not run"
    source = entry.reused
    if source is None:
        return ""
    if source.run == entry.run:
        return f"reused: as with {source.service}, whose code is the same"
    other = f" with {source.service}, whose code is the same" if source.service else ""
    return f"reused: as run {source.run} found on {source.at:%Y-%m-%d %H:%M} UTC{other}"


def source_lines(view: View) -> list[str]:
    """Return a line for each run that results were taken from, and one on what is inferred."""
    found: dict[tuple[str, bool], list[CellEntry | StageEntry]] = {}
    services = [stage for stage in view.stages if not stage.stage]
    entries: list[CellEntry | StageEntry] = [*view.finished, *services]
    for entry in entries:
        if entry.reused is not None:
            source = (entry.reused.run, entry.reused.run == entry.run)
            found.setdefault(source, []).append(entry)
    reused = [
        f"reused, not run: {_counted(taken)}, "
        + ("as with a service of the same code" if own else f"as run {run} found on {_days(taken)}")
        for (run, own), taken in found.items()
    ]
    count = inferred_count(view)
    what = f"inferred, not run: {counted(count, 'cell')}, from those that ran around them"
    return [*reused, what] if count else reused


def _counted(entries: Sequence[CellEntry | StageEntry]) -> str:
    cells = sum(isinstance(one, CellEntry) for one in entries)
    services = len(entries) - cells
    alone = "by itself" if services == 1 else "by themselves"
    what = [counted(cells, "cell")] if cells else []
    what += [f"{counted(services, 'service')} {alone}"] if services else []
    return " and ".join(what)


def _days(entries: Sequence[CellEntry | StageEntry]) -> str:
    days = sorted({f"{one.reused.at:%Y-%m-%d}" for one in entries if one.reused})
    return " to ".join(dict.fromkeys((days[0], days[-1])))


def source_mark(cells: Sequence[CellEntry]) -> str:
    """Return the words of a square whose cells, or some of them, were not run."""
    marks = []
    for word in ("reused", "inferred"):
        count = sum(getattr(cell, word) is not None for cell in cells)
        if count:
            marks.append(word if count == len(cells) else f"partly {word}")
    return " ".join(marks)


def tally(cells: Iterable[CellEntry], *, signs: bool = True) -> str:
    """Return how the checks of cells came out: ``13 ✓ 1 – 2 x``; empty for a single check.

    Args:
        cells: whose checks are counted.
        signs: whether signs can be shown; else words stand there.
    """
    counts = Counter(check.status for cell in cells for check in cell.checks.values())
    if counts.total() < 2:  # noqa: PLR2004 - the cell's own word says it
        return ""
    return " ".join(
        f"{counts[one]} {one.sign if signs else one.value}" for one in worst_first() if counts[one]
    )


def column(cell: CellEntry) -> str:
    """Return the name of the service a cell is about; of who wrote, where clients are crossed."""
    return cell.writer or cell.service or "no service"


def axes_words(cell: CellEntry) -> str:
    """Return what the rows and columns of a cell's grid are: ``client × service``."""
    if not cell.writer:
        return "client × service"
    return "resumer × writer" if cell.resumer else "reader × writer"


def causes(cell: CellEntry) -> Mapping[str, CheckOutcome]:
    """Return the checks of a cell that are not as expected, with their status and reason.

    Checks that did not run because another failed are left to the one that failed.
    """
    wrong = {name: check for name, check in cell.checks.items() if not green(check)}
    return {name: check for name, check in wrong.items() if red(check)} or wrong


def cell_words(cell: CellEntry) -> str:
    """Return the client and the service of a cell in words, and what others have a role in it."""
    service = cell.service or "no service"
    if not cell.writer:
        return f"client {cell.client} × {service}"
    resumed = f", resumed by {cell.resumer}" if cell.resumer else ""
    return f"written by {cell.writer}{resumed}, read by {cell.client} × {service}"


def page_words(cell: CellEntry) -> str:
    """Return the variants of a cell that are neither its client nor its service, in words."""
    shown = (axis for axis in on(Side.PAGE) if axis.chosen and axis.of(cell))
    return ", ".join(axis.words.format(axis.of(cell)) for axis in shown)


WAYS = {"upgrade": "", "rollback": "back to ", "downgrade": "down to ", "move": "still "}
"""What stands before the service of a stage, by the direction of its step."""


def place(stage: StageEntry) -> str:
    """Return a stage in words: ``stage 03, reference-2.3``; or a service without a walk."""
    walk = f" ({stage.walk})" if stage.walk else ""
    if not stage.stage:
        return f"service {stage.service}{walk}, by itself"
    return f"stage {stage.stage:02d}, {stage.service}{on_postgres(stage)}{walk}"


def on_postgres(stage: StageEntry) -> str:
    """Return what PostgreSQL a stage is on, in words, where its walk moves the database."""
    if not stage.postgres:
        return ""
    how = ", moved to" if stage.direction == "move" else " on"
    return f"{how} PostgreSQL {stage.postgres}"


def stage_sentences(stage: StageEntry) -> list[str]:
    """Return what is wrong with a stage of a walk, in words, with the place."""
    return [f"{place(stage)}: {line}" for line in stage_lines(stage)]


def stage_lines(stage: StageEntry, *, verdict: bool = True) -> list[str]:
    """Return what is wrong with a stage of a walk, in words.

    Args:
        stage: the stage.
        verdict: whether that on rollback is told, where ``--gate`` made it a problem.
    """
    left_out = unsafe_sentence(stage) if gated(stage) and not verdict else None
    problems = [line for line in stage.problems if line != left_out]
    return [f"lost {line}" for line in told_once(stage.lost)] + told_once(problems)


def told_once(lines: Iterable[str]) -> list[str]:
    """Return each line once, with how often it is there."""
    counts = Counter(lines)
    return [f"{line} ({count} times)" if count > 1 else line for line, count in counts.items()]


def known_sentences(stage: StageEntry) -> list[str]:
    """Return what fails in a stage of a walk as it is declared to, in words, with the place."""
    return [f"{place(stage)}: fails as declared: {line}" for line in known_lines(stage)]


def known_lines(stage: StageEntry) -> list[str]:
    """Return what fails in a stage of a walk as it is declared to, in words."""
    return told_once(stage.known)


def known_count(view: View) -> int:
    """Return how many checks and stages fail as they are declared to."""
    checks = (check for cell in view.finished for check in cell.checks.values())
    of_cells = sum(check.status is Status.EXPECTED_FAIL for check in checks)
    return of_cells + sum(stage.status is Status.EXPECTED_FAIL for stage in view.stages)


def rollback_lines(stage: StageEntry) -> list[str]:
    """Return the verdict on rolling back from a stage in a line; below it what makes it unsafe."""
    if stage.rollback is None:
        return []
    walk = f" ({stage.walk})" if stage.walk else ""
    verdict, evidence = _rolling_back(stage)
    shown = told_once(evidence) if stage.rollback == UNSAFE else []
    return [f"stage {stage.stage:02d}{walk}: {verdict}", *(f"  {said}" for said in shown)]


def unsafe_sentence(stage: StageEntry) -> str:
    """Return the verdict on a stage that is no way back, with the first reason why."""
    verdict, evidence = _rolling_back(stage)
    return ": ".join([verdict, *evidence[:1]])


def gated(stage: StageEntry) -> bool:
    """Tell whether the verdict on rollback is a problem of the stage, too."""
    return stage.rollback == UNSAFE and unsafe_sentence(stage) in stage.problems


def _rolling_back(stage: StageEntry) -> tuple[str, list[str]]:
    """Return the verdict on rolling back from a stage in words, and its evidence."""
    # Each piece of evidence begins with the service that was asked.
    evidence = [line.partition(": ") for line in stage.rollback_evidence]
    to = f" to {evidence[0][0]}" if evidence else ""
    return f"rolling back{to} is {stage.rollback}", [said for _, _, said in evidence]


def gate_line(view: View) -> str:
    """Return which stages close the gate ``rollback``; empty when none does."""
    closing = [place(stage) for stage in view.stages if stage.rollback == UNSAFE]
    return f"--gate {ROLLBACK} is closed by {'; '.join(closing)}" if closing else ""


def rollback_count(view: View) -> str:
    """Return how many steps of the walks are no way back; empty when all are, or none was asked."""
    unsafe = sum(stage.rollback == UNSAFE for stage in view.stages)
    # A step that leaves the schema alone can always be taken back.
    steps = sum(stage.stage > 1 for stage in view.stages)
    return (
        f"{unsafe} of {counted(steps, 'step')} cannot be rolled back by image alone"
        if unsafe
        else ""
    )
