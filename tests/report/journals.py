"""Journals for tests: written by the real Journal, with entries of the shape a run writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.journal import Entry, Journal
from harness.outcome import CheckOutcome, Status, cell_status

CLIENTS = ("2.0.5", "2.2.13", "2.7.23", "2.19.39")
SERVICES = ("reference-1.0", "reference-2.0", "reference-2.3", "reference-2.5")
Checks = Mapping[str, "str | tuple[str, str]"]
PASSED = {"run": "pass", "tags": "pass", "logs": "pass"}


def cell(
    client: str,
    service: str | None,
    checks: Checks | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Return the fields of a cell's entry; a check is a status, or a status and a reason."""
    found = {
        name: CheckOutcome(Status(check), "")
        if isinstance(check, str)
        else CheckOutcome(Status(check[0]), check[1])
        for name, check in (PASSED if checks is None else checks).items()
    }
    session, datastore = fields.get("session", "compat"), fields.get("datastore", "local")
    probe, stage = fields.get("probe", "basics"), fields.get("stage", 0)
    number = f"{stage:02d}-" if stage else ""
    where = f"--service {service} " if service else ""
    return {
        "id": f"{session}/{client}/{number}{service or 'no-service'}/{datastore}/{probe}",
        "session": session,
        "client": client,
        "service": service,
        "service_kind": service and ("reference" if "reference" in service else "released"),
        "datastore": datastore,
        "probe": probe,
        "stage": stage,
        "status": cell_status(found).value,
        "checks": {
            name: {"status": check.status.value, "reason": check.reason}
            for name, check in found.items()
        },
        "flow_run": "BasicsFlow/17",
        "seconds": 3.21,
        "evidence": {},
        "rerun": f"nox -s {session} -- --metaflow {client} {where}--probe {probe}"
        f" --datastore {datastore}",
        **fields,
    }


def stage(number: int, service: str, **fields: Any) -> dict[str, Any]:
    """Return the fields of a stage's entry."""
    return {
        "stage": number,
        "service": service,
        "status": "pass",
        "schema_before": None if number == 1 else number - 1,
        "schema_after": number,
        "migrations": [f"2020060310413{number}"],
        "migration_seconds": 0.25 * number,
        "rows": 120 * number,
        "lost": [],
        "rollback": "safe",
        "rollback_evidence": ["reference-1.0: it still answers"],
        "log": "",
        "carried": 120 * (number - 1),
        "rereads": 4 * (number - 1),
        "seconds": 12.5,
        "reported": "2.3.0",
        "migration_output": "",
        "direction": "upgrade",
        "problems": [],
        "known": [],
        **fields,
    }


def write(
    folder: Path,
    cells: Iterable[Mapping[str, Any]],
    *,
    run: str = "20261101-120000-compat-1a2b",
    stages: Iterable[Mapping[str, Any]] = (),
    ended: bool = True,
    **fields: Any,
) -> list[Entry]:
    """Write the journal of a run into a folder; return its entries."""
    cells = list(cells)
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / "journal.jsonl")
    start: dict[str, Any] = {
        "session": "compat",
        "options": [],
        "backend": "backend: embedded: no Docker engine answers",
        "clients": list(dict.fromkeys(one["client"] for one in cells)),
        "services": list(dict.fromkeys(one["service"] for one in cells if one["service"])),
        "planned": len(cells),
        **fields,
    }
    entries = [journal.append("run", run=run, **start)]
    entries += [journal.append("stage", run=run, **one) for one in stages]
    entries += [journal.append("cell", **{"run": run, **one}) for one in cells]
    if ended:
        entries.append(journal.append("end", run=run, finished="2026-11-01T12:30:00+00:00"))
    journal.close()
    return entries


def evidence(folder: Path, one: dict[str, Any], **texts: str) -> dict[str, Any]:
    """Return the cell's fields with evidence files of these texts, by kind."""
    place = folder / "logs" / "cells" / one["id"].replace("/", "__")
    place.mkdir(parents=True, exist_ok=True)
    kept = {}
    for kind, text in texts.items():
        file = place / ("rows.json" if kind == "rows" else f"{kind}.txt")
        file.write_text(text, encoding="utf-8")
        kept[kind] = str(file.relative_to(folder))
    return {**one, "evidence": kept}
