"""report.html: one file that stands alone, drawn from the journal and the evidence it names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, TypedDict

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from harness.core.axes import walk_name
from harness.core.entries import Begun, CellEntry, StageEntry
from harness.core.outcome import Status, worst, worst_first
from harness.core.view import View, green
from harness.machine.plain import plain
from harness.report.findings import (
    Finding,
    by_signature,
    findings,
    headline,
    known_failures,
    stage_findings,
)
from harness.report.sides import REFERENCE, Page, Sides, page
from harness.report.summary import (
    WAYS,
    axes_words,
    flaky_count,
    known_sentences,
    on_postgres,
    source_lines,
    source_mark,
    source_words,
    tally,
    totals,
)
from harness.report.text import EXCERPT_BYTES, excerpt

TEMPLATES = Path(__file__).with_name("templates")
EVIDENCE_BYTES = 16_000_000
"""All evidence in a report, so that a browser opens it; the rest is named by its path."""

FAILURES_SHOWN = 8
"""Failures shown at once; the others are behind a click."""


def environment() -> jinja2.Environment:
    """Return the template engine: what it puts into a page is escaped, an unknown name an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"plain": plain, "stage_name": stage_name, "on_postgres": on_postgres}
    return made


def render_html(view: View, folder: Path) -> Iterator[str]:
    """Yield the page in pieces.

    Args:
        view: the journal.
        folder: what the paths of evidence in it start from.
    """
    found = view.cells
    sides = Sides(view)
    grids = _grids(view, sides, found)
    wrong = findings(view, sides)
    stages = view.stages
    walk = attrgetter("run", "walk")
    return (
        environment()
        .get_template("report.html.j2")
        .generate(
            style=Markup(_asset("report.css")),  # noqa: S704 - our own file, not a user's text
            script=Markup(_asset("report.js")),  # noqa: S704 - our own file, not a user's text
            headline=headline(view, wrong),
            good=view.green,
            statuses=worst_first(),
            status={status.value: status for status in Status},
            totals=totals(found),
            total=len(found),
            bad=sum(not green(cell) for cell in found),
            flaky=flaky_count(view),
            sources=source_lines(view),
            incomplete=view.incomplete,
            failures=by_signature(wrong),
            failures_shown=FAILURES_SHOWN,
            stage_findings=stage_findings(view),
            known=known_failures(view, sides),
            runs=_runs(view, found),
            notes=_notes(view),
            ways=WAYS,
            grids=grids,
            walks=[list(found) for _, found in groupby(filter(_NUMBER, stages), key=walk)],
            probes=_unique(cell.probe for cell in found),
            checks=_unique(name for cell in found for name in cell.checks),
            data=_data(view, found, grids, stages),
            evidence=_evidence(view, found, wrong, folder) | _stage_evidence(stages, folder),
        )
    )


def _notes(view: View) -> dict[str, list[str]]:
    """Return what is noted of each service, and what is known to be wrong with it by itself."""
    notes = {service: list(texts) for service, texts in view.notes.items()}
    for stage in view.stages:
        if not stage.stage:
            notes.setdefault(stage.service, []).extend(known_sentences(stage))
    return {service: texts for service, texts in notes.items() if texts}


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


class _Run(NamedTuple):
    """A run, and how many cells are its own."""

    run: Begun
    cells: int


def _runs(view: View, found: Sequence[CellEntry]) -> list[_Run]:
    counts = Counter(cell.run for cell in found)
    return [_Run(run, counts[run.run]) for run in view.runs.values()]


class _Column(NamedTuple):
    """A stage, and so the service of it, where cells have stages; else a service."""

    stage: int
    service: str


class _Grid(NamedTuple):
    """A grid of one session and page.

    Attributes:
        title: of the session, with what it has several of.
        clients: its rows.
        cells: what stands in each square.
    """

    session: str
    title: str
    clients: tuple[str, ...]
    columns: list[_Column]
    cells: dict[tuple[str, _Column], list[CellEntry]]
    flaky: set[tuple[str, _Column]]

    @property
    def axes(self) -> str:
        """What its rows and columns are."""
        words = axes_words(next(iter(self.cells.values()))[0])
        staged = any(column.stage for column in self.columns)
        return "client × stage" if staged else words

    @property
    def of_ui(self) -> bool:
        """Whether a UI is what was looked at."""
        return self.session == "ui"

    @property
    def reference(self) -> bool:
        """Whether some column is a level of the reference service."""
        return any(column.service.startswith(REFERENCE) for column in self.columns)

    @property
    def rows(self) -> list[tuple[str, list[tuple[Status, str, str]]]]:
        """Each client with its squares: status, how its checks came out, what marks it."""
        return [
            (client, [self._square((client, place)) for place in self.columns])
            for client in self.clients
        ]

    def _square(self, key: tuple[str, _Column]) -> tuple[Status, str, str]:
        inside = self.cells.get(key, [])
        marks = ["flaky" if key in self.flaky else "", source_mark(inside)]
        status = worst(cell.status for cell in inside)
        return status, tally(inside), " ".join(filter(None, marks))


def _grids(view: View, sides: Sides, found: Sequence[CellEntry]) -> dict[tuple[str, Page], _Grid]:
    """Return a grid per session and page."""
    groups: dict[tuple[str, Page], list[CellEntry]] = {}
    for cell in found:
        groups.setdefault((cell.session, page(cell)), []).append(cell)
    return {key: _grid(view, sides, key, group) for key, group in groups.items()}


def _grid(view: View, sides: Sides, key: tuple[str, Page], found: Sequence[CellEntry]) -> _Grid:
    session = sides.sessions[key[0]]
    squares: dict[tuple[str, _Column], list[CellEntry]] = {}
    for cell in found:
        place = _Column(cell.stage, sides.column(cell))
        squares.setdefault((sides.row(cell), place), []).append(cell)
    rows = {row for row, _ in squares}
    columns = {place for _, place in squares}
    order = {name.partition(" at stage ")[0]: place for place, name in enumerate(session.columns)}
    return _Grid(
        key[0],
        " · ".join([key[0], *session.page_words(key[1])]),
        tuple(row for row in session.rows if row in rows),
        sorted(columns, key=lambda place: (place.stage, order[place.service])),
        squares,
        {place for place, inside in squares.items() if any(map(view.flaky, inside))},
    )


def _data(
    view: View,
    found: Sequence[CellEntry],
    grids: dict[tuple[str, Page], _Grid],
    stages: Iterable[StageEntry],
) -> Iterator[Markup]:
    """Yield the JSON that the script needs: cells by grid, row and column; outcomes kept once."""
    outcomes: dict[_Outcome, int] = {}
    places: dict[int, tuple[int, int, int, int]] = {}
    for number, grid in enumerate(grids.values()):
        rows = {client: row for row, client in enumerate(grid.clients)}
        columns = {place: at for at, place in enumerate(grid.columns)}
        for (client, place), inside in grid.cells.items():
            for cell in inside:
                # Thousands of cells come out alike, and the page holds each outcome once.
                outcome = outcomes.setdefault(_outcome(cell), len(outcomes))
                places[id(cell)] = number, rows[client], columns[place], outcome
    head = {
        "statuses": [
            {"word": status.value, "sign": status.sign, "expected": status.expected}
            for status in worst_first()
        ],
        "grids": [
            {
                "title": grid.title,
                "walk": walk_name(next(iter(grid.cells.values()))[0]),
                "axes": grid.axes.split(" × "),
                "clients": grid.clients,
                "columns": [column._asdict() for column in grid.columns],
            }
            for grid in grids.values()
        ],
        "outcomes": list(outcomes),
        "stages": [_stage(stage) for stage in stages],
    }
    # Cell by cell: all of them together would be larger than all else that is known of them.
    yield htmlsafe_json_dumps(head)[:-1] + Markup(', "cells": [')
    comma = Markup("")
    for cell in found:
        words = ("grid", "row", "column", "outcome")
        where = dict(zip(words, places[id(cell)], strict=True))
        yield comma + htmlsafe_json_dumps({**where, **_facts(view, cell)})
        comma = Markup(", ")
    yield Markup("]}")


_Outcome = tuple[tuple[str, str, str], ...]
"""Name, status and reason of each check of a cell."""


def _outcome(cell: CellEntry) -> _Outcome:
    return tuple(
        (name, check.status.value, plain(check.reason)) for name, check in cell.checks.items()
    )


def _facts(view: View, cell: CellEntry) -> dict[str, object]:
    """Return what the panel of a cell says beside its checks."""
    facts: dict[str, object] = {
        "id": view.name(cell),
        "probe": cell.probe,
        "status": cell.status.value,
        "rerun": cell.rerun,
        "run": cell.run,
        "flow_run": cell.flow_run,
        "seconds": cell.seconds,
    }
    if view.flaky(cell):
        facts["flaky"] = True
    if source_words(cell):
        facts["source"] = source_words(cell)
        facts["mark"] = source_mark([cell])
    if view.earlier(cell):
        facts["earlier"] = [
            {"run": one.run, "at": one.at.isoformat(), "status": one.status.value}
            for one in view.earlier(cell)
        ]
    return facts


def _stage(stage: StageEntry) -> dict[str, object]:
    """Return what the panel of a stage says beside its cells."""
    lists = {key: [plain(line) for line in getattr(stage, key)] for key in _STAGE_LISTS}
    return {
        "name": stage_name(stage),
        "run": stage.run,
        "walk": stage.walk,
        "stage": stage.stage,
        "service": stage.service,
        "status": stage.status.value,
        **lists,
    }


def stage_name(stage: StageEntry) -> str:
    """Return what a link to a stage calls it."""
    number = str(stage.stage) if stage.stage else stage.service
    return " ".join(filter(None, [stage.run, stage.walk, number]))


_NUMBER = attrgetter("stage")
_STAGE_LISTS = ("lost", "problems", "known", "migrations", "rollback_evidence")


class _Evidence(TypedDict):
    """A file of evidence; no text where it is not shown in the page."""

    kind: str
    path: str
    text: str | None


_AllEvidence = dict[str, list[_Evidence]]
"""By the name of what it is of."""


def _stage_evidence(stages: Iterable[StageEntry], folder: Path) -> _AllEvidence:
    """Return the log of the service and of the migration of each stage that is not as expected."""
    shown = {}
    for stage in stages:
        if green(stage):
            continue
        items: list[_Evidence] = []
        if stage.log:
            text = excerpt(folder / stage.log)
            items.append({"kind": "service", "path": stage.log, "text": text})
        if stage.migration_output:
            text = plain(stage.migration_output)[-EXCERPT_BYTES:]
            items.append({"kind": "migration", "path": "", "text": text})
        shown[stage_name(stage)] = items
    return shown


def _evidence(
    view: View, found: Sequence[CellEntry], wrong: Sequence[Finding], folder: Path
) -> _AllEvidence:
    """Return the evidence of the cells that are not as expected, by name.

    One cell of each finding comes first, so that when there is too much for one page every kind
    of failure still shows its own.
    """
    bad = {view.name(cell): cell for cell in found if not green(cell)}
    first = [finding.cells[0] for finding in wrong]
    left = EVIDENCE_BYTES
    shown: _AllEvidence = {}
    for name in dict.fromkeys([*first, *bad]):
        shown[name] = []
        for kind, path in bad[name].evidence.items():
            # Pictures stay files beside the page, which names them.
            text = excerpt(folder / path) if left > 0 and not path.endswith(".png") else None
            left -= len(text or "")
            shown[name].append({"kind": kind, "path": path, "text": text})
    return shown
