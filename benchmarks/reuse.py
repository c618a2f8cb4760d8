"""What an unchanged rerun with ``--reuse`` takes, and how well a second run's time is foretold.

``python benchmarks/reuse.py [OPTION …]`` runs ``nox -s compat -- OPTION …`` three times with one
results folder of its own: to have every environment and the durations, then again, and once more
with ``--reuse``. Judged are ratios within that: the third to the second, and what the second said
that it would take to what it took. Without options that is the default run, of 120 cells.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST = 0.02
"""Of the run, for the same again with all results there."""
WITHIN = 0.2
"""Of the time a second run takes, for what it says before."""

_UNITS = {"s": 1, "min": 60, "h": 3600}


def _run(results: str, options: list[str]) -> tuple[float, str]:
    """Return the seconds of a run, and what it printed."""
    command = [sys.executable, "-m", "nox", "-s", "compat", "--", "--results", results, *options]
    begun = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begun
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return seconds, done.stdout + done.stderr


def _foretold(output: str) -> float:
    """Return the seconds that a run said it would take."""
    said = re.search(r"expected: about ((?:\d+ (?:s|min|h) ?)+)", output)
    parts = re.findall(r"(\d+) (s|min|h)", said[1]) if said else []
    return float(sum(int(number) * _UNITS[unit] for number, unit in parts))


def main() -> None:
    """Run, print the figures, and exit with 1 where one misses its budget."""
    options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as results:
        first, _ = _run(results, options)
        second, output = _run(results, options)
        again, reused = _run(results, [*options, "--reuse"])
    foretold, ratio = _foretold(output), again / second
    off = abs(foretold / second - 1)
    print(f"a run: {first:.0f} s, then {second:.0f} s, foretold {foretold:.0f} s: {off:.0%} off")
    print(next(line for line in reused.splitlines() if line.startswith("reused, not run")))
    print(f"the same with --reuse: {again:.1f} s, {ratio:.3f} of it (most: {MOST})")
    sys.exit(int(ratio > MOST or off > WITHIN))


if __name__ == "__main__":
    main()
