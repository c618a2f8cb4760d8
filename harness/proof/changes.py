"""What a write did to the rows, and what of it no write of its kind does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

Row = dict[str, object]
Rows = Mapping[str, Sequence[Row]]
"""Rows by table."""

Texts = Mapping[str, Sequence[str]]
"""Rows by table, each as JSON in the words of the database."""

FLOWS, RUNS, STEPS = "flows_v3", "runs_v3", "steps_v3"
TASKS, METADATA, ARTIFACTS = "tasks_v3", "metadata_v3", "artifact_v3"

_KEYS = {
    FLOWS: ("flow_id",),
    RUNS: ("run_number",),
    STEPS: ("run_number", "step_name"),
    TASKS: ("task_id",),
    METADATA: ("id",),
    ARTIFACTS: ("task_id", "attempt_id", "name"),
}
"""What tells the entries of one flow apart, in answers and in rows."""

_NAMES = {"run_number": "run_id", "task_id": "task_name"}
"""Columns of names: where there is one, an answer has it in the place of the number."""

_HEARTBEAT = "last_heartbeat_ts"

_CLOCKS_APART = 300.0
"""Seconds by which the clock of a service may differ from this machine's."""


def key_of(table: str, entry: Row) -> tuple[str, ...]:
    """Return what tells an entry of one flow apart, of a row as an answer shows it."""
    return tuple(str(entry.get(_NAMES.get(key, key)) or entry.get(key)) for key in _KEYS[table])


def rows_added(before: Texts, after: Texts) -> dict[str, list[Row]]:
    """Return by table the rows that are in ``after`` more often than in ``before``."""
    new = {}
    for table, texts in after.items():
        added = Counter(texts) - Counter(before[table])
        if added:
            new[table] = [json.loads(text) for text in added.elements()]
    return new


def column_set_by(method: str, path: str) -> str:
    """Return the column that a write sets in rows that are there; empty for one that adds rows."""
    if path.endswith("/heartbeat"):
        return _HEARTBEAT
    return "tags" if method == "PATCH" else ""


def unasked(table: str, column: str, gone: Rows, new: Rows) -> Iterator[str]:
    """Tell what a write that was accepted did and was not asked for.

    Args:
        table: which it adds to.
        column: which it sets in rows that are there, and no other; empty for one that adds rows.
        gone: rows that are not there any more, or not so.
        new: rows that are new, or now are so.
    """
    for name, rows in gone.items():
        now = {key_of(name, row): row for row in new.get(name, ())}
        for row in rows:
            key = key_of(name, row)
            if key not in now:
                yield f"{name} {' '.join(key)} is gone"
                continue
            for changed, value in now[key].items():
                if changed != column and value != row.get(changed):
                    was = f"was {row.get(changed)!r} and is {value!r}"
                    yield f"{name} {' '.join(key)}: {changed} {was}"
    for name, rows in _only_new(gone, new).items():
        if column or name != table:
            yield from (f"{name} {' '.join(key_of(name, row))} is new" for row in rows)


def untimely(column: str, gone: Rows, new: Rows, now: float) -> Iterator[str]:
    """Tell the times of rows that were just stored, or of heartbeats, that are not about now.

    Args:
        column: as of ``unasked``.
        gone: as of ``unasked``.
        new: as of ``unasked``.
        now: seconds since 1970, as the harness knows them.
    """
    if column == _HEARTBEAT:
        yield from _not_about(_HEARTBEAT, now, 1, new)
    elif not column:
        yield from _not_about("ts_epoch", now, 1000, _only_new(gone, new))


def _not_about(column: str, now: float, unit: int, rows: Rows) -> Iterator[str]:
    for table, found in rows.items():
        for row in found:
            value = row.get(column)
            if not isinstance(value, int) or abs(value / unit - now) > _CLOCKS_APART:
                told = f"{column} is {value}, and now is {round(now * unit)}"
                yield f"{table} {' '.join(key_of(table, row))}: {told}"


def _only_new(gone: Rows, new: Rows) -> dict[str, list[Row]]:
    """Return of the rows that are new or changed those that are new."""
    found = {}
    for table, rows in new.items():
        changed = {key_of(table, row) for row in gone.get(table, ())}
        if only := [row for row in rows if key_of(table, row) not in changed]:
            found[table] = only
    return found
