"""A disk that is full, really: one line, no traceback, and every finished cell stays."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core.blame import blame
from harness.core.outcome import Status
from harness.machine.errors import InfraError, naming_machine
from harness.machine.processes import wait_until
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.evidence import evidence_of
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


@contextlib.contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    """Make a small disk of its own of a folder."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here; tests/core/test_journal.py has a limit instead")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room there is; return the file that has it."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return filler


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes."""
    with disk(tmp_path / "small", "4m") as folder:
        yield folder


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


@pytest.mark.parametrize("size", ["2m", "20m"])
def test_a_database_that_has_no_room_to_start_is_told_in_one_line(temporary: Path, size: str):
    with disk(temporary / size, size) as folder:
        server = EmbeddedPostgres(folder / "run", "tests-full-disk")
        with pytest.raises(InfraError) as told, naming_machine():
            server.start()
    assert re.fullmatch("the machine: No space left on device: .*PostgreSQL .*", str(told.value))


def test_a_database_that_has_no_room_any_more_is_told_by_that(temporary: Path):
    with disk(temporary / "80m", "80m") as folder:
        server = EmbeddedPostgres(folder / "run", "tests-full-disk")
        server.start()
        try:
            assert server.cluster is not None
            # As when the first connection comes after the disk is full.
            for written in server.cluster.data.rglob("pg_internal.init"):
                written.unlink()
            fill(folder)
            running: Any = SimpleNamespace(service=SimpleNamespace(name="any"))
            found = blame(evidence_of(running, server.address))
        finally:
            server.stop()
    assert found is not None
    assert found.sentence.startswith("the machine: No space left on device: the database does not")


@pytest.mark.exhaustive
def test_a_disk_that_others_fill_costs_no_finished_cell_and_the_run_goes_on(
    small: Path, tmp_path: Path
):
    services = ("2.0.4", "2.3", "2.5")
    given = ("--metaflow", "2.19.39", "--service", ",".join(services), "--probe", "hello")
    words = ("-s", "compat", "--", *given, "--jobs", "1", "--results", str(small))
    log = tmp_path / "output"

    def one_is_done() -> bool:
        return any(b'"kind":"cell"' in line for line in lines_of(small))

    with started(words, log, environment()) as process:
        wait_until(one_is_done, seconds=240, what="the first cell", log=log)
        filler = fill(small)
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
