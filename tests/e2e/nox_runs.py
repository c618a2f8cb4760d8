"""Runs the real ``nox`` command on the project, as a user does, and looks at what it left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.journal import read
from harness.core.view import View
from harness.machine.control_group import noted_groups
from harness.machine.processes import marked_processes
from harness.machine.tools import ROOT

NOTHING_KNOWN = ROOT / "tests" / "ui" / "expectations.json"
"""What is declared of the released UIs does not hold for a stand-in."""

SECONDS = 400
"""A nox run that takes longer than this hangs."""


def environment(**more: str) -> dict[str, str]:
    """Return this process's variables without what an outer nox session left in them.

    And without a Docker engine, so that runs are the same wherever the tests run; those that need
    it name it again.
    """
    left_out = ("NOX", "DOCKER_")
    inherited = {name: os.environ[name] for name in os.environ if not name.startswith(left_out)}
    inherited["DOCKER_HOST"] = f"unix://{ROOT}/there-is-no-engine"
    # The interpreter that runs the tests has what the noxfile needs: no environment is made for it.
    return {**inherited, "NOX_SCRIPT_MODE": "none", **more}


def command(*words: str, cwd: Path = ROOT) -> list[str]:
    """Return the nox command with these words behind it.

    Two runs must not make a client's environment at once: each worker of pytest has its own.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER") if cwd == ROOT else None
    own = ["--envdir", str(ROOT / ".nox" / f"tests-{worker}")] if worker else []
    return [sys.executable, "-m", "nox", *own, *words]


def nox(
    *words: str,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
    **more: Any,
) -> subprocess.CompletedProcess[str]:
    """Run nox to its end, which must come within the seconds given."""
    return subprocess.run(
        command(*words, cwd=cwd),
        cwd=cwd,
        env=dict(env or environment()),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        **more,
    )


@dataclass(frozen=True)
class NoxRun:
    """A finished nox run with one run of the harness in it."""

    code: int
    output: str
    folder: Path

    @property
    def view(self) -> View:
        """What the journal says."""
        return View(read(self.folder))

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The journal as a script reads it, once the harness finds it well."""
        read(self.folder)
        lines = (self.folder / "journal.jsonl").read_bytes().splitlines()
        return [json.loads(line) for line in lines]

    @property
    def cells(self) -> list[dict[str, Any]]:
        """The cells of the journal, the last entry of each."""
        found = {entry["id"]: entry for entry in self.entries if entry["kind"] == "cell"}
        return list(found.values())

    def checks(self, cell: int = 0) -> dict[str, str]:
        """Return the status of each check of a cell."""
        return {name: one["status"] for name, one in self.cells[cell]["checks"].items()}


def run(session: str, results: Path, *options: str, **more: Any) -> NoxRun:
    """Run a session with its results in a folder; return what came of it."""
    finished = nox("-s", session, "--", "--results", str(results), *options, **more)
    return finished_run(finished.returncode, finished.stdout + finished.stderr, results)


def finished_run(code: int, output: str, results: Path) -> NoxRun:
    """Return the newest run in a results folder."""
    assert (results / "latest").exists(), output
    return NoxRun(code, output, (results / "latest").resolve())


def leftovers(results: Path) -> list[str]:
    """Return what runs below a results folder left: processes, groups, and their own folders."""
    runs = [path.name for path in results.iterdir() if not path.is_symlink()]
    processes = [
        f"process {pid} of {mark}"
        for pid, mark in marked_processes()
        if mark.partition("/")[0] in runs
    ]
    groups = [f"the control group of {run}" for run in noted_groups() if run in runs]
    return processes + groups + [str(path) for path in results.glob("*/work")]


def copy_project(folder: Path) -> Path:
    """Copy the project's own files, without what its use left there."""
    copy = folder / "project"
    copy.mkdir()
    for name in ("noxfile.py", "versions.json", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    for name in ("harness", "flows"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def started(
    words: Sequence[str], log: Path, env: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a nox command in a process group of its own; it does not outlive the block.

    Args:
        words: behind ``nox``.
        log: the file for what it prints.
        env: its variables.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(*words),
            cwd=ROOT,
            env=dict(env),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Where the tests are a shell's background job, Ctrl-C is ignored by all they start.
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 - it sets a signal, nothing else
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def end(process: subprocess.Popen[bytes], how: signal.Signals) -> int:
    """Send a signal to the whole group, as a terminal does; return the exit code."""
    os.killpg(process.pid, how)
    return process.wait(timeout=60)


def declare(folder: Path, **entry: str) -> str:
    """Write a file of expectations with one entry, planted by a test; return its path."""
    whole = {**entry, "reason": "planted by the test", "link": None, "until": None}
    file = folder / "expectations.json"
    file.write_text(json.dumps({"schema": 1, "expectations": [whole]}), encoding="utf-8")
    return str(file)


def without_faults_of_1_0(file: Path) -> Path:
    """Declare what the project does, but what 1.0.x does wrong and its stand-in does right."""
    declared = json.loads((ROOT / "expectations.json").read_text(encoding="utf-8"))
    whole = declared["expectations"]
    kept = [one for one in whole if one["service"] != "released <2.0"]
    assert len(kept) < len(whole)
    file.write_text(json.dumps({**declared, "expectations": kept}), encoding="utf-8")
    return file
