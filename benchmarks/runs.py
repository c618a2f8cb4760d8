"""What a small run takes by the clock, beside the bare runs of its flow on all cores.

``python benchmarks/runs.py [OPTION …]`` does by hand what ``basics`` does with its flow, a run and
a resume of three tasks, by three clients over the reference service, and then runs twice
``nox -s compat -- --probe basics OPTION …`` with these clients and two services: the first has
every environment made. Judged is the second, by the clock, to what the processor's time of the six
bare runs, one a cell, takes on all cores. Unasked it is ``--service v2.4.0,v2.5.0``: their images
where a Docker engine runs, which is what the budget is for; else name levels of the reference.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from statistics import median

from cells import CLIENTS, ROOT, bare, prepared, stack_of

MOST = 1.4
SERVICES = ("--service", "v2.4.0,v2.5.0")


def _bare_runs() -> float:
    """Return the seconds of the processor for two cells of each client."""
    seconds = 0.0
    with prepared(CLIENTS, "basics") as (run, cells):
        for cell, python in cells:
            url, flow = stack_of(run, cell).running.url, cell.probe.path
            seconds += 2 * median(bare(python, flow, url) for _ in range(3))
    return seconds


def _run(results: str, options: list[str]) -> tuple[float, str]:
    """Return the seconds of a run by the clock, and what it printed."""
    command = [sys.executable, "-m", "nox", "-s", "compat", "--", "--probe", "basics"]
    command += ["--metaflow", ",".join(CLIENTS), "--results", results, *options]
    begun = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.monotonic() - begun, done.stdout + done.stderr


def main() -> int:
    """Run, print the figures; 1 where it misses its budget."""
    options = sys.argv[1:] or [*SERVICES]
    by_hand, cores = _bare_runs(), os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as results:
        _run(results, options)
        seconds, said = _run(results, options)
    ratio = seconds / (by_hand / cores)
    print(next(line for line in said.splitlines() if line.startswith("backend:")))
    print(f"six bare runs: {by_hand:.1f} s of the processor; the run: {seconds:.1f} s by the clock")
    print(f"{ratio:.2f} of them on {cores} cores (most: {MOST}); load {os.getloadavg()[0]:.1f}")
    return int(ratio > MOST)


if __name__ == "__main__":
    sys.exit(main())
