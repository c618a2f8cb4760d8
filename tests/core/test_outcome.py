"""Statuses and how they add up: unknown is never green, and the worst check speaks for a cell."""

from __future__ import annotations

import itertools

import pytest

from harness.core.outcome import CheckOutcome, Status, cell_status, worst

GREEN = {Status.PASS, Status.UNSUPPORTED, Status.EXPECTED_FAIL}


def test_what_may_be_green():
    assert {status for status in Status if status.expected} == GREEN


def test_each_status_has_a_sign_of_its_own():
    signs = [status.sign for status in Status]
    assert len(set(signs)) == len(signs)
    assert all(len(sign) == 1 for sign in signs)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ("pass pass", "pass"),
        ("pass unsupported", "pass"),
        ("unsupported unsupported", "unsupported"),
        ("pass not-run", "not-run"),
        ("pass expected-fail", "expected-fail"),
        ("fail not-run pass", "fail"),
        ("fail timeout", "timeout"),
        ("timeout infra fail", "infra"),
        ("unexpected-pass expected-fail", "unexpected-pass"),
        ("", "not-run"),
    ],
)
def test_the_worst_status_stands_for_all(statuses, expected):
    found = [Status(word) for word in statuses.split()]
    assert worst(found).value == expected
    assert worst(reversed(found)).value == expected


def test_one_status_that_is_not_green_makes_any_cell_not_green():
    for one, other in itertools.product(Status, Status):
        status = cell_status({"a": CheckOutcome(one), "b": CheckOutcome(other)})
        assert status.expected == (one.expected and other.expected)
