"""Runs on their way in a database of the harness's own, and a stand-in that shows them."""

from __future__ import annotations

from contextlib import closing

import pytest

from harness.core.outcome import Status
from harness.proof.ui.acceptance import judge
from harness.proof.ui.sample import sample
from harness.stack.database.server import Address
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
    live.beat()
    with standin(database.address, fault) as (api, _):
        found = {run.run: judge(api, run, SHORT) for run in live.samples}
    live.remove()
    wrong = {run: checks["status"].reason for run, checks in found.items()}
    assert {run for run, reason in wrong.items() if reason} == red, wrong
    for checks in found.values():
        assert checks["listed"].status is checks["tags"].status is Status.PASS
        assert checks["timeline"].status is checks["dag"].status is Status.UNSUPPORTED


def test_they_begin_anew_leave_nothing_and_are_no_clients(migrated):
    database, _ = migrated
    before = _rows(database.address)
    live = LiveRuns(database.address, "reference-2.5")
    live.beat()
    live.beat()
    (own,) = set(_rows(database.address)) - set(before)
    assert own[1] == len(live.samples) == 2
    assert {run.client for run in live.samples} == {WRITER}
    assert own[0] not in {run.flow for run in sample(database.address)}
    live.remove()
    live.remove()
    assert _rows(database.address) == before
