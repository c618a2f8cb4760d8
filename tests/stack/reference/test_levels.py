from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from harness.stack.reference.levels import LEVELS, Level
from harness.stack.reference.schema import MIGRATIONS


def test_levels_are_ordered_and_only_ever_gain_migrations():
    for older, newer in pairwise(LEVELS.values()):
        assert newer.migrations[: len(older.migrations)] == older.migrations


def test_every_migration_of_a_level_exists():
    known = {migration.version for migration in MIGRATIONS}
    assert {version for level in LEVELS.values() for version in level.migrations} == known


@pytest.mark.parametrize(
    ("capability", "first"),
    [
        ("has_migrations", "2.0"),
        ("has_string_ids", "2.0"),
        ("has_heartbeat", "2.0.4"),
        ("encodes_missing_once", "2.0.6"),
        ("has_attempts", "2.0.6"),
        ("takes_latest_attempt", "2.3"),
        ("has_run_tags", "2.3"),
        ("has_filtered_tasks", "2.5"),
    ],
)
def test_a_capability_comes_at_its_level_and_stays(capability: str, first: str):
    names = list(LEVELS)
    having = [name for name, level in LEVELS.items() if getattr(level, capability)]
    assert having == names[names.index(first) :]


def test_what_came_between_two_levels_goes_by_what_is_reported():
    stand_in = replace(LEVELS["2.0.4"], reported="2.0.5")
    assert (stand_in.encodes_missing_once, stand_in.has_attempts) == (True, False)
    stand_in = replace(LEVELS["2.0.6"], reported="2.2.2")
    assert (stand_in.takes_latest_attempt, stand_in.has_run_tags) == (True, False)


def test_a_level_compares_by_number_not_by_text():
    assert Level("2.10", "2.10.0").has_filtered_tasks
