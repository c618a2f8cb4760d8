"""What two workers of a cluster do in the time of one, each on a core of its own.

``python benchmarks/cluster.py [OPTION …]``, with the harness's dependencies, starts a scheduler of
Dask and a worker of one thread, and runs ``nox -s compat -- --scheduler … OPTION …`` three times:
the first makes environments. Then it starts another worker and does the same. Judged is the quicker
of the other two by one worker, by the clock, to the quicker of two workers: what else the machine
does makes runs slower, never quicker. Unasked that is ``basics`` by 15 clients over 4 services.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harness.machine.processes import free_port, wait_until  # noqa: E402
from harness.machine.tools import tool_python  # noqa: E402
from harness.run.cluster.cluster import REQUIREMENTS  # noqa: E402

LEAST = 1.8
_TIMES = 2
_CLIENTS = (
    "2.5.4,2.6.3,2.7.23,2.8.6,2.9.15,2.10.11,2.11.16,2.12.39,2.13.10,2.14.3,2.15.21,2.16.8,2.17.5,"
    "2.18.13,2.19.39"
)
OPTIONS = ("--probe", "basics", "--metaflow", _CLIENTS, "--service", "minors")


def _program(ending: ExitStack, python: Path, log: Path, words: Sequence[str], core: int) -> None:
    """Start a program of Dask on a core, and end it with the block."""
    command = ["taskset", "-c", str(core), str(python), "-m", "dask", *words]
    output = ending.enter_context(log.open("w"))
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    ending.callback(process.wait)
    ending.callback(process.terminate)


def _seconds(address: str, results: Path, options: Sequence[str]) -> tuple[float, int]:
    """Return the seconds of a run by the clock, and how many cells it had."""
    command = [sys.executable, "-m", "nox", "-s", "compat", "--", "--scheduler", address]
    begun = time.monotonic()
    done = subprocess.run(
        [*command, "--results", str(results), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - begun
    cells = re.findall(r"^\[(\d+)/\d+\]", done.stdout, re.MULTILINE)
    if done.returncode or not cells:
        sys.exit(done.stdout + done.stderr)
    return seconds, int(cells[-1])


def main() -> int:
    """Print the times and their ratio; 1 where that is under its budget."""
    options = sys.argv[1:] or [*OPTIONS]
    python = tool_python("dask-worker", [*REQUIREMENTS, "nox[uv]"])
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    took = []
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as ending:
        folder = Path(temporary)
        # Databases of root run as somebody else.
        folder.chmod(0o755)
        log = folder / "scheduler.txt"
        listens = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
        _program(ending, python, log, ["scheduler", *listens], 1)
        for number in range(2):
            home = folder / str(number)
            home.mkdir()
            own = ["--no-nanny", "--nthreads", "1", "--local-directory", str(home)]
            words = ["worker", address, "--no-dashboard", *own]
            _program(ending, python, folder / f"{number}.txt", words, number)
            wait_until(
                lambda count=number: log.read_text().count("Register worker") > count,
                seconds=60,
                what="a worker",
                log=log,
            )
            _seconds(address, folder / "results", options)
            runs = [_seconds(address, folder / "results", options) for _ in range(_TIMES)]
            took.append(min(seconds for seconds, _ in runs))
            told = " and ".join(f"{seconds:.0f} s" for seconds, _ in runs)
            print(f"{number + 1} of {os.cpu_count()} cores: {runs[0][1]} cells in {told}")
    ratio = took[0] / took[1]
    print(f"two workers: {ratio:.2f} × one (least: {LEAST})")
    return int(ratio < LEAST)


if __name__ == "__main__":
    sys.exit(main())
