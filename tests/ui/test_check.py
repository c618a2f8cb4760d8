"""Whose fault it is that local data is gone, and how the cell of a run in a state is named."""

from __future__ import annotations

import dataclasses

import pytest

from harness.core.outcome import CheckOutcome, Status
from harness.proof.ui.sample_run import SampleRun
from harness.stack.database.server import Address
from harness.ui.check import _data_kept, _named_state
from harness.ui.live_runs import LiveRuns

ADDRESS = Address("127.0.0.1", 1, "u", "p", "d")


@pytest.fixture
def run() -> SampleRun:
    live, _ = LiveRuns(ADDRESS, "v2.5.1").samples
    fields = {"flow": "F", "run": "2", "datastore": "local", "status": "completed"}
    return dataclasses.replace(live, **fields)


SHOWN = CheckOutcome(Status.PASS)
OWN, OF_ANOTHER = "data/.metaflow/F/2/start/3/0.log", "data/.metaflow/F/1/start/2/0.log"


@pytest.mark.parametrize(
    ("resumed", "gone", "status"),
    [
        (False, [], "pass"),
        (False, [OF_ANOTHER], "pass"),
        (False, [OWN], "fail"),
        (True, [OWN], "fail"),
        # Which run's data it was that its logs were read from, nobody knows.
        (True, [OF_ANOTHER], "unsupported"),
        (True, [], "unsupported"),
    ],
)
def test_what_is_gone_is_the_fault_of_showing_its_run(run, resumed, gone, status):
    outcome = _data_kept(dataclasses.replace(run, resumed=resumed), gone, SHOWN)
    assert outcome.status.value == status


@pytest.mark.parametrize(("gone", "status"), [([], "unsupported"), ([OWN], "fail")])
def test_a_log_that_nobody_opened_tells_nothing_of_what_opening_does(run, gone, status):
    unseen = CheckOutcome(Status.UNSUPPORTED, "the UI shows an empty log")
    assert _data_kept(run, gone, unseen).status.value == status


def test_data_that_is_nowhere_is_not_judged(run):
    outcome = _data_kept(dataclasses.replace(run, datastore=""), [OWN], SHOWN)
    assert outcome.reason == "its data is nowhere, not local"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, ""),
        ({"status": "failed"}, "/state=failed"),
        ({"status": ""}, "/state=unknown"),
        ({"resumed": True, "retried": True}, "/state=completed-resumed-retried"),
    ],
)
def test_an_id_tells_the_state_of_what_did_not_just_complete(run, changes, named):
    assert _named_state(dataclasses.replace(run, **changes)) == named
