"""report.md: the verdict for a pull request or the summary of a CI step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from harness.journal import Entry
from harness.outcome import Status, worst
from harness.report.findings import (
    Axes,
    also,
    by_signature,
    findings,
    headline,
    span,
    stage_findings,
)
from harness.report.summary import (
    all_green,
    cells,
    green,
    incomplete,
    known_sentences,
    notes,
    runs,
    stages,
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
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    return f"{fence} {line} {fence}" if "`" in line else f"`{line}`"


def render_markdown(entries: Sequence[Entry]) -> str:
    """Return the text: verdict, findings, timeline, one grid per session, and how to rerun."""
    found = findings(entries)
    sign = "✓" if all_green(entries) else "✗"
    parts = [f"## {sign} Metaflow compatibility: {escaped(headline(entries, found))}"]
    parts += [f"**{totals_line(entries)}**"]
    parts += [f"**⚠ unknown:** {escaped(line)}" for line in incomplete(entries)]
    sentences = [escaped(line) for line in stage_findings(entries)]
    sentences += [
        f"**{one.status.sign} {one.status.value}** {escaped(one.where)}"
        f"{also(len(same) - 1)}: {escaped(one.what)}"
        + (f": {code(one.reason)}" if one.reason else "")
        for same in by_signature(found)
        for one in same[:1]
    ]
    parts.append(_list(sentences))
    parts.append(_timeline(stages(entries)))
    known = [line for stage in stages(entries) for line in known_sentences(stage)]
    parts.append(_list([escaped(line) for line in known]))
    parts += _grids(entries)
    parts.append(_list([escaped(text) for texts in notes(entries).values() for text in texts]))
    bad = [cell for cell in cells(entries) if not green(cell)]
    lines = [f"{escaped(cell['id'])}: {code(cell['rerun'])}" for cell in bad]
    if lines:
        parts.append(_folded(f"How to run {counted(len(bad), 'cell')} again", _list(lines)))
    for run in runs(entries):
        parts.append(f"<sub>run {escaped(run['run'])} · {escaped(run['backend'])}</sub>")
    return "\n\n".join(filter(None, parts)) + "\n"


def _list(lines: Sequence[str]) -> str:
    shown = [f"- {line}" for line in lines[:SHOWN]]
    more = [f"- … and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join(shown + more)


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _timeline(found: Sequence[Entry]) -> str:
    rows = [
        (
            str(stage["stage"]),
            ("back to " if stage["direction"] == "rollback" else "") + escaped(stage["service"]),
            f"{Status(stage['status']).sign} {stage['status']}",
            f"{stage['schema_before'] or 'none'} → {stage['schema_after'] or 'none'}",
            str(stage["rows"]),
            str(len(stage["lost"])),
            stage["rollback"] or "same schema",
        )
        for stage in found
    ]
    head = ("stage", "service", "status", "schema", "rows", "lost", "rollback")
    return _table(head, rows) if rows else ""


def _grids(entries: Sequence[Entry]) -> list[str]:
    """Return a grid per session and datastore; clients with the same squares share a row."""
    axes = Axes(entries)
    groups: dict[tuple[str, str], dict[tuple[str, str], list[Status]]] = {}
    for cell in cells(entries):
        squares = groups.setdefault((cell["session"], cell["datastore"]), {})
        squares.setdefault((cell["client"], axes.service(cell)), []).append(Status(cell["status"]))
    parts = []
    for (session, datastore), squares in groups.items():
        sides = axes.sides[session]
        services = [name for name in sides.services if any(name == s for _, s in squares)]
        alike: dict[tuple[Status, ...], list[str]] = {}
        for client in sides.clients:
            row = tuple(worst(squares.get((client, name), ())) for name in services)
            alike.setdefault(row, []).append(client)
        rows = [
            (escaped(span(sides.clients, clients)), *(f"{s.sign} {s.value}" for s in row))
            for row, clients in alike.items()
        ]
        table = _table(("client", *map(escaped, services)), rows)
        parts.append(_folded(f"{session}, {datastore} data: client × service", table))
    return parts
