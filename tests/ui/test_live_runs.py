"""Runs on their way in a database of the harness's own, and a stand-in that shows them."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from harness.core.outcome import Status
from harness.machine.errors import InfraError
from harness.machine.processes import wait_until
from harness.proof.ui.acceptance import judge
from harness.stack.database.server import Address
from harness.ui import live_runs
from harness.ui.live_runs import WRITER, LiveRuns

pytestmark = pytest.mark.e2e

SHORT = 1.0


def _rows(address: Address) -> list[tuple[str, int]]:
    with closing(address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT flow_id, count(*) FROM runs_v3 GROUP BY 1 ORDER BY 1")
        return cursor.fetchall()


@pytest.mark.parametrize(
    ("fault", "red"),
    [("", set()), ("patient", {"silent"}), ("hasty", {"alive"}), ("status", {"silent"})],
)
def test_what_is_alive_runs_and_what_fell_silent_failed(migrated, standin, fault, red):
    database, _ = migrated
    live = LiveRuns(database.address, "reference-2.5")
    with live.beating(), standin(database.address, fault) as (api, _):
        found = {run.run: judge(api, run, SHORT) for run in live.samples}
    live.remove()
    wrong = {run: checks["status"].reason for run, checks in found.items()}
    assert {run for run, reason in wrong.items() if reason} == red, wrong
    for checks in found.values():
        assert checks["listed"].status is checks["tags"].status is Status.PASS
        assert checks["timeline"].status is Status.PASS
        assert checks["dag"].status is Status.UNSUPPORTED


def test_a_task_that_goes_on_has_no_end(migrated, standin):
    database, _ = migrated
    live = LiveRuns(database.address, "reference-2.5")
    with live.beating(), standin(database.address, "over") as (api, _):
        told = {run.run: judge(api, run, SHORT)["timeline"] for run in live.samples}
    live.remove()
    assert told["alive"].status is Status.FAIL
    assert "an end to 1 of 1 tasks of start, of which 1 have not ended" in told["alive"].reason
    assert told["silent"].status is Status.PASS


def test_they_begin_anew_leave_nothing_and_are_no_clients(migrated):
    database, _ = migrated
    before = _rows(database.address)
    live = LiveRuns(database.address, "reference-2.5")
    for _ in range(2):
        with live.beating():
            (own,) = set(_rows(database.address)) - set(before)
    assert own[1] == len(live.samples) == 2
    assert {run.client for run in live.samples} == {WRITER}
    live.remove()
    live.remove()
    assert _rows(database.address) == before


def test_the_one_that_is_alive_goes_on_and_the_other_does_not(migrated, monkeypatch):
    monkeypatch.setattr(live_runs, "_BEAT_SECONDS", 0.01)
    database, _ = migrated
    live = LiveRuns(database.address, "reference-2.5")

    def beats() -> dict[str, int]:
        with closing(database.address.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT run_id, last_heartbeat_ts FROM runs_v3 WHERE run_id <> ''")
            return dict(cursor.fetchall())

    with live.beating():
        first = beats()
        wait_until(lambda: beats()["alive"] > first["alive"], seconds=30, what="a heartbeat")
        assert beats()["silent"] == first["silent"] < first["alive"] - 86400
    live.remove()


def test_a_database_that_dies_meanwhile_is_said(migrated, monkeypatch):
    monkeypatch.setattr(live_runs, "_BEAT_SECONDS", 0.01)
    database, _ = migrated
    live = LiveRuns(database.address, "reference-2.5")
    asked = threading.Event()

    def dead(*_: object) -> None:
        asked.set()
        raise InfraError("the database is gone")

    with pytest.raises(InfraError, match="is gone"), live.beating():  # noqa: PT012 - the block lasts
        monkeypatch.setattr(live, "_execute", dead)
        assert asked.wait(30)
    monkeypatch.undo()
    live.remove()
