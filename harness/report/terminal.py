"""What a person sees in the terminal: the live grid, a line per cell, and the end."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.core.entries import CellEntry, StageEntry
from harness.core.expected import Expected
from harness.core.outcome import Status, worst
from harness.core.view import View, green
from harness.machine.plain import cut, plain
from harness.machine.words import shows
from harness.report.findings import (
    PLACES_SHOWN,
    asides,
    by_signature,
    findings,
    known_failures,
    stage_findings,
)
from harness.report.sides import REFERENCE, Page, Sides, page
from harness.report.summary import (
    WAYS,
    axes_words,
    column,
    difference_lines,
    gated,
    on_postgres,
    rollback_lines,
    source_lines,
    source_mark,
    source_words,
    tally,
    totals_line,
)
from harness.report.text import spoken

_STYLES = {
    Status.PASS: "green",
    Status.FAIL: "bold red",
    Status.UNSUPPORTED: "dim",
    Status.EXPECTED_FAIL: "yellow",
    Status.UNEXPECTED_PASS: "bold magenta",
    Status.TIMEOUT: "bold red",
    Status.INFRA: "bold magenta",
    Status.NOT_RUN: "white",
}
_FAILURES_SHOWN = 20
_LOG_COLUMNS = 2000
_LONGEST_LINE = 400
_LONGEST_REASON = 8_000


def grid_tables(view: View, cells: Sequence[CellEntry], *, signs: bool = True) -> Iterator[Table]:
    """Yield the grid of each session and page as a table.

    Every square has a sign and a word beside its colour, and says how its checks came out.

    Args:
        view: the journal.
        cells: those to show.
        signs: whether signs can be shown.
    """
    sides = Sides(view, cells)
    groups: dict[tuple[str, Page], list[CellEntry]] = {}
    for cell in cells:
        groups.setdefault((cell.session, page(cell)), []).append(cell)
    for (name, where), inside in groups.items():
        words = [name] if len(sides.sessions) > 1 else []
        words += sides.sessions[name].page_words(where)
        title = ", ".join(words)
        sides_words = axes_words(inside[0])
        title = f"{title}: {sides_words}" if title else sides_words
        yield _grid_table(view, sides, inside, title, signs=signs)


def _grid_table(
    view: View, sides: Sides, cells: Sequence[CellEntry], title: str, *, signs: bool
) -> Table:
    session = sides.sessions[cells[0].session]
    squares: dict[tuple[str, str], list[CellEntry]] = {}
    notes: dict[str, str] = {}
    for cell in cells:
        squares.setdefault((sides.row(cell), sides.service(cell)), []).append(cell)
        notes[sides.service(cell)] = "*" if column(cell) in view.notes else ""
    table = Table(title=title, title_justify="left")
    table.add_column(axes_words(cells[0]).partition(" ")[0], no_wrap=True)
    columns = [name for name in session.columns if name in notes]
    for name in columns:
        table.add_column(name.removeprefix(REFERENCE) + notes[name], no_wrap=True)
    if any(name.startswith(REFERENCE) for name in columns):
        table.caption = "columns are levels of the reference service, not released services"
    for row in (row for row in session.rows if any((row, name) in squares for name in columns)):
        inside = (squares.get((row, name), ()) for name in columns)
        table.add_row(row, *(_square(one, signs=signs) for one in inside))
    return table


def _square(inside: Sequence[CellEntry], *, signs: bool) -> Text:
    status, counts = worst(cell.status for cell in inside), tally(inside, signs=signs)
    words = [status.shown(signs=signs), source_mark(inside), f"({counts})" if counts else ""]
    return Text(" ".join(filter(None, words)), style=_STYLES[status])


def timeline_table(stages: Sequence[StageEntry], *, signs: bool = True) -> Table:
    """Return the timeline of a walk: a row a stage; with signs, where they can be shown."""
    title = "one database, stage by stage"
    title += f", {stages[0].walk}" if stages[0].walk else ""
    table = Table(title=title, title_justify="left")
    table.add_column("stage", no_wrap=True)
    for name in ("service", "schema", "migrations", "rows carried", "lost", "rereads", "rollback"):
        table.add_column(name, no_wrap=True)
    table.add_column("status", no_wrap=True)
    for stage in stages:
        migrated = f"{len(stage.migrations)} in {stage.migration_seconds:.1f} s"
        table.add_row(
            f"{stage.stage:02d}",
            WAYS[stage.direction] + stage.service + on_postgres(stage),
            str(stage.schema_after or "none"),
            migrated if stage.migrations else "none",
            str(stage.carried),
            str(len(stage.lost)),
            str(stage.rereads),
            stage.rollback or "same schema",
            Text(stage.status.shown(signs=signs), style=_STYLES[stage.status]),
        )
    return table


class Screen:
    """Everything a run prints. Live on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        # rich would colour numbers, break lines that people copy, and take ":x:" for a picture.
        self.console = console or Console(highlight=False, soft_wrap=True, emoji=False)
        self._signs = shows(self.console.file, "".join(status.sign for status in Status))
        if not self.console.is_terminal:
            # A log has no width of its own; tables must not be folded to a terminal's 80 columns.
            self.console.width = _LOG_COLUMNS

    def say(self, text: str, style: str = "") -> None:
        """Print a text, of which nothing acts on the terminal."""
        # As a text: what products print has brackets in it, which rich would take for markup.
        self.console.print(Text(plain(text), style))

    @contextmanager
    def watching(
        self, view: View, jobs: int, expected: Expected | None = None
    ) -> Iterator[Live | None]:
        """Show the grid of ``view`` while it fills; nothing of it stays behind.

        Args:
            view: of the journal.
            jobs: cells at a time.
            expected: how long cells are going to take; None where no earlier run tells.
        """
        if not self.console.is_terminal:
            yield None
            return
        progress = _Progress(view, jobs, expected, signs=self._signs)
        with (
            Live(
                get_renderable=progress.render,
                console=self.console,
                transient=True,
                refresh_per_second=4,
            ) as live,
            _lines_above(),
        ):
            yield live

    def cell(self, entry: CellEntry, number: int, planned: int, attempt: int = 1) -> None:
        """Print one line for a finished cell: always where there is no live view, else if bad.

        Args:
            entry: what came of it.
            number: of cells that have finished.
            planned: how many there are to be.
            attempt: number of the attempt at this cell, from 1.
        """
        status = entry.status
        if self.console.is_terminal and status.expected:
            return
        line = f"[{number}/{planned}] {status.shown(signs=self._signs)}  {entry.id}"
        if len({check.status for check in entry.checks.values()}) > 1:
            # A pass may hold checks that could not be asked.
            line += f"  ({tally([entry], signs=self._signs)})"
        line += f"  {source_words(entry) or f'{entry.seconds:.1f} s'}"
        line += f"  attempt {attempt}" if attempt > 1 else ""
        self.say(line, _STYLES[status])

    def stage(self, entry: StageEntry) -> None:
        """Print one line for a finished stage of a walk."""
        status = entry.status
        migrated = f"{len(entry.migrations)} migrations in {entry.migration_seconds:.1f} s"
        self.say(
            f"stage {entry.stage:02d} {status.shown(signs=self._signs)}  {entry.service}"
            f"{on_postgres(entry)}: {migrated}, {entry.rereads} rereads, {entry.seconds:.0f} s",
            _STYLES[status],
        )

    def end(self, view: View, folder: Path) -> None:
        """Print the grid, the counts, each failure in words with its rerun line, and the path."""
        for table in grid_tables(view, view.cells, signs=self._signs):
            self.console.print(table)
        for note in (note for notes in view.notes.values() for note in notes):
            self.say(f"* {note}")
        self._walk(view)
        self.say(totals_line(view))
        if asides(view):
            self.say(asides(view))
        for line in source_lines(view):
            self.say(line)
        for line in view.incomplete:
            self.say(f"unknown: {line}")
        for line in difference_lines(view):
            self.say(_short(line), "red")
        self._failures(view)
        for line in known_failures(view):
            self.say(_short(f"known: {line}"))
        self.say(f"results: {folder}")

    def _failures(self, view: View) -> None:
        """Print each failure once, with its places and the line that reruns its first cell."""
        by_name = {view.name(cell): cell for cell in view.cells if not green(cell)}
        found = by_signature(findings(view))
        for failure in found[:_FAILURES_SHOWN]:
            place, first = failure.places[0], by_name[failure.cells[0]]
            # The whole of it: a service's last lines say why, and are told here only.
            reason = _quoted(first.checks[place.findings[0].checks[0]].reason)
            words = f"{place.where}: {place.what}: {failure.status.value}: {reason}"
            self.say(words, "red")
            for other in failure.places[1:PLACES_SHOWN]:
                what = "" if other.what == place.what else f": {other.what}"
                self.say(f"  the same: {other.where}{what}", "red")
            if len(failure.places) > PLACES_SHOWN:
                self.say(f"  … and in {len(failure.places) - PLACES_SHOWN} more places")
            if source_words(first):
                self.say(f"  {source_words(first)}")
            self.say(f"  rerun: {first.rerun}")
            if len(failure.cells) > 1:
                self.say(f"  … that is 1 of {len(failure.cells)} cells; all are in the results")
        if len(found) > _FAILURES_SHOWN:
            self.say(f"… and {len(found) - _FAILURES_SHOWN} more; all are in the results")

    def _walk(self, view: View) -> None:
        """Print the timelines of walks, what is wrong in them, and the verdicts on rollback."""
        stages = view.stages
        walked = [stage for stage in stages if stage.stage]
        for _, walk in groupby(walked, key=attrgetter("run", "walk")):
            self.console.print(timeline_table(list(walk), signs=self._signs))
        # Verdicts on rollback follow, with all of their reasons.
        for line in stage_findings(view, verdict=False):
            self.say(_short(line), "red")
        for stage in stages:
            for line in rollback_lines(stage):
                self.say(_short(line), "red" if gated(stage) else "")


@contextmanager
def _lines_above() -> Iterator[None]:
    """Let what nox logs to the terminal stand above the live view, and not amid it."""
    moved = [
        (handler, handler.stream)
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream.isatty()
    ]
    for handler, _ in moved:
        # The live view has put its own in the place of the terminal.
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)


def _quoted(reason: str) -> str:
    """Return a reason with a sign before each of its lines but the first.

    What a product printed must not pass for a line of ours, nor for a command that a CI server
    reads at the beginning of one (``::error::``).
    """
    return cut(reason, _LONGEST_REASON).replace("\n", "\n  | ")


def _short(line: str) -> str:
    """Return a line cut to what a person reads; the whole is in the results."""
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"


class _Progress:
    """The live view: the grid so far, and how far it is."""

    def __init__(self, view: View, jobs: int, expected: Expected | None, *, signs: bool) -> None:
        self._view = view
        self._jobs = jobs
        self._expected = expected
        self._signs = signs
        self._started = time.monotonic()
        self._tables: list[Table] = []
        self._next = 0.0

    def _grids(self, done: Sequence[CellEntry]) -> list[Table]:
        """Return the grids, drawn anew as often as costs a twentieth of the time at most."""
        begun = time.monotonic()
        if begun >= self._next:
            self._tables = list(grid_tables(self._view, done, signs=self._signs))
            # A large grid takes long to draw, and would hold up the run it shows.
            self._next = begun + 20 * (time.monotonic() - begun)
        return self._tables

    def render(self) -> RenderableType:
        done = self._view.finished
        planned = self._view.planned
        elapsed = time.monotonic() - self._started
        line = f"{len(done)}/{planned} cells, {elapsed:.0f} s here"
        left = self._left(done)
        if left is not None:
            line += f", about {spoken(left)} to go"
        return Group(*self._grids(done), Text(line))

    def _left(self, done: Sequence[CellEntry]) -> float | None:
        """Return the seconds that are left; None where nobody knows."""
        if self._expected is not None:
            planned = [one for run in self._view.runs for one in self._view.planned_of(run)]
            return self._expected.left(planned, done)
        ran = [cell.seconds for cell in done if not source_words(cell)]
        if not ran:
            return None
        return (self._view.planned - len(done)) * sum(ran) / len(ran) / self._jobs


def client_line(view: View, client: str, python: str = "", deps: str = "") -> str:
    """Return one line on what came of one client, for the end of its nox session.

    Args:
        view: of the journal.
        client: its name.
        python: the minor version of its Python, where that was asked for.
        deps: its dependencies, where they are not what is pinned.
    """
    all_own = (cell for cell in view.finished if (cell.client, cell.deps) == (client, deps))
    own = [cell for cell in all_own if python in {"", cell.python}]
    named = f"{client} on Python {python}" if python else client
    named += f" with dependencies {deps}" if deps else ""
    # Of several probes each has a cell there.
    bad = dict.fromkeys(column(cell) for cell in own if not green(cell))
    return f"{named}: {totals_line(view, own)}" + (f"; red with {', '.join(bad)}" if bad else "")
