"""What a run of 50,000 cells holds in memory, and what its end takes beside.

``python benchmarks/memory.py``, with the harness's dependencies: another process writes a journal
of 53,325 cells; this one views it, which is what a run knows of its cells, and writes its reports.
Judged is the most memory that it had by then, with all of the harness loaded.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
from pathlib import Path

from reports import journal

from harness.cli import sessions
from harness.core.journal import read
from harness.core.view import View
from harness.report.files import write_reports

CLIENTS, PROBES = 237, 5
MOST = 200
"""Megabytes."""


def _most() -> float:
    """Return the megabytes that this process had at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Print the figures; 1 where one is over its budget."""
    assert sessions  # what a run loads is in the figure
    loaded = _most()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # Not in this process: all cells would be in memory once more.
        writer = multiprocessing.get_context("spawn").Process(
            target=journal, args=(folder, PROBES, CLIENTS)
        )
        writer.start()
        writer.join()
        view = View(read(folder))
        viewed = _most()
        write_reports(view, folder, {})
    print(f"loaded: {loaded:.0f} MB; with {view.totals.total()} cells in view: {viewed:.0f} MB")
    print(f"at most, with all reports: {_most():.0f} MB (most: {MOST})")
    return int(_most() > MOST)


if __name__ == "__main__":
    sys.exit(main())
