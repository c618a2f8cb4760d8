"""A disk that is full in mid-flow, really: of a program that runs, and of what it starts."""

from __future__ import annotations

import resource
import sys

import pytest

from harness.client import faults
from harness.client.faults import break_of, cannot_break
from harness.core.scenarios import FULL_DISK
from harness.machine.errors import InfraError
from harness.machine.processes import ManagedProcess, wait_until

WRITES = """
import pathlib, subprocess, sys, time
pathlib.Path("begun").write_text("yes")
while True:
    time.sleep(0.02)
    try:
        pathlib.Path("more").write_text("yes")
    except OSError as error:
        print(error, flush=True)
        break
child = "import pathlib; pathlib.Path('of-child').write_text('yes')"
sys.exit(subprocess.call([sys.executable, "-c", child]))
"""


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="of Linux")
def test_a_program_that_runs_and_its_children_write_no_more_and_the_next_one_does(
    tmp_path, surroundings
):
    here = surroundings(service_url="http://127.0.0.1:1")
    breaks = break_of(f"{FULL_DISK}=3", here)
    assert breaks is not None
    log = tmp_path / "log.txt"
    command = [sys.executable, "-c", WRITES]
    process = ManagedProcess(command, env={}, mark=here.mark, log=log, cwd=tmp_path)
    try:
        wait_until((tmp_path / "more").exists, seconds=20, what="the first file", log=log)
        assert breaks.do() == here.service_url
        assert process.wait(20) == 1
    finally:
        process.kill()
    said = log.read_text(encoding="utf-8")
    assert said.startswith("[Errno 27] File too large")
    assert said.splitlines()[-1] == "OSError: [Errno 27] File too large"
    (tmp_path / "of-next").write_text("yes", encoding="utf-8")


def test_where_nothing_can_be_broken_it_is_said(surroundings, monkeypatch):
    assert break_of("lost-answer", surroundings()) is None
    with pytest.raises(InfraError, match="service-restart=2: nothing that it breaks is the run's"):
        break_of("service-restart=2", surroundings())
    assert cannot_break("service-restart") == ""
    monkeypatch.delattr(faults.resource, "prlimit", raising=False)
    assert cannot_break("full-disk=7") == "it needs prlimit, which Linux has"
