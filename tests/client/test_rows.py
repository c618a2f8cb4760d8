"""Rows that a check promises against the rows that are there."""

from __future__ import annotations

import pytest

from harness.client.rows import double_row, missing_rows, unused_task

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


@pytest.mark.parametrize(
    ("table", "found", "twice"),
    [
        ("steps_v3", {"steps_v3": [{"step_name": "start"}, {"step_name": "end"}]}, ""),
        (
            "steps_v3",
            {"steps_v3": [{"step_name": "start"}] * 2},
            "steps_v3 has two rows of this run with step_name 'start'",
        ),
        ("metadata_v3", {"metadata_v3": [{"task_id": 2, "field_name": "a", "value": "b"}]}, ""),
        (
            "metadata_v3",
            {"metadata_v3": [{"id": 1, "value": "a"}, {"id": 2, "value": "a"}]},
            "metadata_v3 has two rows of this run with value 'a'",
        ),
        (
            "artifact_v3",
            {"artifact_v3": [{"task_id": 2, "attempt_id": at, "name": "x"} for at in (0, 1)]},
            "",
        ),
        ("flows_v3", {"flows_v3": [{}, {}]}, ""),
    ],
)
def test_what_is_there_twice(table, found, twice):
    assert double_row(table, found) == twice


TASKS = [{"step_name": "start", "task_id": 2}, {"step_name": "start", "task_id": 3}]


@pytest.mark.parametrize(
    ("task_id", "found", "twice"),
    [
        ("2", {"tasks_v3": TASKS, "metadata_v3": [{"task_id": 3}]}, True),
        ("2", {"tasks_v3": TASKS, "artifact_v3": [{"task_id": 2}]}, False),
        # It is the other one that may not have begun yet.
        ("3", {"tasks_v3": TASKS, "metadata_v3": [{"task_id": 3}]}, False),
        ("2", {"tasks_v3": TASKS[:1]}, False),
        ("", {"tasks_v3": TASKS}, False),
    ],
)
def test_a_task_nobody_goes_on_with(task_id, found, twice):
    said = "of the tasks 2, 3 of the step start, 2 has neither artifacts nor metadata"
    assert unused_task(task_id, found) == (said if twice else "")
