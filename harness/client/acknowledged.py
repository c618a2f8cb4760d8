"""What a service answered that it has stored, compared with the rows that are there."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

from harness.client.rows import Row, missing_rows
from harness.core.outcome import CheckOutcome, Status
from harness.core.scenarios import kind_of
from harness.stack.database.rows import run_rows
from harness.stack.database.server import Address
from harness.stack.proxy.relay import Answer, Asked

_PARTS = re.compile(
    r"/flows/(?P<flow>[^/]+)(/runs/(?P<run>[^/]+)(/steps/(?P<step>[^/]+)(/tasks/(?P<task>[^/]+))?)?)?"
)
_NUMBER = re.compile(r"[0-9]{1,18}")
# What tells a row from others of its table, as clients send it.
_TOLD = {"artifact_v3": ("name", "attempt_id"), "metadata_v3": ("field_name", "value")}


def judge_acknowledged(asked: Sequence[Asked], database: Address | None) -> CheckOutcome:
    """Judge whether everything is there that a service answered 2xx to.

    Args:
        asked: the requests, with their answers.
        database: where the rows are; None where nobody sees them.
    """
    if database is None:
        return CheckOutcome(Status.NOT_RUN, "nobody sees the rows of the service")
    found: dict[tuple[str, str], Mapping[str, Sequence[Row]]] = {}
    for one in asked:
        for flow, run, table, row in promised(one):
            if (flow, run) not in found:
                found[flow, run] = run_rows(database, flow, run)
            missing = missing_rows({table: [row]}, found[flow, run])
            if missing and one.answer is not None:
                said = f"{one.method} {one.path} was answered {one.answer.status}, and {missing}"
                return CheckOutcome(Status.FAIL, said)
    return CheckOutcome(Status.PASS)


def told_rows(asked: Sequence[Asked], run_id: str) -> Mapping[str, Sequence[Row]]:
    """Return by table the rows of a run that its client knows to be stored, as often as it does."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for one in asked:
        for _, run, table, row in promised(one) if one.told else ():
            if run == run_id:
                found[table].append(row)
    return found


def promised(asked: Asked) -> Iterator[tuple[str, str, str, Row]]:
    """Yield what an answer says is stored now: a flow, a run's number, a table and columns.

    Of a task or a run whose id is no number nothing is said: rows have those elsewhere.
    """
    path = urlsplit(asked.path).path
    kind, parts = kind_of(asked.method, path), _PARTS.match(path)
    answer = asked.answer
    if kind is None or parts is None or answer is None or not is_good(answer):
        return
    flow, run, step, task = (unquote(parts[name] or "") for name in ("flow", "run", "step", "task"))
    if kind.table == "runs_v3":
        run = str(_told(answer, "run_number"))
        rows: Iterable[Row] = [{"run_number": int(run)}] if _NUMBER.fullmatch(run) else []
    elif kind.table == "steps_v3":
        rows = [{"step_name": step}]
    elif kind.table == "tasks_v3":
        task = str(_told(answer, "task_id"))
        rows = [{"step_name": step, "task_id": int(task)}] if _NUMBER.fullmatch(task) else []
    elif kind.table in _TOLD and _NUMBER.fullmatch(task):
        of_task = {"step_name": step, "task_id": int(task)}
        rows = [of_task | row for row in _sent(asked.body, _TOLD[kind.table])]
    else:
        rows = []
    if _NUMBER.fullmatch(run):
        yield from ((flow, run, kind.table, row) for row in rows)


def _sent(body: bytes, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the columns of each row that a client asked to be stored."""
    sent = _json(body)
    for one in sent if isinstance(sent, list) else []:
        if isinstance(one, dict):
            yield {name: one[name] for name in columns if name in one}


def is_good(answer: Answer) -> bool:
    """Tell whether a service says that it did what it was asked for."""
    return HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES


def _told(answer: Answer, name: str) -> object:
    told = _json(answer.body)
    return told.get(name, "") if isinstance(told, dict) else ""


def _json(text: bytes) -> object:
    try:
        found: object = json.loads(text)
    # So deep that nobody has meant it.
    except (ValueError, RecursionError):
        return None
    return found
