"""Judges outcomes by what expectations.json declares of them: strict both ways. Pure.

A declared check that fails is ``expected-fail``; one that passes is ``unexpected-pass``, and red.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from harness.catalog.releases import Service
from harness.core.axes import Point
from harness.core.expectations import CONTRACT, Expectation, Judged
from harness.core.outcome import CheckOutcome, Status
from harness.core.probes import RUN_CHECK

_FAILING = {Status.FAIL, Status.TIMEOUT}


def apply(
    expectations: Sequence[Expectation],
    checks: Mapping[str, CheckOutcome],
    cell: Judged,
    today: date,
) -> dict[str, CheckOutcome]:
    """Return the outcomes of a cell's checks, changed by what is declared of them. Pure.

    A declared check that fails or times out becomes ``expected-fail``, one that passes
    ``unexpected-pass``. What was not judged stays as it is; only when the run itself, or another
    action, fails as declared, the checks it kept from running are ``expected-fail`` with it; and so
    are those that fail by the very same, when there was no service to run anything.

    Args:
        expectations: what is declared.
        checks: what came of each check.
        cell: whose checks they are.
        today: an expectation counts up to the day it names.
    """
    changed = {}
    for name, outcome in checks.items():
        # All that concern it, not the first: one may be over, and another still hold.
        declared = [one for one in expectations if one.concerns(cell, name)]
        if outcome.status is Status.PASS:
            declared = [one for one in declared if one.fails_always(cell)]
        changed[name] = _judged(outcome, declared, today)
    # A second pass: what kept a check from running may come after it.
    for name, outcome in changed.items():
        kept_by = changed.get(outcome.because or RUN_CHECK)
        if kept_by is None or kept_by.status is not Status.EXPECTED_FAIL:
            continue
        if outcome.status is Status.NOT_RUN:
            why = f"{outcome.reason}, as declared: {kept_by.reason}"
            changed[name] = CheckOutcome(Status.EXPECTED_FAIL, why)
        elif outcome.status in _FAILING and outcome == checks.get(RUN_CHECK):
            changed[name] = kept_by
    return changed


def judge_migration(
    expectations: Sequence[Expectation],
    outcome: CheckOutcome,
    service: Service,
    before: Service | None,
    today: date,
) -> CheckOutcome:
    """Return the outcome of a stage's migration, changed by what is declared of it. Pure.

    Args:
        expectations: what is declared.
        outcome: what came of it.
        service: the one that migrates.
        before: the one that used the database last; None where nobody knows.
        today: an expectation counts up to the day it names.
    """
    declared = [one for one in expectations if one.concerns_migration(service, before)]
    return _judged(outcome, declared, today)


def judge_contract(
    expectations: Sequence[Expectation],
    problems: Sequence[str],
    service: Service,
    today: date,
    point: Point | None = None,
    *,
    asked: Iterable[str] = (),
) -> tuple[list[str], list[str]]:
    """Return what is wrong with a service itself, and what of it is declared. Pure.

    Args:
        expectations: what is declared.
        problems: ``CHECK: what is wrong``, as the contract tells them.
        service: the one that was asked.
        today: an expectation counts up to the day it names.
        point: where it was asked.
        asked: the checks all of which was asked for: what does not fail there passes.
    """
    declared = [one for one in expectations if one.concerns_contract(service, point)]
    wrong: list[str] = []
    known: list[str] = []
    failing = set()
    for problem in problems:
        check = CONTRACT + problem.partition(": ")[0]
        failing.add(check)
        of_check = [one for one in declared if one.check == check]
        judged = _judged(CheckOutcome(Status.FAIL, problem), of_check, today)
        (known if judged.status is Status.EXPECTED_FAIL else wrong).append(judged.reason)
    passing = {CONTRACT + check for check in asked} - failing
    for one in declared:
        judged = _judged(CheckOutcome(Status.PASS), [one], today)
        if one.check in passing and judged.status is not Status.PASS:
            wrong.append(f"{one.check}: {judged.reason}")
    return wrong, known


def _judged(outcome: CheckOutcome, declared: Sequence[Expectation], today: date) -> CheckOutcome:
    valid = [one for one in declared if one.until is None or today <= one.until]
    if valid and outcome.status in _FAILING:
        return CheckOutcome(Status.EXPECTED_FAIL, f"{valid[0].why}: {outcome.reason}")
    if valid and outcome.status is Status.PASS:
        return CheckOutcome(
            Status.UNEXPECTED_PASS,
            f"{valid[0].where} declares it to fail ({valid[0].why}), and it passes:"
            " remove that entry, or narrow its ranges",
        )
    if declared and not valid and outcome.status in _FAILING:
        over = f"{declared[0].where} expected it until {declared[0].until}: {declared[0].why}"
        return CheckOutcome(outcome.status, f"{outcome.reason}; {over}")
    return outcome
