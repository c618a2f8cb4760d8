"""Runs of the harness that one of its sessions starts, and the folder of what comes of them."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from harness.machine.errors import UsageError
from harness.machine.processes import raise_exit
from harness.machine.tools import ROOT
from harness.run.folder import make_private


def results_folder(results: Path, session: str) -> Path:
    """Make the folder of what a session makes of several runs, beside those of other runs.

    Raises:
        UsageError: when it cannot be made.
    """
    moment = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    folder = results / f"{moment}-{session}-{secrets.token_hex(2)}"
    try:
        make_private(folder)
    except OSError as error:
        why = error.strerror
        raise UsageError(
            f"{results}: the report of its runs cannot be written there: {why}"
        ) from error
    return folder


def run_nox(words: Sequence[str], log: Path | None = None) -> None:
    """Run one nox command; its cells say how it ended, so its exit code does not.

    Args:
        words: of the command, which begins with ``nox``.
        log: where to put what it prints; None to let it be seen.
    """
    program, *rest = words
    # The nox of this very process: the one on PATH may be too old for the noxfile.
    command = [sys.executable, "-m", program, "--noxfile", str(ROOT / "noxfile.py"), *rest]
    if log is None:
        _wait(subprocess.Popen(command))
        return
    with log.open("wb") as output:
        _wait(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT))


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Wait for a run, which ends in order where this process is ended."""
    # nox ends on SIGTERM without unwinding, and would leave the run behind.
    before = signal.signal(signal.SIGTERM, raise_exit)
    try:
        process.wait()
    except KeyboardInterrupt:  # a terminal tells the run, too
        process.wait()
        raise
    except SystemExit:
        process.terminate()
        process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def journals_below(folder: Path) -> list[Path]:
    """Return the journals of the runs whose results are in the folder, in their order."""
    return sorted(path for path in folder.glob("*/journal.jsonl") if not path.parent.is_symlink())
