"""Flows that fail on purpose, and cards: the probes ``failing`` and ``card`` on real clients."""

from __future__ import annotations

import pytest

from tests.e2e.nox_runs import run

pytestmark = pytest.mark.e2e

FLOW = """
from metaflow import FlowSpec, step

ENDS = "failed"

class WellFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    WellFlow()
"""


def test_failing_runs_and_cards_are_read_again_at_later_stages(tmp_path):
    found = run(
        "fixed_db",
        tmp_path,
        *("--metaflow", "2.0.5,2.19.39", "--path", "2.0.4,2.5"),
        *("--probe", "failing,card"),
    )
    assert found.code == 0, found.output
    statuses = {
        (cell["client"], cell["probe"]): {
            name: check["status"] for name, check in cell["checks"].items()
        }
        for cell in found.cells
    }
    whole = dict.fromkeys(("run", "kept", "failed_task", "logs", "times", "exception"), "pass")
    assert statuses["2.0.5", "failing"] == statuses["2.19.39", "failing"] == whole
    old = statuses["2.0.5", "card"]
    assert (old.pop("run"), old.pop("logs")) == ("pass", "pass")
    assert "card" in old
    assert set(old.values()) == {"unsupported"}
    new = dict(statuses["2.19.39", "card"])
    assert new.keys() == {"run", "logs", *old}
    # There is no pandas unasked.
    assert new.pop("frame") == "unsupported"
    assert set(new.values()) == {"pass"}
    stages = [entry for entry in found.entries if entry["kind"] == "stage"]
    assert [stage["problems"] for stage in stages] == [[], []]
    # Four runs of a first stage by who wrote them, and all eight by the other client.
    assert [stage["rereads"] for stage in stages] == [0, 12]
    reads_logs = [line for line in stages[1]["known"] if "2.0.5 reads failing/logs" in line]
    assert len(reads_logs) == 1


def test_a_flow_that_ends_well_although_it_should_fail_fails(tmp_path):
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "well.py").write_text(FLOW, encoding="utf-8")
    found = run(
        "compat",
        tmp_path / "results",
        *("--metaflow", "2.19.39", "--service", "2.5"),
        *("--flow-dir", str(folder), "--probe", "well"),
    )
    assert found.code != 0
    assert found.cells[0]["checks"]["run"]["status"] == "fail"
    assert found.cells[0]["checks"]["run"]["reason"] == "the flow ended well, and it should fail"
