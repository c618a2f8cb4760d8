"""A disk that is full, really: one line, no traceback, and every finished cell stays."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.outcome import Status
from tests.e2e.nox_runs import leftovers, run
from tests.e2e.test_ends import PLAIN

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
