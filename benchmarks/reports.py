"""How long all reports of a journal take, a cell, and whether that grows with their number.

Run it with the harness's dependencies: ``python benchmarks/reports.py``. The journal of 267
clients × 45 services × 5 probes is read, viewed and drawn as every file of a report, and so is one
of a tenth of it: a cell of the large one must cost about as much as one of the small.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harness.catalog.versions import load  # noqa: E402 - as above
from harness.core.entries import Begun, CellEntry, Ended, now  # noqa: E402 - found beside this file
from harness.core.journal import encode, read  # noqa: E402 - as above
from harness.core.view import View  # noqa: E402 - as above
from harness.report.diff import compare  # noqa: E402 - as above
from harness.report.files import write_reports  # noqa: E402 - as above
from harness.report.merge import merge  # noqa: E402 - as above
from tests.report import journals  # noqa: E402 - as above

SERVICES = 45
PROBES = ("basics", "card", "failing", "hello", "include_file")
MUST_MILLISECONDS = 1.0
"""For each cell, all reports together."""
_CHECKS = ("run", "artifacts", "foreach", "retry", "logs", "heartbeat", "tags", "cards", "lineage")


def journal(folder: Path, probes: int, clients: int) -> int:
    """Write a journal with a failing cell in thirty, and a range that fails; return its cells."""
    catalog = load()
    names = [client.name for client in catalog.clients[:clients]]
    services = [service.name for service in catalog.released]
    services += [f"v2.6.{patch}" for patch in range(SERVICES - len(services))]
    cells = [
        _cell(row, client, column, service, probe)
        for row, client in enumerate(names)
        for column, service in enumerate(services)
        for probe in PROBES[:probes]
    ]
    run = "20261101-120000-compat-1a2b"
    cells = [msgspec.structs.replace(cell, run=run) for cell in cells]
    head = Begun(
        at=now(),
        run=run,
        session="compat",
        options=[],
        backend="backend: embedded",
        clients=names,
        services=services,
    )
    plan = journals.plan(run, cells, (), 0, now())
    with (folder / "journal.jsonl").open("wb") as file:
        file.writelines(map(encode, (head, plan, *cells, Ended(at=now(), run=run))))
    return len(cells)


def _cell(row: int, client: str, column: int, service: str, probe: str) -> CellEntry:
    checks: dict[str, str | tuple[str, str]] = dict.fromkeys(_CHECKS, "pass")
    if row < 100:  # a third of the clients
        checks["tags"] = ("unsupported", f"needs client >=2.7.0, this is {client}")
    if (50 < row < 70 and column >= 20) or row % 30 == column % 30:
        checks["artifacts"] = (
            "fail",
            f"client {client} read {row % 7} of 9 at 0x{row:04x}{column}",
        )
    return journals.cell(client, service, checks, probe=probe)


def measure(folder: Path, probes: int, clients: int) -> tuple[int, dict[str, float]]:
    """Return the number of cells, and the seconds of each part of the work."""
    cells = journal(folder, probes, clients)
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    entries = read(folder)
    seconds["read"] = time.perf_counter() - started
    view = View(entries)
    seconds["view"] = time.perf_counter() - started - seconds["read"]
    write_reports(view, folder, {})
    seconds["all reports"] = time.perf_counter() - started
    started = time.perf_counter()
    compare(view, View(entries))
    seconds["diff"] = time.perf_counter() - started
    started = time.perf_counter()
    merge([folder, folder], folder)
    seconds["merge"] = time.perf_counter() - started
    return cells, seconds


def main() -> int:
    """Measure, print, and return 1 when a cell costs more than it may."""
    found = []
    for probes, clients in ((1, 133), (5, 267)):
        with tempfile.TemporaryDirectory() as temporary:
            cells, seconds = measure(Path(temporary), probes, clients)
        each = {name: 1000 * value / cells for name, value in seconds.items()}
        found.append(each)
        shown = ", ".join(f"{name} {value:.3f}" for name, value in each.items())
        print(f"{cells:6} cells: milliseconds a cell: {shown}")
    growth = found[1]["all reports"] / found[0]["all reports"]
    good = found[1]["all reports"] < MUST_MILLISECONDS
    print(f"a cell of the large journal costs {growth:.2f} × one of the small")
    print(json.dumps({"milliseconds": round(found[1]["all reports"], 3), "within": good}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
