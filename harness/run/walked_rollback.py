"""A stage's verdict on the way back: the previous service on the schema that it migrated to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from harness.client.reading import WrittenRun
from harness.core.axes import Point
from harness.core.entries import StageEntry
from harness.core.outcome import ROLLBACK
from harness.proof import rollback
from harness.report.summary import unsafe_sentence
from harness.run.run import Run
from harness.stack.database.server import Address
from harness.stack.service.launcher import RunningService


def judge_rollback(
    run: Run,
    stage: StageEntry,
    previous: RunningService,
    address: Address,
    *,
    written: Iterable[WrittenRun],
    point: Point | None,
) -> None:
    """Note whether an operator may go back.

    Args:
        run: of the walk.
        stage: where it is noted.
        previous: the service of the stage before, freshly started on the new schema.
        address: the database.
        written: the runs in it, which it must be able to read.
        point: of the walk's cells; None where it has none.

    Raises:
        InfraError: when the machine took the service or its database away meanwhile.
    """
    runs = [(one.cell.probe.flow, one.run_id) for one in written]
    service = previous.service
    verdict = rollback.verdict(
        previous,
        address,
        runs,
        # What is declared and does not fail says nothing of a way back.
        lambda found: run.contracts.declared(replace(found, complete=False), service, point)[0],
    )
    stage.rollback = "safe" if verdict.safe else "unsafe"
    stage.rollback_evidence = [f"{service.name}: {line}" for line in verdict.evidence]
    if not verdict.safe and ROLLBACK in (run.options.gates or ()):
        # As a problem of the stage it is red in every report, and nothing declares it away.
        stage.problems.append(unsafe_sentence(stage))
