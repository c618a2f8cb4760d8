"""report.md: the verdict for a pull request or the summary of a CI step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from harness.core.axes import Side, on
from harness.core.entries import CellEntry, StageEntry
from harness.core.outcome import worst
from harness.core.view import View, green
from harness.report.findings import (
    PLACES_SHOWN,
    Failure,
    by_signature,
    findings,
    headline,
    known_failures,
    stage_findings,
)
from harness.report.sides import Page, Sides, page, span
from harness.report.summary import (
    WAYS,
    axes_words,
    difference_lines,
    on_postgres,
    source_lines,
    source_mark,
    totals_line,
)
from harness.report.text import counted, shortened

SHOWN = 20
"""Findings and rerun lines in full; a step summary may hold 1 MiB, and readers less."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~#&])")


def escaped(text: str) -> str:
    """Return text that Markdown and HTML leave as it is."""
    return _SPECIAL.sub(r"\\\1", shortened(text)).replace("\\<", "&lt;").replace("\\&", "&amp;")


def code(text: str) -> str:
    """Return a code span that holds any text of one line."""
    line = " ".join(text.split())
    # Longer than any within the text, or the span would end there.
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    return f"{fence} {line} {fence}" if "`" in line else f"`{line}`"


def render_markdown(view: View) -> str:
    """Return the text: verdict, findings, timeline, one grid per session, and how to rerun."""
    sides, stages = Sides(view), view.stages
    found = findings(view, sides)
    sign = "✓" if view.green else "✗"
    parts = [f"## {sign} Metaflow compatibility: {escaped(headline(view, found))}"]
    parts += [f"**{totals_line(view)}**"]
    parts += [f"**⚠ unknown:** {escaped(line)}" for line in view.incomplete]
    parts += [f"**⚠** {escaped(line)}" for line in difference_lines(view)]
    parts.append(_list([escaped(line) for line in source_lines(view)]))
    sentences = [escaped(line) for line in stage_findings(view)]
    sentences += map(_failure, by_signature(found))
    parts.append(_list(sentences))
    parts.append(_timeline([stage for stage in stages if stage.stage]))
    known = _list([escaped(line) for line in known_failures(view, sides)])
    if known:
        parts.append(_folded("Known failures", known))
    parts += _grids(view, sides)
    parts.append(_list([escaped(text) for texts in view.notes.values() for text in texts]))
    bad = [cell for cell in view.cells if not green(cell) and cell.inferred is None]
    # What is not shown need not be made: there may be 60,000.
    lines = [f"{escaped(view.name(cell))}: {code(cell.rerun)}" for cell in bad[: SHOWN + 1]]
    if lines:
        listed = _list(lines, of=len(bad))
        parts.append(_folded(f"How to run {counted(len(bad), 'cell')} again", listed))
    for run in view.runs.values():
        parts.append(f"<sub>run {escaped(run.run)} · {escaped(run.backend)}</sub>")
    return "\n\n".join(filter(None, parts)) + "\n"


def _failure(one: Failure) -> str:
    """Return a failure in its first place, with the reason, and below where it is the same."""
    first, *others = one.places[:PLACES_SHOWN]
    reason = f": {code(one.reason)}" if one.reason else ""
    mark = f"**{one.status.sign} {one.status.value}**"
    lines = [f"{mark} {escaped(first.where)}: {escaped(first.what)}{reason}"]
    for place in others:
        what = "" if place.what == first.what else f": {escaped(place.what)}"
        lines.append(f"  - the same: {escaped(place.where)}{what}")
    if len(one.places) > PLACES_SHOWN:
        lines.append(f"  - … and in {len(one.places) - PLACES_SHOWN} more places")
    return "\n".join(lines)


def _list(lines: Sequence[str], of: int | None = None) -> str:
    """Return the first of some lines as a list, and how many more there are of all of them."""
    shown = [f"- {line}" for line in lines[:SHOWN]]
    left = (len(lines) if of is None else of) - SHOWN
    more = [f"- … and {left} more"] if left > 0 else []
    return "\n".join(shown + more)


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _timeline(found: Sequence[StageEntry]) -> str:
    rows = [
        (
            str(stage.stage),
            WAYS[stage.direction]
            + escaped(stage.service + on_postgres(stage))
            + (f" ({escaped(stage.walk)})" if stage.walk else ""),
            f"{stage.status.sign} {stage.status.value}",
            f"{stage.schema_before or 'none'} → {stage.schema_after or 'none'}",
            str(stage.rows),
            str(len(stage.lost)),
            stage.rollback or "same schema",
        )
        for stage in found
    ]
    head = ("stage", "service", "status", "schema", "rows", "lost", "rollback")
    return _table(head, rows) if rows else ""


def _grids(view: View, sides: Sides) -> list[str]:
    """Return a grid per session and page; clients with the same squares share a row."""
    groups: dict[tuple[str, Page], dict[tuple[str, str], list[CellEntry]]] = {}
    for cell in view.cells:
        squares = groups.setdefault((cell.session, page(cell)), {})
        squares.setdefault((sides.row(cell), sides.service(cell)), []).append(cell)
    parts = []
    for (name, where), squares in groups.items():
        session = sides.sessions[name]
        used = {column for _, column in squares}
        services = [column for column in session.columns if column in used]
        alike: dict[tuple[str, ...], list[str]] = {}
        for client in session.rows:
            row = tuple(_square(squares.get((client, column), ())) for column in services)
            alike.setdefault(row, []).append(client)
        rows = [(escaped(span(session.rows, clients)), *row) for row, clients in alike.items()]
        words = ", ".join([name, *(session.page_words(where) or [f"{where[_DATASTORE]} data"])])
        axes = axes_words(next(iter(squares.values()))[0])
        table = _table((axes.partition(" ")[0], *map(escaped, services)), rows)
        parts.append(_folded(f"{words}: {axes}", table))
    return parts


_DATASTORE = [axis.name for axis in on(Side.PAGE)].index("datastore")


def _square(inside: Sequence[CellEntry]) -> str:
    status = worst(cell.status for cell in inside)
    return f"{status.sign} {status.value} {source_mark(inside)}".strip()
