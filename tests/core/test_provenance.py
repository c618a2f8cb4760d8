"""The key of a result: it changes with each part of what decided it, and with nothing else."""

from __future__ import annotations

import msgspec
import pytest

from harness.core.axes import AXES
from harness.core.entries import PlannedCell, Provenance
from harness.core.provenance import short, with_key
from tests.report.journals import WHOLE

CELL = PlannedCell(client="2.19.39", id="x", session="compat", probe="basics", rerun="nox")


def _key(cell: PlannedCell = CELL, provenance: Provenance = WHOLE) -> str:
    return with_key(provenance, cell).key


@pytest.mark.parametrize("part", [name for name in Provenance.__struct_fields__ if name != "key"])
def test_each_part_of_the_provenance_changes_the_key(part: str):
    other = msgspec.structs.replace(WHOLE, **{part: 2 if part == "db_schema" else "other"})
    assert _key(provenance=other) != _key()


@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.name)
def test_each_axis_changes_the_key(axis):
    assert _key(msgspec.structs.replace(CELL, **{axis.name: "other"})) != _key()


@pytest.mark.parametrize("field", ["probe", "probe_digest", "session"])
def test_the_probe_and_the_session_change_the_key(field: str):
    assert _key(msgspec.structs.replace(CELL, **{field: "other"})) != _key()


def test_nothing_else_does():
    same = msgspec.structs.replace(CELL, id="y", rerun="nox -s compat")
    assert _key(same) == _key()
    assert with_key(with_key(WHOLE, CELL), CELL).key == _key(), "a key is not part of itself"


def test_a_long_name_of_a_folder_is_cut_and_told_from_others_that_begin_alike():
    long = "compat__2.19.39__v2.5.1__local__hello__postgres=-opt-" + "deep-" * 30
    assert short(long[:100]) == long[:100]
    assert len(short(long)) == 100
    assert short(long).startswith(long[:83])
    assert short(long) != short(long + "er")
