"""What a service answered that it has stored, and the rows that are there or not."""

from __future__ import annotations

import json

import pytest

from harness.client import acknowledged
from harness.client.acknowledged import judge_acknowledged, promised, told_rows
from harness.core.outcome import Status
from harness.stack.database.server import Address
from harness.stack.proxy.relay import Answer, Asked

TASK = "/flows/F/runs/7/steps/start/tasks/9"
DATABASE = Address("127.0.0.1", 1, "somebody", "", "there")


def asked(
    path: str, sent: object = None, told: object = None, status: int = 200, *, heard: bool = True
) -> Asked:
    answer = Answer(status, "", (), json.dumps(told).encode())
    return Asked(0.0, path, "POST", json.dumps(sent).encode(), answer, heard)


@pytest.mark.parametrize(
    ("one", "promise"),
    [
        (asked("/flows/F/run", {}, {"run_number": 7}), ("runs_v3", {"run_number": 7})),
        (asked("/flows/F/runs/7/steps/a/step", {}, {}), ("steps_v3", {"step_name": "a"})),
        (
            asked("/flows/F/runs/7/steps/start/task", {}, {"task_id": "9"}),
            ("tasks_v3", {"step_name": "start", "task_id": 9}),
        ),
        (
            asked(f"{TASK}/artifact", [{"name": "x", "attempt_id": 0, "sha": "…"}], {}),
            ("artifact_v3", {"step_name": "start", "task_id": 9, "name": "x", "attempt_id": 0}),
        ),
        (
            asked(f"{TASK}/metadata", [{"field_name": "a", "value": "b", "type": "c"}], {}),
            ("metadata_v3", {"step_name": "start", "task_id": 9, "field_name": "a", "value": "b"}),
        ),
    ],
)
def test_an_answer_promises_rows(one, promise):
    assert list(promised(one)) == [("F", "7", *promise)]


@pytest.mark.parametrize(
    "one",
    [
        asked("/flows/F", {}, {}),
        asked("/flows/F/run", {}, {"run_number": 7}, status=500),
        asked("/flows/F/runs/7/steps/a/step", {}, {}, status=409),
        asked("/flows/F/runs/mine/steps/a/step", {}, {}),
        asked("/flows/F/run", {}, ["odd"]),
        asked(f"{TASK}/artifact", "odd", {}),
        asked(f"{TASK}/heartbeat", {}, {}),
        Asked(0.0, "/flows/F/run", "POST", b"{}", Answer(200, "", (), b"half a")),
        Asked(0.0, "/flows/F/run", "POST"),
    ],
)
def test_what_promises_nothing(one):
    assert list(promised(one)) == []


def test_what_was_answered_and_is_not_there_fails(monkeypatch):
    rows = {"artifact_v3": [{"step_name": "start", "task_id": 9, "name": "x", "attempt_id": 0}]}
    monkeypatch.setattr(acknowledged, "run_rows", lambda *_: rows)
    there = asked(f"{TASK}/artifact", [{"name": "x", "attempt_id": 0}], {})
    gone = asked(f"{TASK}/artifact", [{"name": "y", "attempt_id": 0}], {})
    assert judge_acknowledged([there], DATABASE).status is Status.PASS
    found = judge_acknowledged([there, gone], DATABASE)
    assert found.status is Status.FAIL
    assert found.reason == (
        f"POST {TASK}/artifact was answered 200, and artifact_v3 has no row of this run with"
        " step_name 'start', task_id 9, name 'y', attempt_id 0"
    )
    assert judge_acknowledged([gone], None).status is Status.NOT_RUN


def test_what_a_client_was_not_told_it_does_not_know_to_be_stored():
    row = [{"field_name": "a", "value": "b"}]
    known = [asked(f"{TASK}/metadata", row, {}), asked(f"{TASK}/metadata", row, {}, heard=False)]
    other = asked(f"{TASK.replace('/7/', '/8/')}/metadata", row, {})
    assert {table: len(rows) for table, rows in told_rows([*known, other], "7").items()} == {
        "metadata_v3": 1
    }
