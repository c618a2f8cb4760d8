"""Rows that a check promises against the rows that are there."""

from __future__ import annotations

import pytest

from harness.client.rows import missing_rows

FOUND = {
    "runs_v3": [{"run_number": 1, "tags": ["a", "b"], "user_name": None}],
    "tasks_v3": [{"step_name": "work", "task_id": 2}, {"step_name": "work", "task_id": 3}],
}


@pytest.mark.parametrize(
    "promised",
    [
        {},
        {"runs_v3": []},
        {"runs_v3": [{}]},
        {"runs_v3": [{"tags": ["b"]}]},
        {"runs_v3": [{"tags": []}]},
        {"runs_v3": [{"user_name": None}]},
        {"tasks_v3": [{"step_name": "work"}] * 2},
        {"tasks_v3": [{"task_id": 3}, {"task_id": 2}], "runs_v3": [{"run_number": 1}]},
    ],
)
def test_what_is_there(promised):
    assert missing_rows(promised, FOUND) == ""


@pytest.mark.parametrize(
    ("promised", "missing"),
    [
        ({"runs_v3": [{"run_number": 2}]}, "runs_v3 has no row of this run with run_number 2"),
        ({"runs_v3": [{"tags": ["c"]}]}, "runs_v3 has no row of this run with tags ['c']"),
        (
            {"runs_v3": [{"user_name": ["x"]}]},
            "runs_v3 has no row of this run with user_name ['x']",
        ),
        ({"steps_v3": [{}]}, "steps_v3 has no row of this run with its id"),
        (
            {"runs_v3": [{}], "tasks_v3": [{"step_name": "work"}] * 3},
            "tasks_v3 has no row of this run with step_name 'work'",
        ),
        (
            {"tasks_v3": [{"step_name": "work", "task_id": 4}]},
            "tasks_v3 has no row of this run with step_name 'work', task_id 4",
        ),
        ({"runs_v3": [{"absent": 1}]}, "runs_v3 has no row of this run with absent 1"),
    ],
)
def test_what_is_not_there_is_named(promised, missing):
    assert missing_rows(promised, FOUND) == missing


def test_rows_found_are_not_used_up():
    for _ in range(2):
        assert missing_rows({"tasks_v3": [{"step_name": "work"}] * 2}, FOUND) == ""


def test_an_object_that_is_not_there_is_named_as_one():
    found = {"objects": [{"url": "s3://b/x", "size": 5}]}
    assert missing_rows({"objects": [{"url": "s3://b/x"}]}, found) == ""
    assert missing_rows({"objects": [{"url": "s3://b/x", "size": 6}]}, found) == (
        "the object store has no object with url 's3://b/x', size 6"
    )
