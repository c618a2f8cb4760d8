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
from harness.report.summary import Grid, cells, column, grid, sentence, totals

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


def grid_table(found: Grid) -> Table:
    """Return the grid as a table; every square has a sign and a word beside its colour."""
    table = Table(title="client × service", title_justify="left")
    table.add_column("client", no_wrap=True)
    for service in found.services:
        table.add_column(service.removeprefix("reference-"), no_wrap=True)
    if any(name.startswith("reference-") for name in found.services):
        table.caption = "columns are levels of the reference service, not released services"
    for client in found.clients:
        squares = [found.squares.get((client, name), Status.NOT_RUN) for name in found.services]
        table.add_row(client, *(Text(f"{s.sign} {s.value}", style=_STYLES[s]) for s in squares))
    return table


def totals_line(entries: Sequence[Entry]) -> str:
    """Return the counts in one line: ``2 fail, 118 pass: 120 cells``."""
    counts = totals(entries)
    words = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none ran"
    return f"{words}: {sum(counts.values())} cells"


class Screen:
    """Everything a run prints. Live on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)

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

    def end(self, entries: Sequence[Entry], folder: Path) -> None:
        """Print the grid, the counts, each failure in words with its rerun line, and the path."""
        if cells(entries):
            self.console.print(grid_table(grid(entries)))
        self.say(totals_line(entries))
        bad = [cell for cell in cells(entries) if not Status(cell["status"]).expected]
        for cell in bad[:_FAILURES_SHOWN]:
            for line in sentence(cell):
                self.console.print(escape(line), style="red")
            self.say(f"  rerun: {cell['rerun']}")
        if len(bad) > _FAILURES_SHOWN:
            self.say(f"… and {len(bad) - _FAILURES_SHOWN} more; all are in the results")
        self.say(f"results: {folder}")


class _View:
    """The live view: the grid so far, and how far it is."""

    def __init__(self, entries: Sequence[Entry], planned: int, jobs: int) -> None:
        self._entries = entries
        self._planned = planned
        self._jobs = jobs
        self._started = time.monotonic()
        self._before = len(cells(entries))

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
