"""Containers of a run that somebody kills or removes: who is blamed, and that the rest is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.core.outcome import Status
from harness.stack.containers.engine import Engine
from harness.stack.containers.own import find
from tests.e2e.nox_runs import NoxRun, environment, finished_run, started
from tests.e2e.test_containers import SECONDS, await_client, things

pytestmark = [pytest.mark.e2e, pytest.mark.docker]

ONE_BY_ONE = ("--metaflow", "2.19.39", "--probe", "hello", "--jobs", "1")
Dying = Callable[..., NoxRun]


@pytest.fixture
def dying(registry: str, tmp_path: Path, engine: Engine) -> Iterator[Dying]:
    """Return a function that runs a session, and ends a part as soon as a client is at a cell."""
    before = things(engine)
    log, env = tmp_path / "output", environment(DOCKER_HOST=engine.host)

    def dying(session: str, *options: str, part: str, cell: str, removed: bool = False) -> NoxRun:
        given = ("--registry", registry, *ONE_BY_ONE, *options, "--results", str(tmp_path))
        with started(("-s", session, "--", *given), log, env) as process:
            run_id = await_client(tmp_path, process, cell)
            there = find(engine, run_id).containers
            (container,) = (one for one in there if one.name.endswith(f"-{part}"))
            if removed:
                container.remove(force=True)
            else:
                container.kill()
            code = process.wait(SECONDS)
        return finished_run(code, log.read_text(encoding="utf-8"), tmp_path)

    yield dying
    assert things(engine) == before


@pytest.mark.parametrize(
    ("part", "removed", "said"),
    [
        ("database", False, "the database does not answer any more: "),
        pytest.param("database", True, "the database does", marks=pytest.mark.exhaustive),
        pytest.param("2.0.6", False, "killed from outside, by S", marks=pytest.mark.exhaustive),
        pytest.param("2.0.6", True, "was removed by somebody", marks=pytest.mark.exhaustive),
    ],
)
def test_it_is_replaced_and_its_cell_done_again(
    dying: Dying, part: str, removed: bool, said: str
) -> None:
    given = ("--service", "2.0.6,v2.5.0")

    done = dying("compat", *given, part=part, cell="compat__2.19.39__2.0.6__", removed=removed)

    assert done.code == 0, done.output
    cells = [entry for entry in done.entries if entry["kind"] == "cell"]
    assert [(cell["service"], cell["status"]) for cell in cells] == [
        ("2.0.6", Status.INFRA.value),
        ("v2.5.0", Status.PASS.value),
        ("2.0.6", Status.PASS.value),
    ]
    assert said in cells[0]["checks"]["run"]["reason"]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("part", "removed"), [("database", False), ("02-v2.5.0", False), ("02-v2.5.0", True)]
)
def test_in_a_walk_it_is_started_again_on_its_data(dying: Dying, part: str, removed: bool) -> None:
    second = "fixed_db__2.19.39__02-v2.5.0__"

    done = dying("fixed_db", "--path", "2.0.6,v2.5.0", part=part, cell=second, removed=removed)

    assert done.code == 0, done.output
    statuses = [entry["status"] for entry in done.entries if entry["kind"] == "cell"]
    assert statuses == [Status.PASS.value, Status.INFRA.value, Status.PASS.value]
    stages = [entry for entry in done.entries if entry["kind"] == "stage"]
    assert [(stage["status"], stage["lost"]) for stage in stages] == [(Status.PASS.value, [])] * 2
    notes = [entry["text"] for entry in done.entries if entry["kind"] == "note"]
    assert any(note.endswith("; it was started again") for note in notes)


@pytest.mark.exhaustive
def test_in_a_walk_a_removed_database_is_made_as_the_stage_before_left_it(dying: Dying) -> None:
    second = "fixed_db__2.19.39__02-v2.5.0__"
    path = ("--path", "2.0.6,v2.5.0")

    done = dying("fixed_db", *path, part="database", cell=second, removed=True)

    assert done.code == 0, done.output
    stages = [entry for entry in done.entries if entry["kind"] == "stage"]
    statuses = [(stage["stage"], stage["status"]) for stage in stages]
    assert statuses == [(1, Status.PASS.value), (2, Status.INFRA.value), (2, Status.PASS.value)]
    assert [stage["lost"] for stage in (stages[0], stages[2])] == [[], []]
    notes = [entry["text"] for entry in done.entries if entry["kind"] == "note"]
    assert any(note.startswith("stage 2 was done again: ") for note in notes)
