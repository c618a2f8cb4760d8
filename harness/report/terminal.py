"""What a person sees in the terminal: the live grid, a line per cell, and the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.journal import Entry
from harness.outcome import Status
from harness.report.summary import (
    Grid,
    cells,
    column,
    grid,
    incomplete,
    known_sentences,
    rollback_lines,
    sentence,
    stage_sentences,
    totals_line,
)
from harness.report.text import counted

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


def grid_table(found: Grid, session: str = "") -> Table:
    """Return the grid as a table; every square has a sign and a word beside its colour.

    Args:
        found: the grid.
        session: whose it is, for the title, where there are several.
    """
    title = f"{session}: client × service" if session else "client × service"
    table = Table(title=title, title_justify="left")
    table.add_column("client", no_wrap=True)
    for service in found.services:
        mark = "*" if service in found.notes else ""
        table.add_column(service.removeprefix("reference-") + mark, no_wrap=True)
    if any(name.startswith("reference-") for name in found.services):
        table.caption = "columns are levels of the reference service, not released services"
    for client in found.clients:
        squares = [found.squares.get((client, name), Status.NOT_RUN) for name in found.services]
        table.add_row(client, *(Text(f"{s.sign} {s.value}", style=_STYLES[s]) for s in squares))
    return table


def timeline_table(stages: Sequence[Entry]) -> Table:
    """Return the timeline of a walk: a row a stage."""
    table = Table(title="one database, stage by stage", title_justify="left")
    table.add_column("stage", no_wrap=True)
    for name in ("service", "schema", "migrations", "rows carried", "lost", "rereads", "rollback"):
        table.add_column(name, no_wrap=True)
    table.add_column("status", no_wrap=True)
    for stage in stages:
        status = Status(stage["status"])
        migrated = f"{len(stage['migrations'])} in {stage['migration_seconds']:.1f} s"
        table.add_row(
            f"{stage['stage']:02d}",
            ("back to " if stage["direction"] == "rollback" else "") + stage["service"],
            str(stage["schema_after"] or "none"),
            migrated if stage["migrations"] else "none",
            str(stage["carried"]),
            str(len(stage["lost"])),
            str(stage["rereads"]),
            stage["rollback"] or "same schema",
            Text(f"{status.sign} {status.value}", style=_STYLES[status]),
        )
    return table


class Screen:
    """Everything a run prints. Live on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        if not self.console.is_terminal:
            # A log has no width of its own; tables must not be folded to a terminal's 80 columns.
            self.console.width = _LOG_COLUMNS

    def say(self, text: str) -> None:
        """Print one plain line."""
        self.console.print(escape(text))

    @contextmanager
    def watching(self, entries: Sequence[Entry], planned: int, jobs: int) -> Iterator[Live | None]:
        """Show the grid of ``entries`` while it fills; nothing of it stays behind."""
        if not self.console.is_terminal:
            yield None
            return
        view = _View(entries, planned, jobs)
        with Live(
            get_renderable=view.render, console=self.console, transient=True, refresh_per_second=4
        ) as live:
            yield live

    def cell(self, entry: Entry, number: int, planned: int) -> None:
        """Print one line for a finished cell: always where there is no live view, else if bad."""
        status = Status(entry["status"])
        if self.console.is_terminal and status.expected:
            return
        line = f"[{number}/{planned}] {status.sign} {status.value}  {entry['id']}"
        self.console.print(escape(f"{line}  {entry['seconds']:.1f} s"), style=_STYLES[status])

    def stage(self, entry: Entry) -> None:
        """Print one line for a finished stage of a walk."""
        status = Status(entry["status"])
        migrated = f"{len(entry['migrations'])} migrations in {entry['migration_seconds']:.1f} s"
        self.console.print(
            escape(
                f"stage {entry['stage']:02d} {status.sign} {status.value}  {entry['service']}:"
                f" {migrated}, {entry['rereads']} rereads, {entry['seconds']:.0f} s"
            ),
            style=_STYLES[status],
        )

    def end(self, entries: Sequence[Entry], folder: Path) -> None:
        """Print the grid, the counts, each failure in words with its rerun line, and the path."""
        self._grids(entries)
        self._walk([entry for entry in entries if entry["kind"] == "stage"])
        self.say(totals_line(entries))
        for line in incomplete(entries):
            self.say(f"unknown: {line}")
        bad = [cell for cell in cells(entries) if not Status(cell["status"]).expected]
        for cell in bad[:_FAILURES_SHOWN]:
            for line in sentence(cell):
                self.console.print(escape(line), style="red")
            self.say(f"  rerun: {cell['rerun']}")
        if len(bad) > _FAILURES_SHOWN:
            self.say(f"… and {len(bad) - _FAILURES_SHOWN} more; all are in the results")
        self._known(entries)
        self.say(f"results: {folder}")

    def _known(self, entries: Sequence[Entry]) -> None:
        """Print a line for each check that fails as declared, with the reason of the first cell."""
        known: dict[str, list[str]] = {}
        for cell in cells(entries):
            for name, check in cell["checks"].items():
                if check["status"] == Status.EXPECTED_FAIL.value:
                    known.setdefault(name, []).append(check["reason"])
        for name, reasons in known.items():
            where = counted(len(reasons), "cell")
            self.say(_short(f"known: {name} fails as declared, in {where}: {reasons[0]}"))

    def _grids(self, entries: Sequence[Entry]) -> None:
        """Print a grid for each session, and the notes on its services."""
        sessions = list(dict.fromkeys(cell["session"] for cell in cells(entries)))
        for session in sessions:
            own = [e for e in entries if e["kind"] != "cell" or e["session"] == session]
            found = grid(own)
            self.console.print(grid_table(found, session if len(sessions) > 1 else ""))
            for name in found.services:
                for note in found.notes.get(name, ()):
                    self.say(f"* {note}")

    def _walk(self, stages: Sequence[Entry]) -> None:
        """Print the timeline of a walk, what is wrong in it, and the verdicts on rollback."""
        if stages:
            self.console.print(timeline_table(stages))
        for line in (line for stage in stages for line in stage_sentences(stage)):
            self.console.print(escape(_short(line)), style="red")
        for line in (line for stage in stages for line in known_sentences(stage)):
            self.say(_short(f"known: {line}"))
        for line in (line for stage in stages for line in rollback_lines(stage)):
            self.say(_short(line))


def _short(line: str) -> str:
    """Return a line cut to what a person reads; the whole is in the results."""
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"


class _View:
    """The live view: the grid so far, and how far it is."""

    def __init__(self, entries: Sequence[Entry], planned: int, jobs: int) -> None:
        self._entries = entries
        self._planned = planned
        self._jobs = jobs
        self._started = time.monotonic()

    def render(self) -> RenderableType:
        done = cells(self._entries)
        elapsed = time.monotonic() - self._started
        line = f"{len(done)}/{self._planned} cells, {elapsed:.0f} s here"
        if done:
            left = self._planned - len(done)
            mean = sum(cell["seconds"] for cell in done) / len(done)
            line += f", about {left * mean / self._jobs:.0f} s to go"
        return Group(grid_table(grid(list(self._entries))), Text(line))


def client_line(entries: Sequence[Entry], client: str) -> str:
    """Return one line on what came of one client, for the end of its nox session."""
    own = [entry for entry in entries if entry["kind"] == "cell" and entry["client"] == client]
    bad = [column(cell) for cell in own if not Status(cell["status"]).expected]
    return f"{client}: {totals_line(own)}" + (f"; red with {', '.join(bad)}" if bad else "")
