"""Expectations proposed for what is red, to be reviewed by a person. Pure but for writing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from packaging.version import InvalidVersion, Version

from harness.core import expectations
from harness.core.entries import CellEntry
from harness.core.outcome import Status
from harness.core.view import View
from harness.report.findings import Finding, findings
from harness.report.sides import REFERENCE, Sides, blocks


def propose(view: View) -> list[dict[str, object]]:
    """Return an entry of expectations.json for each range of cells that fail or time out.

    Ranges hold no tested release that did not fail. Only a range that ends with the newest tested
    release is open: it will say ``unexpected-pass`` when a later one is repaired.
    """
    sides = Sides(view)
    by_name = {view.name(cell): cell for cell in view.cells}
    proposed: list[dict[str, object]] = []
    for finding in findings(view, sides):
        if finding.status in {Status.FAIL, Status.TIMEOUT}:
            inside = [by_name[name] for name in finding.cells]
            # Two rectangles may come to one and the same range.
            proposed += [one for one in _of(sides, finding, inside) if one not in proposed]
    return proposed


def _of(sides: Sides, finding: Finding, inside: Sequence[CellEntry]) -> list[dict[str, object]]:
    session = sides.sessions[finding.session]
    services = {sides.service(cell): cell.service for cell in inside}
    everywhere = {name: services.get(name) or name for name in session.columns}
    ui = inside[0].ui
    if ui and not _is_version(ui):
        return []  # what a git ref shows is not declared by a version
    partly = " (inferred in part)" if any(cell.inferred for cell in inside) else ""
    about = {"ui": f"=={ui.removeprefix('v')}"} if ui else {}
    return [
        {
            **about,
            "client": _range(clients, session.rows),
            "service": service,
            "check": f"{finding.probe}/{check}",
            "reason": f"{finding.reason or 'fails'}{partly}",
            "link": None,
            "until": None,
        }
        for clients in blocks(session.rows, set(finding.clients))
        for service in _service_ranges(inside, services, list(everywhere.values()))
        for check in finding.checks
    ]


def _service_ranges(
    inside: Sequence[CellEntry], services: dict[str, str | None], order: Sequence[str]
) -> list[str]:
    kinds = {cell.service: cell.service_kind for cell in inside}
    ranges: list[str] = [expectations.NONE] if None in services.values() else []
    for kind in dict.fromkeys(kind for kind in kinds.values() if kind):
        if kind == "checkout":
            ranges.append(kind)
            continue
        own = [name for name in order if name.startswith(REFERENCE) == (kind == "reference")]
        chosen = {name for name in kinds if name is not None and kinds[name] == kind}
        versions = [name.removeprefix(REFERENCE).removeprefix("v") for name in own]
        chosen = {name.removeprefix(REFERENCE).removeprefix("v") for name in chosen}
        ranges += [f"{kind} {_range(block, versions)}" for block in blocks(versions, chosen)]
    return ranges


def _range(block: Sequence[str], order: Sequence[str]) -> str:
    if len(block) == 1:
        return f"=={block[0]}"
    return f">={block[0]}" if block[-1] == order[-1] else f">={block[0]},<={block[-1]}"


def write_proposals(view: View, path: Path, declared: Path) -> int:
    """Write what is declared already and what is proposed; return how many are proposed.

    Args:
        view: the journal.
        path: the file to write.
        declared: expectations.json as it is.

    Raises:
        UsageError: when the declared ones cannot be read.
    """
    proposed = propose(view)
    listed = [*expectations.read_file(declared), *proposed]
    body = {"schema": expectations.FILE_SCHEMA, "expectations": listed}
    path.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return len(proposed)


def _is_version(text: str) -> bool:
    """Tell whether a text is a version, as releases are named."""
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True
