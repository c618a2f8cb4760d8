"""Compares the rows a check promises with the rows in the database. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

OBJECTS = "objects"
"""The name under which a check promises objects in the object store, beside the tables."""


def missing_rows(promised: Mapping[str, Sequence[Row]], found: Mapping[str, Sequence[Row]]) -> str:
    """Return a sentence on the first promised row that is not there; empty when all are.

    Args:
        promised: per table the columns each row must have. Rows that are promised several times
            must be there as often. A list in a column must be contained in the column's list.
        found: per table the rows of the run.
    """
    for table, wanted_rows in promised.items():
        # A copy: what matched is taken out, so that each row answers for one promise.
        left = list(found.get(table, ()))
        for wanted in wanted_rows:
            match = next((row for row in left if _matches(wanted, row)), None)
            if match is None:
                if table == OBJECTS:
                    return f"the object store has no object with {_text(wanted)}"
                return f"{table} has no row of this run with {_text(wanted)}"
            left.remove(match)
    return ""


def _matches(wanted: Row, row: Row) -> bool:
    return all(_agrees(value, row.get(column)) for column, value in wanted.items())


def _agrees(wanted: Any, value: Any) -> bool:
    # Runs have tags of the harness beside the probe's, so the lists are never equal.
    if isinstance(wanted, list):
        return isinstance(value, list) and all(item in value for item in wanted)
    return bool(wanted == value)


def _text(wanted: Row) -> str:
    return ", ".join(f"{column} {value!r}" for column, value in wanted.items()) or "its id"


_NUMBERS = {2: "two", 3: "three", 4: "four"}

# What a row of a table is known by, beside its number: two of one key are one thing twice.
_KEYS = {
    "steps_v3": ("step_name",),
    "artifact_v3": ("task_id", "attempt_id", "name"),
    "metadata_v3": ("task_id", "field_name", "value", "type", "tags"),
}


def double_row(table: str, found: Mapping[str, Sequence[Row]], told: Sequence[Row] = ()) -> str:
    """Return a sentence on the first thing that a table has too often; empty for nothing.

    Args:
        table: of steps, artifacts or metadata; of others nothing is known.
        found: per table the rows of a run.
        told: columns of the rows that the client knows to be stored, as often as it asked for
            each: clients store what they know of a task twice by themselves.
    """
    columns = _KEYS.get(table, ())
    rows = found.get(table, ()) if columns else ()
    keys = [{name: row[name] for name in columns if name in row} for row in rows]
    for key, row in zip(keys, rows, strict=True):
        times = keys.count(key)
        if times > 1 and times > sum(_matches(one, row) for one in told):
            number = _NUMBERS.get(times, times)
            return f"{table} has {number} rows of this run with {_text(key)}"
    return ""


def other_values(table: str, known: Row, sent: Row, found: Mapping[str, Sequence[Row]]) -> str:
    """Return a sentence on a value that is not there as it was sent; empty when all are.

    Args:
        table: that has a row which is known.
        known: the columns that it is known by.
        sent: others of it.
        found: per table the rows of a run.
    """
    rows = [row for row in found.get(table, ()) if _matches(known, row)]
    if not rows or any(_matches(sent, row) for row in rows):
        return ""
    name = next(name for name in sent if not _agrees(sent[name], rows[0].get(name)))
    there = f"{name} {rows[0].get(name)!r} where {sent[name]!r} was sent"
    return f"the row of {table} with {_text(known)} has {there}"


def more_than_asked(table: str, rows: Sequence[Row], sent: Sequence[Row]) -> str:
    """Return a sentence on the first row that is there more often than it was asked for.

    Args:
        table: of the rows.
        rows: of a run.
        sent: columns of each row that was asked for, as often as it was.
    """
    for wanted in sent:
        times = sum(_matches(wanted, row) for row in rows)
        asked = sum(_matches(wanted, one) for one in sent)
        if times > 1 and times > asked:
            number = _NUMBERS.get(times, times)
            was = f"and {asked} {'was' if asked == 1 else 'were'} asked for"
            return f"{table} has {number} rows of this run with {_text(wanted)}, {was}"
    return ""


def unused_task(task_id: str, found: Mapping[str, Sequence[Row]]) -> str:
    """Return a sentence on a task beside which another was made; empty when it was not.

    Nobody goes on with a task that has neither artifacts nor metadata: each that begins has both.

    Args:
        task_id: its id.
        found: per table the rows of its run.
    """
    used = {
        row["task_id"] for table in ("artifact_v3", "metadata_v3") for row in found.get(table, ())
    }
    tasks = found.get("tasks_v3", ())
    for task in tasks:
        step = [other["task_id"] for other in tasks if other["step_name"] == task["step_name"]]
        if str(task["task_id"]) == task_id and task["task_id"] not in used and len(step) > 1:
            numbers = ", ".join(str(number) for number in step)
            return (
                f"of the tasks {numbers} of the step {task['step_name']}, {task_id} has neither"
                " artifacts nor metadata"
            )
    return ""
