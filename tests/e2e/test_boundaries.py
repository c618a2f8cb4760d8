"""With --strategy boundaries few cells run, and what is inferred of the others is told as such."""

from __future__ import annotations

import pytest

from tests.e2e.nox_runs import nox, run

pytestmark = pytest.mark.e2e

GIVEN = ("--metaflow", "2.7.23,2.19.39", "--service", "all", "--probe", "hello")


def test_few_cells_run_and_the_others_are_inferred(tmp_path):
    words = ("--strategy", "boundaries", "--verify", "1", "--verify-seed", "4")
    found = run("compat", tmp_path, *GIVEN, *words)
    assert found.code == 0, found.output
    entries = [entry for entry in found.entries if entry["kind"] == "cell"]
    (planned,) = (entry["cells"] for entry in found.entries if entry["kind"] == "planned")
    assert sorted(one["id"] for one in entries) == sorted(one["id"] for one in planned)
    inferred = [one for one in entries if one["inferred"]]
    ran = {one["id"] for one in entries if not one["inferred"]}
    assert inferred
    assert len(ran) < len(planned)
    for one in inferred:
        assert set(one["inferred"]["beside"]) <= ran
        assert (one["status"], one["seconds"], one["flow_run"]) == ("pass", 0.0, "")
    assert f"boundaries: {len(ran)} of {len(planned)} cells ran in 2 rounds" in found.output
    assert "1 inferred cell ran (--verify-seed 4), all as inferred" in found.output
    assert f"({len(inferred)} inferred)" in found.output
    resumed = nox("-s", "compat", "--", "--resume", str(found.folder))
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "nothing is left to do" in resumed.stdout
