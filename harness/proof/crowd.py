"""The part of the contract that needs many: writes at once, large bodies, pages and filters."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from harness.proof.asking import BODY, FAR, NEVER_GIVEN, Asking, StoppedError, artifact, datum
from harness.proof.changes import ARTIFACTS, METADATA, RUNS, STEPS, TASKS, Row
from harness.proof.lists import (
    hold_attempts,
    hold_filter,
    hold_newest_first,
    hold_selected,
    read_pages,
    times_of,
)

_AT_ONCE = 50
_PAGE = 20
_MANY = 201
"""About as many as a task with many artifacts sends in one request: 70 kB."""
_LARGE = 100_000
"""Characters of two bytes: far below the megabyte that released services take."""
_BAD_REQUEST = 400


def exercise_crowd(asking: Asking) -> None:
    """Register many tasks at the same time, of one of them many and large things, and ask for them.

    Raises:
        StoppedError: when what they need cannot be made.
    """
    # A run of their own: what is below one whose tags were changed may show the new ones.
    run = _run(asking, "run of many", BODY)
    step = f"{asking.flow}/runs/{run}/steps/start"
    asking.create("step of many", f"{step}/step", BODY, STEPS)
    tasks = _tasks_at_once(asking, step)
    task = f"{step}/tasks/{tasks[0] if tasks else NEVER_GIVEN}"
    far = artifact(FAR, 0)
    sent = [artifact("name", 0), far, *(artifact(f"many_{at}", 0) for at in range(_MANY - 2))]
    asking.create_all("many artifacts", f"{task}/artifact", sent, ARTIFACTS)
    asking.exchange.read("many artifacts", f"{task}/artifacts", sent)
    asking.exchange.read("many artifacts", f"{task}/artifacts/{quote(FAR)}", [far])
    if len(tasks) == _AT_ONCE:
        _selected(asking, step, tasks)
        filter_tasks(asking, step, tasks)
        _in_order(asking, run, step, tasks)
    filter_runs(asking)
    # Last: every write compares all rows.
    large = [datum("large", "ä" * _LARGE)]
    path = f"{task}/metadata"
    if asking.attempt("large metadata", path, large, METADATA).answer.ok:
        asking.exchange.read("large metadata", path, large)


def _run(asking: Asking, check: str, body: Row) -> int:
    """Register a run and return its number."""
    answer = asking.create(check, f"{asking.flow}/run", body, RUNS).answer
    number = str(answer.get("run_number"))
    if not number.isdecimal():
        asking.exchange.note(check, f"the run has no number: {answer}")
        raise StoppedError
    return int(number)


def _tasks_at_once(asking: Asking, step: str) -> list[int]:
    """Return the numbers of tasks that were registered at the same time, the least first."""
    exchange = asking.exchange
    bodies = [BODY] * _AT_ONCE
    written = exchange.write_at_once("tasks at once", f"{step}/task", bodies, TASKS)
    for answer in written:
        asking.keep_time(TASKS, answer)
    numbers = {str(answer.get("task_id")) for answer in written if answer.ok}
    if len(numbers) < _AT_ONCE:
        refused = next((answer for answer in written if not answer.ok), written[0])
        exchange.note("tasks at once", f"{len(numbers)} of {_AT_ONCE}: {refused}")
    return sorted(int(number) for number in numbers if number.isdecimal())


def _selected(asking: Asking, step: str, tasks: list[int]) -> None:
    """Give some tasks metadata, and select them by it where a release can."""
    first, second, third, *_, last = tasks
    # Not by number, and one of them in two requests: neither order is to come by itself.
    for task, metadata in (
        (last, [datum("colour", "red"), datum("shade", "dark red")]),
        (second, [datum("colour", "dark red")]),
        (first, [datum("colour", "blue")]),
        (third, [datum("shade", "red")]),
        (last, [datum("later", "1")]),
    ):
        path = f"{step}/tasks/{task}/metadata"
        asking.create_all("metadata of some tasks", path, metadata, METADATA)
    if not asking.get(f"{step}/filtered_tasks").ok:
        return
    for query, expected in (
        ({}, {first, second, third, last}),
        ({"metadata_field_name": "colour"}, {first, second, last}),
        ({"metadata_field_name": "colour", "pattern": "red"}, {second, last}),
        ({"metadata_field_name": "colour", "pattern": "^red"}, {last}),
        ({"pattern": "red"}, {second, third, last}),
        ({"metadata_field_name": "unheard-of"}, set[int]()),
    ):
        hold_selected(asking.exchange, step, query, expected)


def filter_tasks(asking: Asking, step: str, tasks: list[int]) -> None:
    """Ask for tasks by what tells them apart where a release can.

    Args:
        asking: what asks.
        step: path of the step.
        tasks: their numbers, the least first.
    """
    path, middle = f"{step}/tasks", tasks[len(tasks) // 2]
    status = asking.get(f"{path}?ts_epoch=unheard-of").status
    asking.observe("tasks of a time that is none", str(status))
    if status != _BAD_REQUEST:
        return  # it knows no filters, and answers all
    later = [one for one in tasks if one > middle]
    queries: list[tuple[dict[str, object], list[int]]] = [
        ({"task_id:gt": middle}, later),
        ({"user_name": "nobody"}, []),
        ({"user_name": "contract", "task_id": f"{middle},{tasks[0]}"}, [middle, tasks[0]]),
    ]
    if asking.exchange.sees_rows:
        times = times_of(asking.exchange.rows()[TASKS], "task_id")
        then = times[str(middle)]
        queries.append(({"ts_epoch:le": then}, [one for one in tasks if times[str(one)] <= then]))
    for query, expected in queries:
        hold_filter(asking.exchange, path, query, "task_id", expected)


def filter_runs(asking: Asking) -> None:
    """Register runs of two users, and ask for them by what tells them apart where a release can."""
    mine = {**BODY, "user_name": "first", "tags": ["mine", "shared"]}
    mine_run = _run(asking, "run of another user", mine)
    theirs = _run(
        asking, "run of another user", {**mine, "user_name": "second", "tags": ["theirs", "shared"]}
    )
    path = f"{asking.flow}/runs"
    status = asking.get(f"{path}?status=unheard-of").status
    asking.observe("runs of a status that is none", str(status))
    if status != _BAD_REQUEST:
        return
    _end_well(asking, f"{path}/{mine_run}")
    queries: list[tuple[dict[str, object], Iterable[object]]] = [
        ({"user_name": "second"}, [theirs]),
        ({"user_name": "first,second"}, [mine_run, theirs]),
        ({"_tags:all": "mine,shared"}, [mine_run]),
        ({"_tags:any": "mine,theirs"}, [mine_run, theirs]),
        ({"_tags": "shared,theirs"}, [theirs]),
        ({"status": "completed"}, [mine_run]),
        # By its lack of heartbeats. Of one that has had them, time decides.
        ({"status": "failed", "user_name": "first,second"}, [theirs]),
        ({"status": "completed,failed", "user_name": "first,second"}, [mine_run, theirs]),
    ]
    if asking.exchange.sees_rows:
        times = times_of(asking.exchange.rows()[RUNS], "run_number")
        then = times[str(mine_run)]
        queries += [
            ({"ts_epoch:ge": then}, [run for run in times if times[run] >= then]),
            ({"ts_epoch:lt": then}, [run for run in times if times[run] < then]),
        ]
    for query, expected in queries:
        hold_filter(asking.exchange, path, query, "run_number", expected)


def _end_well(asking: Asking, run: str) -> None:
    """Let the step ``end`` of a run say that it went well, as clients do."""
    step = f"{run}/steps/end"
    asking.create("step of many", f"{step}/step", BODY, STEPS)
    task = asking.create("task", f"{step}/task", BODY, TASKS).answer.get("task_id")
    said = [datum("attempt_ok", "True")]
    asking.create_all("metadata of some tasks", f"{step}/tasks/{task}/metadata", said, METADATA)


def _in_order(asking: Asking, run: int, step: str, tasks: list[int]) -> None:
    """Ask for lists whose order, or whose pages, a release promises."""
    exchange, first, second, last = asking.exchange, tasks[0], tasks[1], tasks[-1]
    # A task that comes later in the table, and first in the list.
    sent = [artifact(name, 1) for name in ("name", "x")]
    asking.create_all(
        "artifacts of a second attempt", f"{step}/tasks/{second}/artifact", sent, ARTIFACTS
    )
    hold_attempts(exchange, f"{asking.flow}/runs/{run}/artifacts")
    rows = exchange.rows()
    metadata = f"{step}/tasks/{last}/metadata"
    told = times_of(rows[METADATA], "id", task_id=last)
    paged = [
        read_pages(exchange, path, key, stored, size)
        for path, key, stored, size in (
            (f"{step}/tasks", "task_id", times_of(rows[TASKS], "task_id", run_number=run), _PAGE),
            (
                f"{step}/tasks/{first}/artifacts",
                "name",
                times_of(rows[ARTIFACTS], "name", task_id=first),
                _PAGE,
            ),
            (f"{asking.flow}/runs", "run_number", times_of(rows[RUNS], "run_number"), 1),
            (metadata, "id", told, 1),
        )
    ]
    asking.observe("pages", "known" if all(paged) else "some" if any(paged) else "unknown")
    if all(paged):
        found = [str(one.get("id")) for one in asking.get(metadata).objects]
        hold_newest_first(exchange, f"GET {metadata}", found, told)
