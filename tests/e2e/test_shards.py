"""Shards of a run on machines of their own, put together, are the run."""

from __future__ import annotations

import pytest

from harness.core.journal import read
from harness.core.view import View
from tests.e2e.nox_runs import NoxRun, nox, run

pytestmark = pytest.mark.e2e

CLIENTS = ("2.2.13", "2.7.23", "2.19.39")
GIVEN = ("--metaflow", ",".join(CLIENTS), "--probe", "hello")


def told(view: View) -> dict[str, object]:
    """Return what came of each cell that was planned, without what chance decides."""
    assert not view.missing
    return {
        cell.id: (cell.status, {name: check.status for name, check in cell.checks.items()})
        for cell in view.cells
    }


def test_shards_put_together_are_the_whole_run(tmp_path):
    whole = run("local", tmp_path / "whole", *GIVEN)
    assert whole.code == 0, whole.output
    shards: list[NoxRun] = []
    for number, client in enumerate(CLIENTS, 1):
        shard = f"{number}/{len(CLIENTS)}"
        shards.append(run("local", tmp_path / str(number), *GIVEN, "--shard", shard))
        assert shards[-1].code == 0, shards[-1].output
        assert [cell["client"] for cell in shards[-1].cells] == [client]
        assert f"has no part in --shard {shard}" in shards[-1].output
    folders = [str(shard.folder) for shard in shards]
    together = tmp_path / "together"
    reported = nox("-s", "report", "--", *folders, "--output", str(together))
    assert reported.returncode == 0, reported.stdout + reported.stderr
    merged = View(read(together))
    assert told(merged) == told(whole.view)
    assert merged.totals == whole.view.totals
    reported = nox("-s", "report", "--", *folders[:2], "--output", str(tmp_path / "two"))
    assert reported.returncode == 1
    assert "--shard 3/3 is missing: nox -s local -- --metaflow" in reported.stdout
