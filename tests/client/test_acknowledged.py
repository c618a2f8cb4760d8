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


ARTIFACT = {"name": "x", "attempt_id": 0, "location": "/x", "sha": "1f", "tags": ["a"]}
METADATA = {"field_name": "a", "value": "b", "type": "c", "user_name": "me"}
OF_TASK = {"step_name": "start", "task_id": 9}


@pytest.mark.parametrize(
    ("one", "promise"),
    [
        (
            asked("/flows/F/run", {"tags": ["a"]}, {"run_number": 7}),
            ("runs_v3", {"run_number": 7}, {"tags": ["a"]}),
        ),
        (asked("/flows/F/runs/7/steps/a/step", {}, {}), ("steps_v3", {"step_name": "a"}, {})),
        (
            asked("/flows/F/runs/7/steps/start/task", {"user_name": "me"}, {"task_id": "9"}),
            ("tasks_v3", OF_TASK, {"user_name": "me"}),
        ),
        (
            asked(f"{TASK}/artifact", [{**ARTIFACT, "odd": 1}], {"artifacts_created": 1}),
            (
                "artifact_v3",
                {**OF_TASK, "name": "x", "attempt_id": 0},
                {"location": "/x", "sha": "1f", "tags": ["a"]},
            ),
        ),
        # It was there already, with whatever values.
        (
            asked(f"{TASK}/artifact", [ARTIFACT], {"artifacts_created": 0}),
            ("artifact_v3", {**OF_TASK, "name": "x", "attempt_id": 0}, {}),
        ),
        (
            asked(f"{TASK}/metadata", [METADATA], {"metadata_created": 1}),
            (
                "metadata_v3",
                {**OF_TASK, "field_name": "a", "value": "b"},
                {"type": "c", "user_name": "me"},
            ),
        ),
        (
            asked("/flows/F/runs/7/tag/mutate", {"tags_to_add": ["t"]}, {})._replace(
                method="PATCH"
            ),
            ("runs_v3", {"run_number": 7}, {"tags": ["t"]}),
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
        asked("/flows/F/runs/7/steps/start/task", {}, {"task_id": "mine"}),
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


def judged(monkeypatch, sent: list[Asked], rows: dict, runs: tuple[int, ...] = ()) -> str:
    monkeypatch.setattr(acknowledged, "run_rows", lambda *_: rows)
    monkeypatch.setattr(acknowledged, "tagged_runs", lambda *_: list(runs))
    found = judge_acknowledged(sent, DATABASE, "compat:1")
    assert (found.status is Status.PASS) == (not found.reason)
    return found.reason


@pytest.mark.parametrize(
    ("column", "value"), [("sha", "2e"), ("location", None), ("tags", []), ("tags", None)]
)
def test_a_value_that_is_not_there_as_it_was_sent_fails(monkeypatch, column, value):
    stored = asked(f"{TASK}/artifact", [ARTIFACT], {"artifacts_created": 1})
    row = {**OF_TASK, **ARTIFACT, "tags": ["a", "more"]}
    assert judged(monkeypatch, [stored], {"artifact_v3": [row]}) == ""
    assert judged(monkeypatch, [stored], {"artifact_v3": [{**row, column: value}]}) == (
        f"POST {TASK}/artifact was answered 200, and the row of artifact_v3 with step_name 'start',"
        f" task_id 9, name 'x', attempt_id 0 has {column} {value!r} where {ARTIFACT[column]!r} was"
        " sent"
    )


def test_what_is_there_more_often_than_it_was_asked_for_fails(monkeypatch):
    stored = asked(f"{TASK}/metadata", [METADATA], {"metadata_created": 1})
    # Answered or not: the service may have done it.
    unanswered = stored._replace(answer=None)
    rows = {"metadata_v3": [{**OF_TASK, **METADATA}] * 2}
    assert judged(monkeypatch, [stored, unanswered], rows) == ""
    assert judged(monkeypatch, [stored], rows) == (
        "metadata_v3 has two rows of this run with step_name 'start', task_id 9, field_name 'a',"
        " value 'b', type 'c', user_name 'me', and 1 was asked for"
    )


def test_so_does_a_task_or_a_run_that_nobody_asked_for(monkeypatch):
    run = asked("/flows/F/run", {}, {"run_number": 7})
    task = asked("/flows/F/runs/7/steps/start/task", {}, {"task_id": "9"})
    there = {"runs_v3": [{"run_number": 7}]}
    one = {**there, "tasks_v3": [OF_TASK]}
    two = {**there, "tasks_v3": [OF_TASK, {**OF_TASK, "task_id": 10}]}
    assert judged(monkeypatch, [run, task], one, (7,)) == ""
    assert judged(monkeypatch, [run, task, task._replace(answer=None)], two, (7,)) == ""
    assert judged(monkeypatch, [run, task], two, (7,)) == (
        "tasks_v3 has two rows of this run with step_name 'start', and 1 was asked for"
    )
    assert judged(monkeypatch, [run, task], one, (7, 8)) == (
        "runs_v3 has the runs 7, 8 of F, and 1 asked for"
    )
