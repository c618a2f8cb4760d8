"""report.html: one file that stands alone, drawn from the journal and the evidence it names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from harness.journal import Entry
from harness.outcome import Status, worst
from harness.report.findings import Finding, by_signature, findings, headline, stage_findings
from harness.report.summary import (
    all_green,
    cells,
    column,
    flaky_count,
    green,
    incomplete,
    notes,
    ordered,
    runs,
    stages,
    totals,
)
from harness.report.text import EXCERPT_BYTES, excerpt, plain

TEMPLATES = Path(__file__).with_name("templates")
EVIDENCE_BYTES = 16_000_000
"""All evidence in a report, so that a browser opens it; the rest is named by its path."""

FINDINGS_SHOWN = 8
"""Kinds of failure shown at once; the others are behind a click."""


def environment() -> jinja2.Environment:
    """Return the template engine: what it puts into a page is escaped, an unknown name an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"plain": plain, "status": Status}
    return made


def render_html(entries: Sequence[Entry], folder: Path) -> str:
    """Return the page.

    Args:
        entries: the journal.
        folder: what the paths of evidence in it start from.
    """
    found = cells(entries)
    grids = _grids(entries, found)
    wrong = findings(entries)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            style=Markup(_asset("report.css")),  # noqa: S704 - our own file, not a user's text
            script=Markup(_asset("report.js")),  # noqa: S704 - our own file, not a user's text
            headline=headline(entries, wrong),
            good=all_green(entries),
            statuses=worst_first(),
            totals=totals(entries),
            total=len(found),
            bad=sum(not green(cell) for cell in found),
            flaky=flaky_count(entries),
            incomplete=incomplete(entries),
            findings=by_signature(wrong),
            findings_shown=FINDINGS_SHOWN,
            stage_findings=stage_findings(entries),
            runs=_runs(entries, found),
            notes=notes(entries),
            grids=grids,
            walks=[list(walk) for _, walk in groupby(stages(entries), key=_run)],
            probes=_unique(cell["probe"] for cell in found),
            checks=_unique(name for cell in found for name in cell["checks"]),
            data=_data(found, grids) | {"stages": [_stage(s) for s in stages(entries)]},
            evidence=_evidence(found, wrong, folder) | _stage_evidence(entries, folder),
        )
    )


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def worst_first() -> list[Status]:
    """Return every status, from the one that outweighs all others."""
    left, order = set(Status), []
    while left:
        order.append(worst(left))
        left.remove(order[-1])
    return order


def _runs(entries: Sequence[Entry], found: Sequence[Entry]) -> list[dict[str, Any]]:
    counts: dict[str, int] = {}
    for cell in found:
        counts[cell["run"]] = counts.get(cell["run"], 0) + 1
    return [{**run, "cells": counts.get(run["run"], 0)} for run in runs(entries)]


def _grids(entries: Sequence[Entry], found: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return a grid per session and datastore, its squares as rows of statuses.

    Where cells have stages, a column is a stage, and so the service of it.
    """
    groups: dict[tuple[str, str], list[Entry]] = {}
    for cell in found:
        groups.setdefault((cell["session"], cell["datastore"]), []).append(cell)
    return [_grid(entries, *key, group) for key, group in groups.items()]


def _grid(
    entries: Sequence[Entry], session: str, datastore: str, found: Sequence[Entry]
) -> dict[str, Any]:
    services = ordered(entries, "services", (column(cell) for cell in found))
    columns = sorted(
        {_column(cell) for cell in found}, key=lambda place: (place[0], services.index(place[1]))
    )
    clients = ordered(entries, "clients", (cell["client"] for cell in found))
    squares: dict[tuple[str, tuple[int, str]], list[Entry]] = {}
    for cell in found:
        squares.setdefault((cell["client"], _column(cell)), []).append(cell)
    return {
        "session": session,
        "datastore": datastore,
        "clients": clients,
        "columns": [{"stage": stage, "service": service} for stage, service in columns],
        "of_ui": session.startswith("ui "),
        "reference": any(service.startswith("reference-") for _, service in columns),
        "rows": [
            (client, [_square(squares.get((client, place), [])) for place in columns])
            for client in clients
        ],
    }


def _column(cell: Entry) -> tuple[int, str]:
    return (cell["stage"], column(cell))


def _square(inside: Sequence[Entry]) -> tuple[Status, bool]:
    return worst(Status(cell["status"]) for cell in inside), any("flaky" in c for c in inside)


class _Interned:
    """Values that repeat in many cells, kept once."""

    def __init__(self) -> None:
        self._index: dict[Any, int] = {}

    def __call__(self, value: Any) -> int:
        return self._index.setdefault(value, len(self._index))

    def values(self) -> list[Any]:
        return list(self._index)


def _data(found: Sequence[Entry], grids: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the script needs: cells by grid, row and column; outcomes kept once."""
    places = {
        (grid["session"], grid["datastore"]): (
            number,
            {client: row for row, client in enumerate(grid["clients"])},
            {(c["stage"], c["service"]): at for at, c in enumerate(grid["columns"])},
        )
        for number, grid in enumerate(grids)
    }
    outcomes = _Interned()
    listed = []
    for cell in found:
        grid, rows, columns = places[cell["session"], cell["datastore"]]
        checks = tuple(
            (name, check["status"], plain(check["reason"]))
            for name, check in cell["checks"].items()
        )
        one = {
            "id": cell["id"],
            "grid": grid,
            "row": rows[cell["client"]],
            "column": columns[_column(cell)],
            "probe": cell["probe"],
            "status": cell["status"],
            "outcome": outcomes(checks),
            "rerun": cell["rerun"],
            "run": cell["run"],
            "flow_run": cell["flow_run"],
            "seconds": cell["seconds"],
        }
        listed.append(one | {key: cell[key] for key in ("flaky", "earlier") if key in cell})
    return {
        "statuses": [
            {"word": status.value, "sign": status.sign, "expected": status.expected}
            for status in worst_first()
        ],
        "grids": [{key: grid[key] for key in _GRID_KEYS} for grid in grids],
        "outcomes": outcomes.values(),
        "cells": listed,
    }


_GRID_KEYS = ("session", "datastore", "clients", "columns")


def _run(entry: Entry) -> str:
    return str(entry["run"])


def _stage(stage: Entry) -> dict[str, Any]:
    """Return what the panel of a stage says beside its cells."""
    # A journal written before stages could be declared has no "known".
    lists = {key: [plain(line) for line in stage.get(key, ())] for key in _STAGE_LISTS}
    return {key: stage[key] for key in ("run", "stage", "service", "status")} | lists


_STAGE_LISTS = ("lost", "problems", "known", "migrations", "rollback_evidence")


def _stage_evidence(entries: Sequence[Entry], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the log of the service and of the migration of each stage that is not as expected."""
    shown = {}
    for stage in stages(entries):
        if green(stage):
            continue
        items: list[dict[str, Any]] = []
        if stage["log"]:
            text = excerpt(folder / stage["log"])
            items.append({"kind": "service", "path": stage["log"], "text": text})
        if stage["migration_output"]:
            text = plain(stage["migration_output"])[-EXCERPT_BYTES:]
            items.append({"kind": "migration", "path": "", "text": text})
        shown[f"{stage['run']} {stage['stage']}"] = items
    return shown


def _evidence(
    found: Sequence[Entry], wrong: Sequence[Finding], folder: Path
) -> dict[str, list[dict[str, Any]]]:
    """Return the evidence of the cells that are not as expected, by id.

    One cell of each finding comes first, so that when there is too much for one page every kind
    of failure still shows its own.
    """
    by_id = {cell["id"]: cell for cell in found}
    first = [finding.cells[0] for finding in wrong]
    ids = dict.fromkeys([*first, *(cell["id"] for cell in found if not green(cell))])
    left = EVIDENCE_BYTES
    shown: dict[str, list[dict[str, Any]]] = {}
    for name in ids:
        shown[name] = []
        for kind, path in by_id[name]["evidence"].items():
            text = excerpt(folder / path) if left > 0 and not path.endswith(".png") else None
            left -= len(text or "")
            shown[name].append({"kind": kind, "path": path, "text": text})
    return shown
