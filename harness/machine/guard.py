"""Outlives a run that is killed, and removes what its clients have stored by then.

What a harness writes is freed of secrets before it is on disk. What a product stores is as the
product stored it: output of a task may hold whatever the task knew. It goes with the run, and with
``kill -9`` nobody of the run is left to remove it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from harness.machine.processes import MARK, kill_marked, moments
from harness.machine.tools import ROOT

# What was sent SIGKILL writes no more within milliseconds.
_GONE_SECONDS = 5.0


class Guard:
    """A process that waits for the end of this one, until it is dismissed.

    Args:
        run: id of the run, as its processes are marked.
        work: folder of what it works with.
        spared_mark: what is marked so below the run is left running.
        spared_files: pattern of the names in ``work`` that stay.
    """

    def __init__(self, run: str, work: Path, *, spared_mark: str, spared_files: str) -> None:
        words = (run, str(work), spared_mark, spared_files)
        # Of the run's own mark, which none of its parts has: nothing but ``clean`` ends it so.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *words],
            cwd=ROOT,
            env={**os.environ, MARK: run},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Neither Ctrl-C nor the kill of a group is for it.
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """Let it end without doing anything: what there is has gone, or is kept. Safe twice."""
        # Somebody may have killed it.
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._process.communicate(b"dismissed")


def guard(run: str, work: Path, spared_mark: str, spared_files: str) -> None:
    """Kill what of a dead run works for its clients, and remove what they stored.

    A database runs on, and its files stay: asked to end, as ``clean`` does, it gives its shared
    memory back.
    """
    spared = f"{run}/{spared_mark}/"
    for _ in moments(_GONE_SECONDS):
        kill_marked(lambda mark: mark.startswith(f"{run}/") and not mark.startswith(spared))
        left = [path for path in _below(work) if not fnmatch(path.name, spared_files)]
        for path in left:
            if path.is_dir() and not path.is_symlink():
                # What one of them refuses must not keep the others; clean tells of it.
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if not any(map(os.path.lexists, left)):
            return


def _below(folder: Path) -> Iterable[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return ()


if __name__ == "__main__":
    # Nothing is written before the pipe ends: with what wrote to it, or when that dismisses.
    if not sys.stdin.buffer.read():
        guard(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
