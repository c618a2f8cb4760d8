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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


def used() -> float:
    """Return the processor's time of all ended processes so far."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def bare(python: Path, probe: Path, url: str) -> float:
    """Return the seconds of a run of a flow and of its resume, both started by hand."""
    before = used()
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
    return used() - before


@contextmanager
def prepared(names: Sequence[str], probe: str) -> Iterator[tuple[Run, list[tuple[Cell, Path]]]]:
    """Yield a run over the newest reference service, and each client's cell and interpreter."""
    catalog, found = load(), find_interpreters()
    with tempfile.TemporaryDirectory() as folder:
        given = ["--metaflow", ",".join(names), "--service", "2.5", "--probe", probe]
        given += ["--backend", "embedded", "--results", folder]
        options = parse("compat", given, catalog)
        chosen = {client: choose_python(client, found) for client in options.clients}
        pythons = {client: one for client, one in chosen.items() if not isinstance(one, str)}
        plan = make_plan(options, [OnPython(client, one[0]) for client, one in pythons.items()])
        run = Run(options, plan, Screen(Console(file=io.StringIO())))
        try:
            cells = []
            for cell in plan.cells:
                minor, interpreter = pythons[cell.client]
                wanted = run.clients.requirements(cell.client, plan.cells, minor)
                python = tool_python(f"client-{cell.client.name}", wanted, str(interpreter))
                cells.append((cell, python))
            yield run, cells
        finally:
            run.end()


def stack_of(run: Run, cell: Cell) -> Stack:
    """Return the stack of a cell, started if it is not there yet."""
    assert cell.service is not None
    return run.services()[1].get(cell.service, cell.point)


def _cell(run: Run, cell: Cell, python: Path, attempt: int) -> tuple[float, float]:
    """Return the seconds of a cell: of its client's programs, and of the harness itself."""
    stack = stack_of(run, cell)
    before, own = used(), time.process_time()
    outcome = run.clients.cell(cell, python, stack, attempt=attempt)
    if not outcome.status.expected:
        told = {name: check.reason for name, check in outcome.checks.items() if check.reason}
        print(f"{cell.id}: {outcome.status.value}: {told}", file=sys.stderr)
    return used() - before, time.process_time() - own


def _measure(run: Run, cell: Cell, python: Path) -> float:
    """Return what a cell takes beside its bare flow, and print it."""
    url, flow = stack_of(run, cell).running.url, cell.probe.path
    by_hand, programs, own = [], [], []
    for attempt in range(1, TIMES + 1):
        by_hand.append(bare(python, flow, url))
        of_client, of_harness = _cell(run, cell, python, attempt)
        programs.append(of_client)
        own.append(of_harness)
    ratio = (median(programs) + median(own)) / median(by_hand)
    print(
        f"{cell.client.name}: bare {median(by_hand):.2f} s, cell {median(programs):.2f} s and"
        f" {median(own):.2f} s of the harness: {ratio:.2f}",
        flush=True,
    )
    return ratio


def main() -> int:
    """Print a line for each client, and the mean; 1 where it is over its budget."""
    with prepared(sys.argv[1:] or CLIENTS, "basics") as (run, cells):
        ratios = [_measure(run, cell, python) for cell, python in cells]
    load_now = os.getloadavg()[0]
    print(f"a cell: {mean(ratios):.2f} of its bare flow (most: {MOST}); load {load_now:.1f}")
    return int(mean(ratios) > MOST)


if __name__ == "__main__":
    sys.exit(main())
