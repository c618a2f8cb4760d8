"""A filter must leave exactly the entries that it is to leave."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from harness.proof.asking import Asking
from harness.proof.crowd import filter_runs, filter_tasks
from harness.proof.lists import hold_filter
from harness.proof.requests import Exchange
from tests.proof.standin import Answered, serving

ALL = [{"run_number": at, "status": "failed" if at % 2 else "completed"} for at in range(1, 6)]


def told(path: str, what: object, status: int = 200) -> Answered:
    assert parse_qs(urlsplit(path).query) == {"status": ["failed"]}
    return status, json.dumps(what).encode(), {}


FAILED = [one for one in ALL if one["status"] == "failed"]


@pytest.mark.parametrize(
    ("left", "status", "problem"),
    [
        (FAILED, 200, None),
        # In whatever order.
        (FAILED[::-1], 200, None),
        # It ignores what it is asked.
        (ALL, 200, "GET /runs?status=failed has 5 of 3: it lacks [] and has ['2', '4'] too many"),
        (
            [],
            200,
            "GET /runs?status=failed has 0 of 3: it lacks ['1', '3', '5'] and has [] too many",
        ),
        (FAILED * 2, 200, "has 6 of 3: it lacks [] and has ['1', '3', '5'] too many"),
        ("unsupported", 400, "a filter is refused: GET /runs?status=failed answered 400"),
    ],
)
def test_a_filter_is_held_against_what_it_is_to_leave(left, status, problem):
    with serving(lambda _, path: told(path, left, status)) as url:
        exchange = Exchange(url, None, ["F"])
        hold_filter(exchange, "/runs", {"status": "failed"}, "run_number", [1, 3, 5])
    if problem is None:
        assert exchange.problems == []
    else:
        (found,) = exchange.problems
        assert found.startswith("filters: ")
        assert problem in found


def test_a_filter_that_is_to_leave_nothing_must_leave_nothing():
    with serving(lambda _, path: told(path, ALL[:1])) as url:
        exchange = Exchange(url, None, ["F"])
        hold_filter(exchange, "/runs", {"status": "failed"}, "run_number", [])
    (found,) = exchange.problems
    assert found.endswith("has 1 of 0: it lacks [] and has ['1'] too many")


MINE, THEIRS = 1, 2
RUNS = {
    "user_name=second": [THEIRS],
    "user_name=first,second": [MINE, THEIRS],
    "_tags:all=mine,shared": [MINE],
    "_tags:any=mine,theirs": [MINE, THEIRS],
    "_tags=shared,theirs": [THEIRS],
    "status=completed": [MINE],
    "status=failed&user_name=first,second": [THEIRS],
    "status=completed,failed&user_name=first,second": [MINE, THEIRS],
}
"""Of two runs, those that a service leaves that filters as it should."""

TASKS = {
    "task_id:gt=3": [4],
    "user_name=nobody": [],
    "user_name=contract&task_id=3,1": [3, 1],
}
"""Of four tasks."""


def filtering(left: Mapping[str, list[int]], every: list[int]) -> AbstractContextManager[str]:
    """Serve a service that refuses what it does not know, and leaves ``every`` where not told."""
    made = iter(every)

    def answer(method: str, path: str) -> Answered:
        where, query = urlsplit(path).path, parse_qs(urlsplit(path).query)
        asked = "&".join(f"{name}={value}" for name, (value,) in query.items())
        body: object = [{"run_number": one, "task_id": one} for one in left.get(asked, every)]
        if method == "POST":
            number = next(made) if where.endswith("/run") else 1
            body = {"run_number": number, "task_id": number, "metadata_created": 1}
            if not where.endswith("/metadata"):
                del body["metadata_created"]
        return 400 if "unheard-of" in asked else 200, json.dumps(body).encode(), {}

    return serving(answer)


@pytest.mark.parametrize("left", [RUNS, {}])
def test_runs_are_filtered_where_a_service_refuses_what_it_does_not_know(left):
    with filtering(left, [MINE, THEIRS]) as url:
        asking = Asking(Exchange(url, None, ["F"]), "F")
        filter_runs(asking)
    assert asking.observations["runs of a status that is none"] == "400"
    wrong = [query for query in RUNS if not left and len(RUNS[query]) == 1]
    assert _named(asking) == [f"/flows/F/runs?{query}" for query in wrong]


@pytest.mark.parametrize("left", [TASKS, {}])
def test_tasks_are_filtered_where_a_service_refuses_what_it_does_not_know(left):
    with filtering(left, [1, 2, 3, 4]) as url:
        asking = Asking(Exchange(url, None, ["F"]), "F")
        filter_tasks(asking, "/flows/F/runs/1/steps/start", [1, 2, 3, 4])
    assert asking.observations["tasks of a time that is none"] == "400"
    assert len(_named(asking)) == (0 if left else len(TASKS))


def _named(asking: Asking) -> list[str]:
    begins = "filters: GET "
    assert all(problem.startswith(begins) for problem in asking.exchange.problems)
    told = [problem.removeprefix(begins).split(" has ")[0] for problem in asking.exchange.problems]
    return [unquote(one) for one in told]
