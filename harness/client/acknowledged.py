"""What a service answered that it has stored, compared with the rows that are there."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from harness.client.rows import Row, missing_rows, more_than_asked, other_values
from harness.core.outcome import CheckOutcome, Status
from harness.core.scenarios import kind_of
from harness.stack.database.rows import run_rows, tagged_runs
from harness.stack.database.server import Address
from harness.stack.proxy.relay import Answer, Asked

_PARTS = re.compile(
    r"/flows/(?P<flow>[^/]+)(/runs/(?P<run>[^/]+)(/steps/(?P<step>[^/]+)(/tasks/(?P<task>[^/]+))?)?)?"
)
_NUMBER = re.compile(r"[0-9]{1,18}")
# Of the tables whose rows are in a request: what tells a row from others, and what else it holds.
_TOLD = {"artifact_v3": ("name", "attempt_id"), "metadata_v3": ("field_name", "value")}
_OTHERS = ("location", "ds_type", "sha", "type", "content_type", "user_name", "tags", "system_tags")
_OF_ANY = ("user_name", "tags", "system_tags")


class Written(NamedTuple):
    """A row that a request asks for.

    Attributes:
        flow: its name.
        run: its number.
        table: of the row.
        row: the columns that it is known by.
        others: the columns beside these that the client sent.
    """

    flow: str
    run: str
    table: str
    row: Row
    others: Row = MappingProxyType({})

    @property
    def whole(self) -> Row:
        """All of its columns that are known."""
        return {**self.row, **self.others}


def judge_acknowledged(
    asked: Sequence[Asked], database: Address | None, tag: str = ""
) -> CheckOutcome:
    """Judge whether what a service answered 2xx to is there, with its values, and nothing twice.

    Args:
        asked: the requests, with their answers.
        database: where the rows are; None where nobody sees them.
        tag: that only the runs of these requests were given; empty for none.
    """
    if database is None:
        return CheckOutcome(Status.NOT_RUN, "nobody sees the rows of the service")
    found: dict[tuple[str, str], Mapping[str, Sequence[Row]]] = {}
    for one in asked:
        for flow, run, table, row, others in promised(one):
            if (flow, run) not in found:
                found[flow, run] = run_rows(database, flow, run)
            rows = found[flow, run]
            wrong = missing_rows({table: [row]}, rows) or other_values(table, row, others, rows)
            if wrong and one.answer is not None:
                said = f"{one.method} {one.path} was answered {one.answer.status}, and {wrong}"
                return CheckOutcome(Status.FAIL, said)
    wrong = _too_often(asked, found) or _too_many_runs(asked, database, tag)
    return CheckOutcome(Status.FAIL, wrong) if wrong else CheckOutcome(Status.PASS)


def _too_often(
    asked: Sequence[Asked], found: Mapping[tuple[str, str], Mapping[str, Sequence[Row]]]
) -> str:
    """Return a sentence on the first thing that is there more often than it was asked for.

    Also a request without an answer may have been done.
    """
    sent: defaultdict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for one in asked:
        for written in _written(one):
            # Of a task only the service knows the number.
            of_step = {"step_name": written.row.get("step_name")}
            row = of_step if written.table == "tasks_v3" else written.whole
            sent[written.flow, written.run, written.table].append(row)
    for (flow, run), tables in found.items():
        for table, rows in tables.items():
            wrong = more_than_asked(table, rows, sent[flow, run, table])
            if wrong:
                return wrong
    return ""


def _too_many_runs(asked: Sequence[Asked], database: Address, tag: str) -> str:
    """Return a sentence on a flow that has more runs of these requests than they asked for."""
    paths = [urlsplit(one.path).path for one in asked if one.method == "POST"]
    made = [path for path in paths if (kind := kind_of("POST", path)) and kind.table == "runs_v3"]
    for path in dict.fromkeys(made) if tag else ():
        match = _PARTS.match(path)
        flow = unquote(match["flow"]) if match else ""
        runs = tagged_runs(database, flow, tag)
        if len(runs) > made.count(path):
            numbers = ", ".join(map(str, runs))
            return f"runs_v3 has the runs {numbers} of {flow}, and {made.count(path)} asked for"
    return ""


def told_rows(asked: Sequence[Asked], run_id: str) -> Mapping[str, Sequence[Row]]:
    """Return by table the rows of a run that its client knows to be stored, as often as it does."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for one in asked:
        for written in promised(one) if one.told else ():
            if written.run == run_id:
                found[written.table].append(written.row)
    return found


def promised(asked: Asked) -> Iterator[Written]:
    """Yield what an answer says is stored now.

    Of a task or a run whose id is no number nothing is said: rows have those elsewhere.
    """
    if asked.answer is None or not is_good(asked.answer):
        return
    # A task that the answer does not number may be any of its step.
    rows = [one for one in _written(asked) if one.table != "tasks_v3" or "task_id" in one.row]
    counted = [_told(asked.answer, name) for name in ("artifacts_created", "metadata_created")]
    for written in rows:
        # What is there already is left as it is, and not counted.
        all_new = written.table not in _TOLD or len(rows) in counted
        yield written if all_new else written._replace(others={})


def _written(asked: Asked) -> Iterator[Written]:
    """Yield the rows that a request asks for; what the service numbers, as it was answered."""
    path = urlsplit(asked.path).path
    kind, parts = kind_of(asked.method, path), _PARTS.match(path)
    if kind is None or parts is None:
        return
    flow, run, step, task = (unquote(parts[name] or "") for name in ("flow", "run", "step", "task"))
    sent, answer = _json(asked.body), asked.answer
    others = _columns(sent, _OF_ANY)
    row: dict[str, Any] = {}
    if kind.table == "runs_v3":
        run = str(_told(answer, "run_number"))
        row = _numbered("run_number", run)
    elif kind.name == "tags":
        row, others = _numbered("run_number", run), {"tags": _added(sent)}
    elif kind.table == "steps_v3":
        row = {"step_name": step}
    elif kind.table == "tasks_v3":
        # Without an answer it is just one more of the step.
        row = {"step_name": step} | _numbered("task_id", str(_told(answer, "task_id")))
    if not _NUMBER.fullmatch(run):
        return
    if row:
        yield Written(flow, run, kind.table or "runs_v3", row, others)
    if kind.table in _TOLD and _NUMBER.fullmatch(task):
        of_task = {"step_name": step, "task_id": int(task)}
        for one in sent if isinstance(sent, list) else []:
            told = of_task | _columns(one, _TOLD[kind.table])
            yield Written(flow, run, kind.table, told, _columns(one, _OTHERS))


def _columns(sent: object, names: Sequence[str]) -> dict[str, Any]:
    """Return those columns of a row that a client sent."""
    return {name: sent[name] for name in names if name in sent} if isinstance(sent, dict) else {}


def _numbered(name: str, told: str) -> dict[str, Any]:
    return {name: int(told)} if _NUMBER.fullmatch(told) else {}


def _added(sent: object) -> list[object]:
    added = sent.get("tags_to_add") if isinstance(sent, dict) else None
    return added if isinstance(added, list) else []


def is_good(answer: Answer) -> bool:
    """Tell whether a service says that it did what it was asked for."""
    return HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES


def _told(answer: Answer | None, name: str) -> object:
    told = _json(answer.body) if answer is not None else None
    return told.get(name, "") if isinstance(told, dict) else ""


def _json(text: bytes) -> object:
    try:
        found: object = json.loads(text)
    # So deep that nobody has meant it.
    except (ValueError, RecursionError):
        return None
    return found
