"""Answers that get lost between a real client and the reference service."""

from __future__ import annotations

import pytest

from harness.core.scenarios import KINDS
from tests.e2e.nox_runs import leftovers, run

pytestmark = pytest.mark.e2e

# A run or task that is made again, and metadata that is sent again, nothing tells from others.
TWICE = {"lost_create_run", "lost_create_task", "lost_metadata"}


def test_the_newest_client_loses_nothing_and_what_is_there_twice_is_declared(tmp_path):
    options = ("--metaflow", "2.19.39", "--service", "2.5", "--probe", "hello")
    found = run("compat", tmp_path, *options, "--scenario", "lost-answer")
    assert found.code == 0, found.output
    (cell,) = found.cells
    assert cell["id"] == "compat/2.19.39/reference-2.5/local/hello/scenario=lost-answer"
    assert "--scenario lost-answer" in cell["rerun"]
    statuses = found.checks()
    assert {name for name, status in statuses.items() if status == "expected-fail"} == TWICE
    assert statuses["run"] == statuses["artifacts"] == "pass"
    assert {statuses[f"lost_{name}"] for name in ("create_flow", "create_step", "ping")} == {"pass"}
    read = ("read_flow", "read_run", "read_step", "read_task", "read_more")
    assert {statuses[f"lost_{name}"] for name in read} == {"pass"}
    assert statuses["lost_tags"] == "pass"
    assert statuses["acknowledged"] == "pass"
    assert len(statuses) == 3 + len(KINDS)
    reason = cell["checks"]["lost_create_run"]["reason"]
    number = cell["flow_run"].partition("/")[2]
    assert reason.endswith(f"which nobody goes on with, is there beside the run {number}")
    relay = (found.folder / cell["evidence"]["relay"]).read_text(encoding="utf-8")
    assert "POST /flows/HelloFlow/run: 200; is cut off" in relay.splitlines()
    assert leftovers(tmp_path) == []
