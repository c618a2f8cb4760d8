"""Journals for tests: written by the real Journal, with entries of the shape a run writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from harness.core.axes import cell_id
from harness.core.entries import (
    Begun,
    CellEntry,
    Ended,
    Entry,
    Planned,
    PlannedCell,
    PlannedStage,
    Provenance,
    StageEntry,
    now,
)
from harness.core.journal import Journal, read
from harness.core.outcome import CheckOutcome, Status, cell_status
from harness.core.view import View

CLIENTS = ("2.0.5", "2.2.13", "2.7.23", "2.19.39")
SERVICES = ("reference-1.0", "reference-2.0", "reference-2.3", "reference-2.5")
Checks = Mapping[str, "str | tuple[str, str]"]
PASSED = {"run": "pass", "tags": "pass", "logs": "pass"}

WHOLE = Provenance(
    python="3.11.7",
    environment="aa",
    service="sha256:1",
    reported="2.5.1",
    db_schema=1,
    server="sha256:2",
    database="16.14",
    store="s3-1",
    settings="cc",
    machine="Linux x86_64",
    harness="bb",
)
"""What decided a result, each part of it said."""


def cell(
    client: str,
    service: str | None,
    checks: Checks | None = None,
    **fields: Any,
) -> CellEntry:
    """Return a cell's entry; a check is a status, or a status and a reason.

    The session ``ui 2.1.0`` is that of a UI of this release.
    """
    found = {
        name: CheckOutcome(Status(check), "")
        if isinstance(check, str)
        else CheckOutcome(Status(check[0]), check[1])
        for name, check in (PASSED if checks is None else checks).items()
    }
    session, _, ui = fields.pop("session", "compat").partition(" ")
    where = f"--service {service} " if service else ""
    whole: dict[str, Any] = {
        "ui": ui,
        "session": session,
        "client": client,
        "service": service,
        "service_kind": service and ("reference" if "reference" in service else "released"),
        "datastore": "local",
        "probe": "basics",
        "stage": 0,
        "status": cell_status(found),
        "checks": found,
        "flow_run": "BasicsFlow/17",
        "seconds": 3.21,
        "at": now(),
        "run": "",
        **fields,
    }
    line = f"nox -s {session} -- --metaflow {client} {where}--probe {whole['probe']}"
    one = CellEntry(**{"id": "", "rerun": f"{line} --datastore {whole['datastore']}", **whole})
    name = cell_id(session, one, one.probe, one.stage)
    return msgspec.structs.replace(one, id=fields.get("id", name))


def stage(number: int, service: str, **fields: Any) -> StageEntry:
    """Return a stage's entry."""
    whole: dict[str, Any] = {
        "at": now(),
        "run": "",
        "stage": number,
        "service": service,
        "service_kind": "reference" if "reference" in service else "released",
        "status": "pass",
        "schema_before": None if number == 1 else number - 1,
        "schema_after": number,
        "migrations": [f"2020060310413{number}"],
        "migration_seconds": 0.25 * number,
        "rows": 120 * number,
        "rollback": "safe",
        "rollback_evidence": ["reference-1.0: it still answers"],
        "carried": 120 * (number - 1),
        "rereads": 4 * (number - 1),
        "seconds": 12.5,
        "reported": "2.3.0",
        "direction": "upgrade",
        **fields,
    }
    return StageEntry(**{**whole, "status": Status(whole["status"])})


def write(
    folder: Path,
    cells: Iterable[CellEntry],
    *,
    run: str = "20261101-120000-compat-1a2b",
    stages: Iterable[StageEntry] = (),
    ended: bool = True,
    planned: int | None = None,
    cut: str = "",
    **fields: Any,
) -> View:
    """Write the journal of a run into a folder; return what it says.

    Args:
        folder: where.
        cells: those that ran, in order.
        run: the run's id.
        stages: those that ran, in order.
        ended: whether the run came to its end.
        planned: how many cells were planned, if that is more than ran.
        cut: of a shard, what tells its whole plan.
        fields: of the run's entry; ``at`` of all entries.
    """
    folder.mkdir(parents=True, exist_ok=True)
    at: datetime = fields.pop("at", None) or now()
    cells = [msgspec.structs.replace(one, run=run, at=at) for one in cells]
    stages = [msgspec.structs.replace(one, run=run, at=at) for one in stages]
    services = [one.service for one in cells if one.service]
    start: dict[str, Any] = {
        "session": "compat",
        "options": [],
        "backend": "backend: embedded: no Docker engine answers",
        "clients": list(dict.fromkeys(one.client for one in cells)),
        "services": list(dict.fromkeys(services)),
        **fields,
    }
    journal = Journal(folder / "journal.jsonl")
    journal.append(Begun(at=at, run=run, **start))
    whole = plan(run, cells, stages, planned or 0, at)
    journal.append(msgspec.structs.replace(whole, cut=cut))
    for entry in [*stages, *cells, *([Ended(at=at, run=run)] if ended else [])]:
        journal.append(entry)
    journal.close()
    return View(read(folder))


def plan(
    run: str, cells: Iterable[CellEntry], stages: Iterable[StageEntry], count: int, at: datetime
) -> Planned:
    """Return the plan of these cells and stages, and of others, up to a number of cells."""
    found = {one.id: part(one, PlannedCell) for one in cells}
    for number in range(len(found), count):
        other = part(cell("2.99.0", "v9.9.9", probe=f"missing{number}"), PlannedCell)
        found[other.id] = other
    return Planned(
        at=at,
        run=run,
        cells=list(found.values()),
        # A service by itself is in no plan.
        stages=[part(one, PlannedStage) for one in stages if one.stage],
        asked={one.probe: list(one.checks) for one in cells},
    )


def part(entry: Any, kind: type[Any]) -> Any:
    """Return an entry's part that was planned."""
    return kind(**{name: getattr(entry, name) for name in kind.__struct_fields__})


def entries(folder: Path) -> list[Entry]:
    """Return the entries of a journal."""
    return read(folder)


def evidence(folder: Path, one: CellEntry, **texts: str) -> CellEntry:
    """Return the cell with evidence files of these texts, by kind."""
    place = folder / "logs" / "cells" / one.id.replace("/", "__")
    place.mkdir(parents=True, exist_ok=True)
    kept = {}
    for kind, text in texts.items():
        file = place / ("rows.json" if kind == "rows" else f"{kind}.txt")
        file.write_text(text, encoding="utf-8")
        kept[kind] = str(file.relative_to(folder))
    return msgspec.structs.replace(one, evidence=kept)
