"""A disk that is full, really: one line, no traceback, and every finished cell stays."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.outcome import Status
from harness.machine.processes import wait_until
from tests.e2e.nox_runs import environment, finished_run, leftovers, nox, run, started
from tests.e2e.test_ends import PLAIN
from tests.e2e.test_resume import lines_of

pytestmark = pytest.mark.e2e

# It takes all the room there is, and says so as any program does.
FILLS = PLAIN.replace("PlainFlow", "FillsFlow").replace(
    "        self.next(self.end)",
    """        import os
        with open(os.path.join(os.environ["TMPDIR"], "all"), "wb") as file:
            while True:
                file.write(b"x" * 1000)
                file.flush()
        self.next(self.end)""",
)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here; tests/core/test_journal.py has a limit instead")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_costs_the_cell_alone_that_found_it_full(small: Path, tmp_path: Path):
    flows = tmp_path / "flows"
    flows.mkdir()
    for name, text in {"a": PLAIN, "b": FILLS, "c": PLAIN}.items():
        (flows / f"{name}.py").write_text(text, encoding="utf-8")
    given = ("--metaflow", "2.19.39", "--flow-dir", str(flows), "--probe", "all", "--jobs", "1")
    found = run("local", small, *given)
    assert found.code != 0
    assert "Traceback" not in found.output
    statuses = {cell.probe: cell.status for cell in found.view.cells}
    assert statuses == {"a": Status.PASS, "b": Status.INFRA, "c": Status.PASS}
    full = next(cell for cell in found.view.finished if cell.probe == "b")
    assert full.checks["run"].reason == "the machine: No space left on device"
    assert [one.status for one in found.view.earlier(full)] == [Status.INFRA]
    assert leftovers(small) == []


@pytest.mark.exhaustive
def test_a_disk_that_others_fill_costs_no_finished_cell_and_the_run_goes_on(
    small: Path, tmp_path: Path
):
    services = ("2.0.4", "2.3", "2.5")
    given = ("--metaflow", "2.19.39", "--service", ",".join(services), "--probe", "hello")
    words = ("-s", "compat", "--", *given, "--jobs", "1", "--results", str(small))
    log, filler = tmp_path / "output", small / "filler"

    def one_is_done() -> bool:
        return any(b'"kind":"cell"' in line for line in lines_of(small))

    with started(words, log, environment()) as process:
        wait_until(one_is_done, seconds=240, what="the first cell", log=log)
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        code = process.wait(240)
    output, before = log.read_text(encoding="utf-8"), lines_of(small)
    assert code != 0
    assert "Traceback" not in output
    assert "No space left on device" in output
    filler.unlink()
    done = nox("-s", "compat", "--", "--resume", "--results", str(small))
    assert done.returncode == 0, done.stdout + done.stderr
    found = finished_run(done.returncode, done.stdout + done.stderr, small)
    assert lines_of(small)[: len(before)] == before
    assert [(cell["service"], cell["status"]) for cell in found.cells] == [
        (f"reference-{service}", "pass") for service in services
    ]
    filled = [line for line in before if b'"kind":"cell"' in line and b'"pass"' in line]
    assert filled, "what was done before stays"
    assert leftovers(small) == []
