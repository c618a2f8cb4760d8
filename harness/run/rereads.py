"""What earlier stages of a walk wrote, read again: by the client that wrote it, and by others."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import replace
from functools import partial
from itertools import chain, count, product
from pathlib import Path

from harness.catalog.interpreters import python_of
from harness.catalog.releases import Client
from harness.client.program import ClientError, ClientTimeoutError, Surroundings
from harness.client.reading import (
    Answer,
    EarlierRun,
    Request,
    WrittenRun,
    problems,
    read_runs,
)
from harness.core.entries import StageEntry
from harness.core.outcome import Status
from harness.core.path import Step
from harness.core.plan import Cell
from harness.run.judged import judge_checks
from harness.run.run import Run
from harness.stack.stacks import Stack


def runs_by_client(written: Iterable[WrittenRun]) -> dict[tuple[Client, str], list[EarlierRun]]:
    """Return what each client wrote so far, by client and datastore. Pure.

    The checks are made again on the runs of its own first and latest stages; those between are
    listed and compared, or a long walk would do little but read values that no migration can
    reach.
    """
    runs: dict[tuple[Client, str], list[WrittenRun]] = {}
    for run in written:
        runs.setdefault((run.cell.client, run.cell.datastore), []).append(run)
    again = {}
    for reader, own in runs.items():
        stages = [run.cell.stage for run in own]
        checked = {min(stages), max(stages)}
        again[reader] = [EarlierRun(run, run.cell.stage in checked) for run in own]
    return again


def read_by_others(
    run: Run,
    pythons: Mapping[Client, Path],
    stack: Stack,
    written: Sequence[WrittenRun],
    *,
    step: Step,
    stage: StageEntry,
    data: Path,
) -> None:
    """Let the oldest and the newest client read every run other clients wrote earlier.

    The checks are made on those of the stage before, and at the last stage also on its own, which
    nobody comes to read later.

    Args:
        run: of the walk.
        pythons: each client with its interpreter, oldest first.
        stack: of the stage.
        written: all runs of the walk.
        step: the stage.
        stage: its entry, where it is noted what was read and what is wrong with it.
        data: folder of the walk's data, with one for each kind.

    Raises:
        InfraError: when service, database or object store is dead.
        ServiceError: when the service ended by itself.
    """
    clients, read_again = list(pythons), 0
    is_last = step == run.plan.path[-1]
    earlier = [one for one in written if one.cell.stage < step.number + is_last]
    with run.executor.cancelling():
        answers = []
        readers = dict.fromkeys((clients[0], clients[-1]))
        for reader, datastore in product(readers, run.options.datastores):
            runs = [
                one
                for one in earlier
                if one.cell.client != reader and one.cell.datastore == datastore
            ]
            python = pythons[reader]
            if not runs or run.clients.unsupported(reader, python, datastore):
                continue
            surroundings = run.clients.surroundings(
                _listing(run, stage, reader, datastore),
                reader,
                python,
                stack,
                datastore=datastore,
                data=data / datastore,
            )
            read = partial(read_by_another, run, stack, surroundings, runs)
            answers.append(run.executor.submit(partial(read, reader=reader, step=step)))
            read_again += len(runs)
        # An error of one is told below: within the block it would end the whole run.
        wait(answers)
    found: list[str] = []
    known: dict[str, None] = {}
    for answer in answers:
        wrong, declared = answer.result()
        found += wrong
        known.update(dict.fromkeys(declared))
    # Not before: where something has died all of it is read once more.
    stage.rereads += read_again
    stage.problems += found
    stage.known += known


def _listing(run: Run, stage: StageEntry, reader: Client, datastore: str) -> str:
    """Return the name of a reader's folders: none that an earlier reading has left."""
    walk = f"{stage.walk.replace('/', '-')}-" if stage.walk else ""
    first = f"listing-{walk}{stage.stage:02d}-{reader.name}-{datastore}"
    names = chain([first], (f"{first}__attempt-{number}" for number in count(2)))
    return next(name for name in names if not run.folder.logs_of(name).exists())


def read_by_another(
    run: Run,
    stack: Stack,
    surroundings: Surroundings,
    written: Sequence[WrittenRun],
    *,
    reader: Client,
    step: Step,
) -> tuple[list[str], list[str]]:
    """Let a client list what others wrote, and make the checks that their writers passed.

    The checks are made on the runs of the latest earlier stage that wrote some, once each, mostly,
    and on those of this stage.

    Args:
        run: of the walk.
        stack: of the stage.
        surroundings: what the reader runs in.
        written: the runs, all with one kind of data.
        reader: the client.
        step: the stage.

    Returns:
        What it does not find as it was written, and what of it is declared, in words.

    Raises:
        InfraError: when service, database or object store is dead.
        ServiceError: when the service ended by itself.
    """
    surroundings.make_folders()
    cells = [
        replace(
            one.cell,
            client=reader,
            python=python_of(surroundings.python),
            writer=one.cell.client,
            service=step.service,
        )
        for one in written
    ]
    deadline = time.monotonic() + surroundings.timeout
    requests = requests_of(cells, written, step.number)
    try:
        answers = read_runs(surroundings, requests, name="listing", deadline=deadline)
    except (ClientError, ClientTimeoutError) as error:
        _check_alive(stack, surroundings)
        return [f"client {reader.name} could not read {len(written)} earlier runs: {error}"], []
    judged = [
        replace(answer, checks=judge_checks(run.options.expectations, cell, answer.checks))
        for cell, answer in zip(cells, answers, strict=True)
    ]
    wrong, known = told(reader.name, written, judged)
    if wrong:
        _check_alive(stack, surroundings)
    return wrong, known


def _check_alive(stack: Stack, surroundings: Surroundings) -> None:
    """Raise InfraError or ServiceError when what a reader needs is dead: that is no fault of its.

    Args:
        stack: that it reads through.
        surroundings: what it runs in.
    """
    stack.check_alive()
    surroundings.check_store()


def requests_of(cells: Sequence[Cell], written: Sequence[WrittenRun], number: int) -> list[Request]:
    """Return what another client is asked for of each run, whose cell is the reader's. Pure.

    Args:
        cells: those of the reader, in the order of the runs.
        written: the runs.
        number: of the stage that they are read at.
    """
    earlier = (one.cell.stage for one in written if one.cell.stage < number)
    checked = {number, max(earlier, default=0)}
    return [
        Request(one.cell, one.run_id, _to_read(cell, one) if one.cell.stage in checked else ())
        for cell, one in zip(cells, written, strict=True)
    ]


def told(
    reader: str, written: Sequence[WrittenRun], judged: Sequence[Answer]
) -> tuple[list[str], list[str]]:
    """Return what a reader did not find as it was written, and what of it is declared. Pure.

    Args:
        reader: name of the client.
        written: the runs.
        judged: what it read of each, changed by what is declared of the checks.
    """
    wrong: list[str] = []
    known: list[str] = []
    for one, answer in zip(written, judged, strict=True):
        declared = {
            name: check.reason
            for name, check in answer.checks.items()
            if check.status is Status.EXPECTED_FAIL
        }
        where = f"client {reader} reads {one.cell.probe.name}"
        known += [f"{where}/{name}: {reason}" for name, reason in declared.items()]
        left = {name: check for name, check in answer.checks.items() if name not in declared}
        wrong += problems(reader, one, replace(answer, checks=left))
    return wrong, known


def _to_read(cell: Cell, run: WrittenRun) -> tuple[str, ...]:
    """Return the checks of a run that another client makes."""
    asked = {check.name for check in cell.checks if not cell.unsupported(check)}
    return tuple(name for name in run.passed if name in asked)
