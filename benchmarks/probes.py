"""What each probe costs: its tasks, and the processor's time of all programs of its one cell.

Tasks are rows: those that a resume took over count, too.

Run it with the harness's dependencies: ``python benchmarks/probes.py [CLIENT] [DATASTORE]``. Each
probe's cell runs by itself over the newest reference service; the time is that of the client's
processes, without the service's and the database's. Two budgets are judged: the set that ``compat``
runs unasked, and all probes together. Both are seconds of a machine on which a bare flow of seven
tasks takes 4.9; the same flow, run before and after, says what they are here and now.
"""

from __future__ import annotations

import argparse
import io
import resource
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402

from harness.catalog.versions import load  # noqa: E402
from harness.cli.options import parse  # noqa: E402
from harness.cli.planning import OnPython, make_plan  # noqa: E402
from harness.machine.tools import tool_python  # noqa: E402
from harness.report.terminal import Screen  # noqa: E402
from harness.run.run import Run  # noqa: E402

CLIENT = "2.19.39"
BUDGET_DEFAULT = 6.0
BUDGET_ALL = 60.0
BARE = 4.9
_BARE_FLOW = """
from metaflow import FlowSpec, step

class BareFlow(FlowSpec):
"""
_STEP = """
    @step
    def {0}(self):
        {1}
"""
# What the client makes for itself is no task of the flow.
_TASKS = "SELECT count(*) FROM tasks_v3 WHERE flow_id = %s AND step_name <> '_parameters'"


def _seconds() -> float:
    """Return the processor's time of all ended processes so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _bare(python: Path, folder: Path, url: str) -> float:
    """Return the seconds of a flow of seven tasks in a row, over the service at a URL."""
    names = ["start", *(f"step_{number}" for number in range(5)), "end"]
    ways = [*(f"self.next(self.{name})" for name in names[1:]), "pass"]
    steps = "".join(_STEP.format(*both) for both in zip(names, ways, strict=True))
    file = folder / "bare.py"
    file.write_text(f"{_BARE_FLOW}{steps}\nBareFlow()\n", encoding="utf-8")
    before = _seconds()
    subprocess.run(
        [str(python), str(file), "--no-pylint", "run"],
        cwd=folder,
        env={
            "USER": "compat",
            "HOME": str(folder),
            "METAFLOW_DEFAULT_METADATA": "service",
            "METAFLOW_SERVICE_URL": url,
        },
        check=True,
        capture_output=True,
    )
    return _seconds() - before


def _costs(client: str, datastore: str, folder: Path) -> tuple[dict[str, float], float]:
    """Return the seconds of each probe's cell, by name, and those of a bare flow.

    A line of the table is printed as each cell ends.
    """
    given = ["--metaflow", client, "--service", "2.5", "--probe", "all", "--datastore", datastore]
    options = parse("compat", [*given, "--backend", "embedded", "--results", str(folder)], load())
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    plan = make_plan(options, [OnPython(one, minor) for one in options.clients])
    run = Run(options, plan, Screen(Console(file=io.StringIO())))
    python = tool_python(
        f"client-{client}", run.clients.requirements(plan.cells[0].client, plan.cells, minor)
    )
    _, stacks = run.services()
    found = {}
    try:
        service = plan.cells[0].service
        assert service is not None
        url = stacks.get(service, plan.cells[0].point).running.url
        _bare(python, folder, url)  # the client's modules are compiled once
        bare = [_bare(python, folder, url)]
        for cell in plan.cells:
            assert cell.service is not None
            stack = stacks.get(cell.service, cell.point)
            before = _seconds()
            status = run.clients.cell(cell, python, stack).status.value
            used = _seconds() - before
            with closing(stack.database.address.connect()) as connection:
                cursor = connection.cursor()
                cursor.execute(_TASKS, [cell.probe.flow])
                tasks = cursor.fetchone()[0]
            found[cell.probe.name] = used
            print(f"| {cell.probe.name} | {tasks} | {used:.1f} | {status} |", flush=True)
        bare.append(_bare(python, folder, url))
    finally:
        run.end()
    return found, sum(bare) / 2


def main() -> int:
    """Print a table, line by line, and both sums; 1 where one is over its budget."""
    parser = argparse.ArgumentParser(description="What each probe costs.")
    parser.add_argument("client", nargs="?", default=CLIENT)
    parser.add_argument("datastore", nargs="?", default="local")
    given = parser.parse_args()
    default = {probe.name for probe in parse("compat", [], load()).probes}
    print(f"client {given.client}, {given.datastore} data\n")
    print("| probe | tasks | CPU s | |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        costs, bare = _costs(given.client, given.datastore, Path(folder))
    whole = sum(costs.values())
    unasked = sum(used for name, used in costs.items() if name in default)
    here = bare / BARE
    print(f"\na bare flow of 7 tasks: {bare:.1f} s ({BARE}); in seconds of that machine:")
    print(
        f"run unasked ({', '.join(sorted(default))}): {unasked / here:.1f} s (< {BUDGET_DEFAULT})"
    )
    print(f"all of them: {whole / here:.1f} s (< {BUDGET_ALL})")
    return int(unasked >= BUDGET_DEFAULT * here or whole >= BUDGET_ALL * here)


if __name__ == "__main__":
    sys.exit(main())
