"""How long a browser takes to open and scroll a report of 267 clients × 45 services.

Run it with the harness's dependencies and selenium: ``python benchmarks/report_267x45.py``. The
times of a machine say little, so each is also given as a ratio to a bare HTML table of the same
size, opened in the same browser in turn with the report. The best round is judged: other work on
the machine only ever adds to a time.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from selenium import webdriver

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harness.catalog.versions import load  # noqa: E402 - as above
from harness.core.entries import CellEntry  # noqa: E402 - found beside this file
from harness.core.view import View  # noqa: E402 - as above
from harness.report.html import render_html  # noqa: E402 - found beside this file
from tests.report import journals  # noqa: E402 - as above
from tests.report.browser import chromium  # noqa: E402 - as above

SERVICES = 45
ROUNDS = 7
BUDGET_SECONDS = 2.0
FRAME_MILLISECONDS = 50.0
"""A scroll is smooth here when 95 of 100 frames take no longer: there is no graphics card."""

_CHECKS = ("run", "artifacts", "foreach", "retry", "logs", "heartbeat", "tags", "cards", "lineage")

# Scrolls the grid to its far corner in 60 steps and returns the milliseconds between frames.
_SCROLL = """
const done = arguments[0], box = document.querySelector(".scroll"), times = [];
let step = 0, last = performance.now();
requestAnimationFrame(function frame(now) {
  times.push(now - last); last = now; step += 1;
  box.scrollTop = box.scrollHeight * step / 60; box.scrollLeft = box.scrollWidth * step / 60;
  if (step < 60) requestAnimationFrame(frame); else done(times.slice(2));
});
"""


def entries(folder: Path) -> View:
    """Return a journal of every client and 45 services; one cell in twelve fails with evidence."""
    catalog = load()
    services = [service.name for service in catalog.released]
    services += [f"v2.6.{patch}" for patch in range(SERVICES - len(services))]
    return journals.write(folder, _cells([c.name for c in catalog.clients], services, folder))


def _cells(clients: Sequence[str], services: Sequence[str], folder: Path) -> Iterator[CellEntry]:
    for row, client in enumerate(clients):
        for column, service in enumerate(services):
            checks: dict[str, str | tuple[str, str]] = dict.fromkeys(_CHECKS, "pass")
            if row < 100:  # a third of the clients
                checks["tags"] = ("unsupported", f"needs client >=2.7.0, this is {client}")
            failing = (50 < row < 70 and column >= 20) or row % 30 == column % 30
            if failing:
                checks["artifacts"] = ("fail", f"client {client} read 2 of 3 artifacts")
            one = journals.cell(client, service, checks)
            output = f"{client} writes to {service}\n" * 60
            yield journals.evidence(folder, one, flow=output, service=output) if failing else one


def bare(journal: View) -> str:
    """Return the smallest page with a table of the same squares."""
    by_client: dict[str, list[str]] = {}
    for cell in journal.cells:
        by_client.setdefault(cell.client, []).append(cell.status.value)
    rows = "".join(
        f"<tr><th>{client}{''.join(f'<td>{status}' for status in squares)}"
        for client, squares in by_client.items()
    )
    return (
        "<!DOCTYPE html><meta charset=utf-8><title>bare</title>"
        f"<div class=scroll style='overflow:auto;height:88vh'><table>{rows}</table></div>"
    )


def open_seconds(browser: webdriver.Chrome, page: Path) -> float:
    """Return the wall time from asking for the page to its second frame."""
    browser.get("about:blank")
    started = time.perf_counter()
    browser.get(page.as_uri())
    browser.execute_async_script(
        "const d = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => d()))"
    )
    return time.perf_counter() - started


def frame_milliseconds(browser: webdriver.Chrome) -> float:
    """Return the time between frames while the grid scrolls that 95 of 100 frames keep."""
    times = sorted(browser.execute_async_script(_SCROLL))
    return float(times[int(len(times) * 0.95)])


def main() -> int:
    """Measure, print, and return 1 when the report is over its budget."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        journal = entries(folder)
        started = time.perf_counter()
        pages = {"report": folder / "report.html", "bare table": folder / "bare.html"}
        pages["report"].write_text("".join(render_html(journal, folder)), encoding="utf-8")
        drawn = time.perf_counter() - started
        pages["bare table"].write_text(bare(journal), encoding="utf-8")
        opened: dict[str, list[float]] = {name: [] for name in pages}
        frames: dict[str, list[float]] = {name: [] for name in pages}
        with chromium() as browser:
            for _ in range(ROUNDS):
                for name, page in pages.items():
                    opened[name].append(open_seconds(browser, page))
                    frames[name].append(frame_milliseconds(browser))
        size = {name: page.stat().st_size / 1e6 for name, page in pages.items()}
    best = {name: (min(opened[name]), min(frames[name])) for name in pages}
    print(f"drawn in {drawn:.2f} s; best (median) of {ROUNDS} rounds:")
    for name in pages:
        print(
            f"{name:10}  {size[name]:5.1f} MB"
            f"  opened in {best[name][0]:.2f} ({statistics.median(opened[name]):.2f}) s"
            f"  95 % of frames in {best[name][1]:.0f} ({statistics.median(frames[name]):.0f}) ms"
        )
    seconds, frame = best["report"]
    print(
        f"the report: {seconds / best['bare table'][0]:.1f} × the bare table's time to open"
        f", {frame / best['bare table'][1]:.1f} × to scroll"
    )
    good = seconds < BUDGET_SECONDS and frame <= FRAME_MILLISECONDS
    print(f"{'within' if good else 'OVER'} {BUDGET_SECONDS:g} s and {FRAME_MILLISECONDS:g} ms")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
