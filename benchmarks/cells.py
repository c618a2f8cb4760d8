"""What a cell takes beside its bare flow, in time of the processor, by three clients.

``python benchmarks/cells.py [CLIENT …]`` runs the cell of ``basics`` over the newest reference
service, and in turn, by hand, what it does with its flow: a run and a resume. Of the cell all
counts that its client's programs use, reading back included, and what the harness uses itself; the
service and the database serve both alike, and are left out. Judged is the mean of the ratios.
"""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402

from harness.catalog.interpreters import choose_python, find_interpreters  # noqa: E402
from harness.catalog.versions import load  # noqa: E402
from harness.cli.options import parse  # noqa: E402
from harness.cli.planning import OnPython, make_plan  # noqa: E402
from harness.core.plan import Cell  # noqa: E402
from harness.machine.tools import tool_python  # noqa: E402
from harness.report.terminal import Screen  # noqa: E402
from harness.run.run import Run  # noqa: E402
from harness.stack.stacks import Stack  # noqa: E402

CLIENTS = ("2.2.5", "2.8.5", "2.19.39")
MOST = 1.25
TIMES = 5


def _used() -> float:
    """Return the processor's time of all ended processes so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _bare(python: Path, probe: Path, url: str) -> float:
    """Return the seconds of a run and a resume of a flow, started by hand."""
    before = _used()
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "USER": "compat",
            "HOME": folder,
            "LANG": "C.UTF-8",
            "METAFLOW_DEFAULT_METADATA": "service",
            "METAFLOW_SERVICE_URL": url,
        }
        for words in (["run", "--run-id-file", "id"], ["resume", "end", "--origin-run-id"]):
            origin = [] if words[0] == "run" else [Path(folder, "id").read_text("utf-8")]
            subprocess.run(
                [str(python), str(probe), "--no-pylint", *words, *origin],
                cwd=folder,
                env=environment,
                check=True,
                capture_output=True,
            )
    return _used() - before


def _cell(run: Run, cell: Cell, python: Path, stack: Stack, attempt: int) -> tuple[float, float]:
    """Return the seconds of a cell: of its client's programs, and of the harness itself."""
    before, own = _used(), time.process_time()
    outcome = run.clients.cell(cell, python, stack, attempt=attempt)
    if not outcome.status.expected:
        told = {name: check.reason for name, check in outcome.checks.items() if check.reason}
        print(f"{cell.id}: {outcome.status.value}: {told}", file=sys.stderr)
    return _used() - before, time.process_time() - own


def main() -> int:
    """Print a line for each client, and the mean; 1 where it is over its budget."""
    names = sys.argv[1:] or CLIENTS
    catalog, found, ratios = load(), find_interpreters(), []
    with tempfile.TemporaryDirectory() as folder:
        options = parse(
            "compat",
            [
                *("--metaflow", ",".join(names), "--service", "2.5", "--probe", "basics"),
                *("--backend", "embedded", "--results", folder),
            ],
            catalog,
        )
        chosen = {client: choose_python(client, found) for client in options.clients}
        pythons = {client: one for client, one in chosen.items() if not isinstance(one, str)}
        plan = make_plan(options, [OnPython(client, one[0]) for client, one in pythons.items()])
        run = Run(options, plan, Screen(Console(file=io.StringIO())))
        try:
            _, stacks = run.services()
            for cell in plan.cells:
                minor, interpreter = pythons[cell.client]
                wanted = run.clients.requirements(cell.client, plan.cells, minor)
                python = tool_python(f"client-{cell.client.name}", wanted, str(interpreter))
                assert cell.service is not None
                stack = stacks.get(cell.service, cell.point)
                probe, url = cell.probe.path, stack.running.url
                _bare(python, probe, url)  # modules are compiled once
                bare, cells, own = [], [], []
                for attempt in range(1, TIMES + 1):
                    bare.append(_bare(python, probe, url))
                    programs, harness = _cell(run, cell, python, stack, attempt)
                    cells.append(programs)
                    own.append(harness)
                ratios.append((median(cells) + median(own)) / median(bare))
                print(
                    f"{cell.client.name}: bare {median(bare):.2f} s, cell {median(cells):.2f} s and"
                    f" {median(own):.2f} s of the harness: {ratios[-1]:.2f}",
                    flush=True,
                )
        finally:
            run.end()
    print(
        f"a cell: {mean(ratios):.2f} of its bare flow (most: {MOST}); load {os.getloadavg()[0]:.1f}"
    )
    return int(mean(ratios) > MOST)


if __name__ == "__main__":
    sys.exit(main())
