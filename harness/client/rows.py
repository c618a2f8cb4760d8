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
