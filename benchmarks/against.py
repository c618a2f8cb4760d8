"""What a run takes, beside the same by an earlier commit, and what of it is the harness's own.

``python benchmarks/against.py COMMIT [--session NAME] [OPTION …]`` runs ``nox -s NAME -- --probe
basics OPTION …``, of ``compat`` unasked, here, to have every environment and the durations of
cells, then by COMMIT in a worktree that shares the environments, then here again. Judged are ratios
within that: the third to the second by the clock, and the processor's time of nox's own process, in
which all of the harness is that is no client, service or database, to that of the whole run.
Without options that is the default run, of 120 cells. More cells at a time than cores, or another
load, are told beside: they decide the first. Of another session nothing is judged, only told.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
MOST = 0.7
"""Of the clock of the earlier commit."""
OWN = 0.03
"""Of the processor's time of a run, for the harness itself."""


@dataclass(frozen=True)
class Ran:
    """A run, in seconds.

    Attributes:
        clock: from its start to its end.
        cpu: of the processor, for everything that it waited for.
        own: of the processor, for nox's own process.
        cells: how many ran.
        load: of the machine when it began, by the minute.
    """

    clock: float
    cpu: float
    own: float
    cells: int
    load: float

    def __str__(self) -> str:
        used = self.cpu / self.clock / (os.cpu_count() or 1)
        return (
            f"{self.cells} cells in {self.clock:.0f} s, {self.cpu / self.cells:.1f} s of the"
            f" processor a cell, {used:.0%} of the machine, {self.own / self.cpu:.1%} of it the"
            f" harness's own; load at its start {self.load:.1f}"
        )


def _run(tree: Path, results: str, session: str, options: list[str]) -> Ran:
    command = [sys.executable, "-m", "nox", "-s", session, "--", "--results", results]
    begun, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryFile("w+") as output:
        started = subprocess.Popen(
            [*command, "--probe", "basics", *options],
            cwd=tree,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        process, own = psutil.Process(started.pid), 0.0
        # What a process alone has used is told only while it lives.
        while process.status() != psutil.STATUS_ZOMBIE:
            own = sum(process.cpu_times()[:2])
            time.sleep(0.2)
        _, status, used = os.wait4(started.pid, 0)
        clock = time.monotonic() - begun
        output.seek(0)
        said = output.read()
    cells = re.findall(r"^\[(\d+)/\d+\]", said, re.MULTILINE)
    if status or not cells:
        sys.exit(said)
    return Ran(clock, used.ru_utime + used.ru_stime, own, int(cells[-1]), load)


def main() -> None:
    """Run, print the figures, and exit with 1 where one misses its budget."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("commit", metavar="COMMIT")
    parser.add_argument("--session", metavar="NAME", default="compat")
    asked, options = parser.parse_known_args()
    commit, session = asked.commit, asked.session
    with tempfile.TemporaryDirectory() as folder:
        results, tree = f"{folder}/results", Path(folder, "tree")
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            (tree / ".nox").symlink_to(ROOT / ".nox")
            _run(ROOT, results, session, options)
            before = _run(tree, f"{folder}/before", session, options)
            now = _run(ROOT, results, session, options)
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    ratio, own = now.clock / before.clock, now.own / now.cpu
    print(f"{commit}: {before}\nnow: {now}")
    print(f"now by the clock: {ratio:.2f} of it; own: {own:.1%}")
    if session == "compat":
        print(f"at most: {MOST} and {OWN:.0%}")
        sys.exit(int(ratio > MOST or own > OWN))


if __name__ == "__main__":
    main()
