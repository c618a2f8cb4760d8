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
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from harness.machine.control_group import leave_group
from harness.machine.errors import InfraError
from harness.machine.processes import MARK, kill_parts, moments
from harness.machine.strays import kill_strays
from harness.machine.tools import ROOT

# For what it looks at; a disk or a network may hold what was killed.
_SECONDS = 20.0
# Long enough for one that was just started to bear its mark.
_PAUSE = 0.1
# So often nobody was there: who is started while processes are listed is not in the list.
_QUIET = 3
_DISMISSED_SECONDS = 5.0
_READY = b"ready"


class Guard:
    """A process that waits for the end of this one, until it is dismissed.

    Args:
        run: id of the run, as its processes are marked.
        work: folder of what it works with.
        spared_mark: what is marked so below the run is left running.
        spared_files: pattern of the names in ``work`` that stay.

    Raises:
        InfraError: when it does not start.
    """

    def __init__(self, run: str, work: Path, *, spared_mark: str, spared_files: str = "") -> None:
        words = (run, str(work), spared_mark, spared_files)
        # Of the run's own mark, which none of its parts has: nothing but ``clean`` ends it so.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *words],
            env={**os.environ, "PYTHONPATH": str(ROOT), MARK: run},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Neither Ctrl-C nor the kill of a group is for it.
            start_new_session=True,
        )
        assert self._process.stdout is not None, "it is a pipe"
        if self._process.stdout.read(len(_READY)) != _READY:
            self._process.communicate()
            raise InfraError(f"the guard of {run} ended with exit code {self._process.returncode}")

    def dismiss(self) -> None:
        """Let it end without doing anything: what there is has gone, or is kept. Safe twice."""
        # Somebody may have killed it, or stopped it: no reason for a run not to end.
        with contextlib.suppress(BrokenPipeError, ValueError):
            try:
                self._process.communicate(b"dismissed", timeout=_DISMISSED_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.communicate()


def guard(run: str, work: Path, spared_mark: str, spared_files: str) -> None:
    """Kill what of a dead run works for its clients, and remove what they stored.

    A database runs on, and its files stay: asked to end, as ``clean`` does, it gives its shared
    memory back.
    """
    quiet = 0
    for _ in moments(_SECONDS, _PAUSE):
        killed = kill_parts(run, spared_mark)
        left = [path for path in _below(work) if not fnmatch(path.name, spared_files)]
        for path in left:
            killed += kill_strays(path)
            _remove(path)
        quiet = 0 if killed or left else quiet + 1
        if quiet == _QUIET:
            return


def _below(folder: Path) -> Sequence[Path]:
    # A product may have put a link in its place, to what is somebody else's.
    if folder.is_symlink():
        return ()
    try:
        return list(folder.iterdir())
    except OSError:
        return ()


def _remove(path: Path) -> None:
    # What one of them refuses must not keep the others; clean tells of it.
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _main(run: str, work: str, spared_mark: str, spared_files: str) -> None:
    # Which may be that of another run of this process, and end with that.
    leave_group()
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    # Nothing comes before the pipe ends: with whom it is of, or when that dismisses.
    if not sys.stdin.buffer.read():
        guard(run, Path(work), spared_mark, spared_files)


if __name__ == "__main__":
    _main(*sys.argv[1:])
