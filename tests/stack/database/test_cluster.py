"""What is left of a cluster is removed, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.machine.errors import InfraError
from harness.machine.processes import ManagedProcess
from harness.machine.tools import ROOT
from harness.stack.database.cluster import remove_leftovers


def test_cleans_up_after_a_killed_harness(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    script = (
        "import os, signal; from pathlib import Path\n"
        "from harness.stack.database.embedded import EmbeddedPostgres\n"
        f"server = EmbeddedPostgres(Path({str(folder)!r}), 'killed-harness')\n"
        "server.start()\n"
        "print(server._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert finished.returncode == -signal.SIGKILL
    pid = int(finished.stdout)
    os.kill(pid, 0)  # the server outlived the harness
    remove_leftovers(folder)
    assert [entry.name for entry in folder.iterdir()] == ["postgres.log"]
    # Its log says no more: who wrote it is dead. Without a parent it may stay as a zombie.
    command = Path(f"/proc/{pid}/cmdline")
    assert not command.exists() or not command.read_bytes()


def test_removes_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "postgres.temporary-folder").write_text(str(precious))
    with pytest.raises(InfraError, match="no temporary folder of PostgreSQL"):
        remove_leftovers(tmp_path)
    assert precious.exists()


def test_a_process_that_took_over_the_id_is_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "cluster" / "data"
    data.mkdir(parents=True)
    bystander = ManagedProcess(
        [sys.executable, "-c", "import signal; signal.pause()"],
        env={},
        mark="bystander",
        log=tmp_path / "bystander.log",
    )
    try:
        (data / "postmaster.pid").write_text(f"{bystander.pid}\n")
        remove_leftovers(tmp_path)
        assert bystander.poll() is None
    finally:
        bystander.stop()
    assert not data.exists()
