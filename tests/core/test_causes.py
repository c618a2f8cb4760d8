"""A client that is known not to run on its Python fails as declared, and must not pass."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from packaging.version import Version

from harness.catalog.versions import load
from harness.core.causes import known_failures
from harness.core.expectations import Judged
from harness.core.judging import apply
from harness.core.outcome import CheckOutcome, Status
from harness.core.plan import Cell
from harness.core.probes import Check, Probe

CLIENTS = {client.name: client for client in load().clients}
PROBE = Probe("p", Path("p.py"), "F", (Check("run", ""), Check("tags", "")), ())
FAILED = {
    "run": CheckOutcome(Status.FAIL, "Cannot locate step_decorator plugin 'conda'"),
    "tags": CheckOutcome(Status.NOT_RUN, "the run did not end"),
}
PASSED = {"run": CheckOutcome(Status.PASS), "tags": CheckOutcome(Status.PASS)}
IMP = (
    "Metaflow 2.8.5 does not run on Python 3.12: No module named 'imp' (zombie-imp would bring it)"
)


def _cell(client: str, python: str, **more: str) -> Cell:
    others = {role: CLIENTS[name] for role, name in more.items()}
    cell = Cell("compat", CLIENTS[client], None, "local", PROBE, python=python, asked=("python",))
    return replace(cell, **others)


def _came_of(cell: Cell, checks: dict[str, CheckOutcome]) -> dict[str, CheckOutcome]:
    judged = Judged(Version(cell.client.name), None, "p", point=cell.point)
    return apply(known_failures(cell, checks), checks, judged, date(2026, 11, 1))


def test_the_cause_stands_beside_the_products_own_words():
    found = _came_of(_cell("2.8.5", "3.12"), FAILED)
    assert [one.status for one in found.values()] == [Status.EXPECTED_FAIL] * 2
    assert found["run"].reason == f"{IMP}: Cannot locate step_decorator plugin 'conda'"
    assert IMP in found["tags"].reason


@pytest.mark.parametrize(
    ("client", "python"),
    [("2.8.5", "3.11"), ("2.8.6", "3.12"), ("2.1.1", "3.12"), ("2.0.1", "3.9"), ("2.8.6", "3.14")],
)
def test_where_nothing_is_known_a_failure_is_red_and_a_pass_green(client, python):
    for checks in (FAILED, PASSED):
        assert _came_of(_cell(client, python), checks) == checks


def test_what_is_gone_in_a_python_is_gone_in_the_next():
    for name, client in CLIENTS.items():
        if "3.12" in client.fails:
            assert client.fails["3.13"] == client.fails["3.14"] == client.fails["3.12"], name
    assert IMP.replace("3.12", "3.14") in _came_of(_cell("2.8.5", "3.14"), FAILED)["run"].reason


def test_a_pass_where_the_client_is_known_not_to_run_is_told():
    found = _came_of(_cell("2.8.5", "3.12"), PASSED)
    assert [one.status for one in found.values()] == [Status.UNEXPECTED_PASS, Status.PASS]
    assert found["run"].reason.startswith("versions.json, 'fails' of client 2.8.5, declares it")


def test_any_check_may_be_the_first_to_meet_the_cause():
    words = (
        "ImportError: cannot import name 'Sequence' from 'collections' (collections/__init__.py)"
    )
    later = {**PASSED, "tags": CheckOutcome(Status.FAIL, words)}
    found = _came_of(_cell("2.0.1", "3.10"), later)
    assert [one.status for one in found.values()] == [Status.PASS, Status.EXPECTED_FAIL]
    assert f"collections.Sequence is gone: {words}" in found["tags"].reason


@pytest.mark.parametrize("client", ["2.2.0", "2.8.5"])
def test_what_fails_of_another_reason_is_red(client):
    """Of 2.8.5 the cause is hidden: what it prints stands for it, and nothing else does."""
    other = CheckOutcome(Status.FAIL, "flow ended with exit code 1: Metadata request failed")
    of_run = {**FAILED, "run": other}
    assert _came_of(_cell(client, "3.12"), of_run) == of_run
    beside = {**FAILED, "tags": other}
    found = _came_of(_cell(client, "3.12"), {**beside, "run": CheckOutcome(Status.FAIL, IMP)})
    assert [one.status for one in found.values()] == [Status.EXPECTED_FAIL, Status.FAIL]
    assert found["tags"] == other
    late = {**PASSED, "run": CheckOutcome(Status.TIMEOUT, "flow was not done in 120 s")}
    assert _came_of(_cell(client, "3.12"), late) == late


def test_whoever_has_a_part_in_a_cell_may_be_the_one_that_does_not_run():
    cell = _cell("2.8.6", "3.12", writer="2.8.5")
    assert IMP in _came_of(cell, FAILED)["run"].reason
    # Unasked the writer has a Python of its own.
    assert _came_of(replace(cell, asked=()), FAILED) == FAILED


def test_what_was_not_judged_stays_as_it_is():
    for status in (Status.INFRA, Status.UNSUPPORTED, Status.NOT_RUN):
        checks = {"run": CheckOutcome(status, "so")}
        assert _came_of(_cell("2.8.5", "3.12"), checks) == checks
