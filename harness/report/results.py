"""results.json: what the journal comes to, for programs; docs/results.schema.json describes it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

import msgspec

from harness.core.entries import SCHEMA, Begun, CellEntry, Environment, StageEntry
from harness.core.outcome import Status
from harness.core.view import View
from harness.report.findings import Finding, findings, headline, stage_findings
from harness.report.summary import flaky_count, inferred_count, reused_count, totals


class Attempt(msgspec.Struct, frozen=True):
    """What an earlier entry of a cell came to."""

    run: str
    at: datetime
    status: Status


class CellResult(CellEntry, frozen=True, kw_only=True, tag="cell"):
    """A cell's last entry, with what else is known of it.

    Attributes:
        name: its id; with what tells it apart where several cells have that id.
        flaky: red once, and green when the same was run again.
        differences: what did not come out alike in the attempts of its run, a line for each check.
        earlier: its earlier entries, oldest first.
    """

    name: str
    flaky: bool
    differences: list[str]
    earlier: list[Attempt]


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of results.json.

    Attributes:
        schema: version of the format.
        green: everything planned ran and is as expected.
        headline: the verdict in one sentence.
        totals: how many cells have each status; statuses nobody has are left out.
        flaky: cells that were red once and green when run again; also counted under their status.
        reused: cells that were not run, but taken from where they had been; also counted under
            their status.
        inferred: cells that nobody ran, but were inferred from those around them; likewise.
        incomplete: a sentence for each run that has fewer cells than it planned, or no end.
        findings: what is wrong, the widest first.
        stage_findings: a sentence for each thing that is wrong with a stage.
        runs: the runs.
        environments: what was installed for the clients.
        stages: the stages of walks; those that are missing, too, as not-run.
        cells: the cells; those that are missing, too, as not-run.
    """

    schema: Literal[2] = SCHEMA
    green: bool
    headline: str
    totals: dict[Status, int]
    flaky: int
    reused: int
    inferred: int
    incomplete: list[str]
    findings: list[Finding]
    stage_findings: list[str]
    runs: list[Begun]
    environments: list[Environment]
    stages: list[StageEntry]
    cells: list[CellResult]


_NO_CELLS = '"cells": []\n}'


def render_results(view: View) -> Iterator[str]:
    """Yield the JSON text in pieces: of 50,000 cells it takes as much as all that is known."""
    found = findings(view)
    results = Results(
        green=view.green,
        headline=headline(view, found),
        totals={Status(word): count for word, count in totals(view.cells).items()},
        flaky=flaky_count(view),
        reused=reused_count(view),
        inferred=inferred_count(view),
        incomplete=view.incomplete,
        findings=found,
        stage_findings=stage_findings(view),
        runs=list(view.runs.values()),
        environments=list(view.environments.values()),
        stages=view.stages,
        cells=[],
    )
    text = _formatted(results)
    cells = view.cells
    if not cells:
        yield f"{text}\n"
        return
    yield text.removesuffix(_NO_CELLS) + '"cells": ['
    for number, cell in enumerate(cells):
        # No text of JSON has a line's end in it: what looks like one is one.
        inside = _formatted(_result(view, cell)).replace("\n", "\n  ")
        yield f"{',' if number else ''}\n  {inside}"
    yield "\n ]\n}\n"


def _formatted(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=1).decode()


def _result(view: View, cell: CellEntry) -> CellResult:
    return CellResult(
        **msgspec.structs.asdict(cell),
        name=view.name(cell),
        flaky=view.flaky(cell),
        differences=view.differences(cell),
        earlier=[Attempt(one.run, one.at, one.status) for one in view.earlier(cell)],
    )
