"""What came of a cell or a migration, judged today by what is declared of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timezone

from harness.catalog.releases import Service
from harness.core import judging
from harness.core.causes import known_failures
from harness.core.entries import StageEntry
from harness.core.expectations import Expectation, Judged
from harness.core.outcome import CheckOutcome, Status
from harness.core.plan import Cell


def today() -> date:
    """Return the day, which is the same for machines everywhere."""
    return datetime.now(timezone.utc).date()


def judge_migration(
    declared: Sequence[Expectation],
    stage: StageEntry,
    outcome: CheckOutcome,
    service: Service,
    before: Service | None,
) -> Status:
    """Judge what came of a stage's migration by what is declared of it, and note what is wrong.

    Args:
        declared: known failures.
        stage: where it is noted.
        outcome: pass, or fail with the reason.
        service: the one that migrates.
        before: the one that used the database last; None where nobody knows.
    """
    judged = judging.judge_migration(declared, outcome, service, before, today())
    if judged.status is not Status.PASS:
        known = judged.status is Status.EXPECTED_FAIL
        (stage.known if known else stage.problems).append(judged.reason)
    return judged.status


def judge_checks(
    declared: Sequence[Expectation], cell: Cell, checks: Mapping[str, CheckOutcome]
) -> dict[str, CheckOutcome]:
    """Return what came of a cell's checks by what is declared of them."""
    judged = Judged(
        cell.client.version,
        cell.service,
        cell.probe.name,
        writer=cell.writer.version if cell.writer else None,
        point=cell.point,
        doers={
            action.name: cell.client_of(action.role).version
            for action in cell.probe.actions
            if action.verb != "read"
        },
    )
    return judging.apply((*known_failures(cell, checks), *declared), checks, judged, today())


def otherwise(
    found: Mapping[str, CheckOutcome], judged: Mapping[str, CheckOutcome]
) -> dict[str, CheckOutcome]:
    """Return what came of those checks that are told otherwise because of what is declared."""
    return {name: one for name, one in found.items() if judged[name] != one}
