"""What was sent is looked for among all that was answered."""

from __future__ import annotations

import pytest

from harness.proof.requests import _Among

FOUND = [
    {"name": "a", "value": 1.0, "tags": ["x", "y"], "task_id": 7, "ts_epoch": 1},
    {"name": "b", "value": 2, "tags": [], "task_id": 7, "ts_epoch": 2},
]


@pytest.mark.parametrize(
    ("sent", "there"),
    [
        ({"name": "b", "value": 2, "tags": []}, True),
        ({"name": "b", "value": 1}, False),
        ({"name": "a", "value": 1}, True),
        ({"name": "a", "tags": ["y", "x"], "task_id": "7"}, True),
        ({"name": "a", "ts_epoch": "1"}, False),
        ({"name": "b", "gone": None}, True),
        ({"name": "b", "gone": 1}, False),
    ],
)
def test_one_holds_all_that_was_sent_however_it_is_written(sent, there):
    assert _Among(FOUND).holds(sent) is there
