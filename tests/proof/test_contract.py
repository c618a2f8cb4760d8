from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from packaging.version import Version

from harness.catalog.releases import Service
from harness.catalog.versions import load
from harness.machine.errors import InfraError
from harness.machine.processes import free_port, marked_processes
from harness.proof.contract import Contract, Observed, differences, exercise, undeclared, unusual
from harness.proof.declared import ALWAYS, DECLARED
from harness.stack.database.server import Database
from harness.stack.reference import faults
from harness.stack.reference.levels import LEVELS
from harness.stack.service.launcher import RunningService
from harness.stack.service.migration import await_ready, bring_up
from harness.stack.service.reference import ReferenceLauncher

pytestmark = pytest.mark.e2e

SERVICES = {service.name: service for service in load().services}

MARK = f"tests-{os.getpid()}-contract"

Start = Callable[[str], RunningService]


@pytest.fixture
def start(database: Database, tmp_path: Path) -> Iterator[Start]:
    """Start a level over the test's database, in the place of the one before it."""
    launcher = ReferenceLauncher(MARK)
    started: list[RunningService] = []

    def start(level: str) -> RunningService:
        for before in started:
            before.stop()
        service = SERVICES[f"reference-{level}"]
        started.append(launcher.start(service, database, tmp_path / "service.log"))
        return started[-1]

    yield start
    for running in started:
        running.stop()


@pytest.fixture
def found_at(start: Start, database: Database) -> Callable[[str], Contract]:
    """Exercise a level that is migrated as an operator would."""

    def found_at(level: str) -> Contract:
        running = start(level)
        bring_up(running)
        return exercise(running.url, database.address, f"Flow{level.replace('.', '')}")

    return found_at


def test_every_level_keeps_its_word_and_changes_only_what_is_declared(
    start: Start, found_at: Callable[[str], Contract], database: Database
):
    found = {level: found_at(level) for level in LEVELS}
    assert [contract.problems for contract in found.values()] == [()] * len(LEVELS)
    for before, after in itertools.combinations(LEVELS, 2):
        one, other = (
            Observed(before, found[before].observations),
            Observed(after, found[after].observations),
        )
        assert differences(one, other) == []
        assert one.observations != other.observations
    for level, contract in found.items():
        service = SERVICES[f"reference-{level}"]
        assert undeclared(contract, service, service.schema) == []
    running = start("2.0.4")
    await_ready(running)
    back = exercise(running.url, database.address, "FlowBack")
    assert back.problems == ()
    assert back.observations["filtered tasks"] == "404"
    assert back.observations["metadata registered again"] == "200, 1 written"
    assert undeclared(back, running.service, SERVICES["reference-2.5"].schema) == []
    assert undeclared(back, running.service, running.service.schema) != []
    assert exercise(running.url, database.address, "FlowAgain") == back


def external(reported: str) -> Service:
    """Return a service that somebody else runs, which reports a version."""
    return dataclasses.replace(
        SERVICES["reference-2.5"], name="external", kind="external", version=Version(reported)
    )


def test_a_service_whose_rows_are_not_seen_is_held_against_what_every_release_answers(
    found_at: Callable[[str], Contract], start: Start
):
    seen = found_at("2.5").observations
    running = start("2.5")
    bring_up(running)
    unseen = exercise(running.url, None, "FlowUnseen")
    assert unseen.problems == ()
    by_number = {f"{what} with a name, asked for by number" for what in ("run", "task")}
    assert seen.keys() - unseen.observations.keys() == by_number
    assert unseen.observations == {k: seen[k] for k in seen.keys() - by_number}
    assert {check: seen[check] for check in ALWAYS} == ALWAYS
    assert seen.keys() - ALWAYS == {change.check for change in DECLARED}
    assert unusual(unseen, external("2.5.1")) == []
    assert undeclared(unseen, external("2.5.1"), 0) == []
    other = dataclasses.replace(unseen, observations={**seen, "duplicate flow": "200"})
    assert unusual(other, external("2.5.1")) == [
        "duplicate flow: was 409 with every release, is 200 with external"
    ]
    assert unusual(other, SERVICES["reference-2.5"]) == []
    older = undeclared(unseen, external("2.4.5"), 0)
    assert [sentence.partition(":")[0] for sentence in older] == ["filtered tasks"]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (faults.LOSE_ARTIFACT, "artifacts: "),
        (faults.DROP_TAG, "run: tags was sent as"),
        (faults.MOVE_TIMES, "times: GET /flows/FlowUnseen: FlowUnseen tells "),
        (faults.TOUCH_TIMES, "times: GET /flows/FlowUnseen/runs/"),
        (faults.CHANGE_LISTS, "lists: user_name was sent as 'contract' and is 'another'"),
        (f"{faults.STATUS_500}:2", "flow: cannot be read back: GET /flows/"),
    ],
)
def test_a_planted_fault_is_named_by_answers_alone(
    start: Start, monkeypatch: pytest.MonkeyPatch, fault: str, told: str
):
    monkeypatch.setenv(faults.VARIABLE, fault)
    running = start("2.5")
    bring_up(running)
    problems = exercise(running.url, None, "FlowUnseen").problems
    assert any(problem.startswith(told) for problem in problems), problems


NAMED: dict[str, list[tuple[str, ...]]] = {
    f"{faults.STATUS_500_COMMITS}:4": [("run: refused, yet rows were written", "runs_v3 {")],
    f"{faults.STATUS_500}:2": [("flow: cannot be read back: GET /flows/", "answered 500")],
    faults.LOSE_ARTIFACT: [("artifacts: ", "artifact_v3 did not get 3 row(s)")],
    f"{faults.STORE_TWICE}:run": [("run: ", "runs_v3 did not get 1 row(s)", "in the database")],
    f"{faults.STORE_TWICE}:metadata": [
        ("metadata: ", "metadata_v3 did not get 2 row(s)"),
        ("large metadata: ", "metadata_v3 did not get 1 row(s)"),
    ],
    f"{faults.STORE_TWICE}:task": [
        ("task: ", "tasks_v3 did not get 1 row(s)", "in the database"),
        ("tasks at once: ", "50 of 50 were accepted, and there are 100 rows"),
    ],
    faults.MOVE_TIMES: [("times: GET /flows/", " tells ", ", stored is ")],
    faults.TIMES_OF_FIRST: [("times: GET /flows/Flow25/runs: ", ", stored is ")],
    faults.TOUCH_TIMES: [
        ("heartbeat of a run: ", "what was there is not as it was: runs_v3 ", ": ts_epoch was "),
        ("heartbeat of a task: ", "tasks_v3 ", ": ts_epoch was "),
        ("change of tags: ", "what was there is not as it was: runs_v3 ", ": ts_epoch was "),
        *(
            (f"times: GET /flows/Flow25/runs{of}", ", when registered it told ")
            for of in (": ", "/", "/1/steps/start/tasks: ", "/1/steps/start/tasks/1: ")
        ),
    ],
    faults.SECONDS: [
        ("flow: ", "stored for another time: flows_v3 Flow25: ts_epoch is ", ", and now is "),
        ("artifacts: ", "stored for another time: artifact_v3 "),
        ("tasks at once: ", "stored for another time: tasks_v3 "),
        ("heartbeat of a run: ", "stored for another time: runs_v3 1: last_heartbeat_ts is "),
    ],
    faults.CHANGE_LISTS: [
        ("lists: ", "user_name was sent as 'contract' and is 'another' and system_tags", of)
        for of in (": GET /flows", ": GET /flows/Flow25/runs", "/steps", "/steps/start/tasks")
    ],
    faults.HIDE_NAMED: [
        (
            "lists: ",
            "'run_number': 'contract-run'",
            "is not among the ",
            ": GET /flows/Flow25/runs",
        ),
        (
            "lists: ",
            "'task_id': 'contract-task'",
            "is not among the ",
            "/contract-run/steps/start/tasks",
        ),
        ("times: GET /flows/Flow25/runs/contract-run/steps/start/tasks tells no time",),
    ],
    faults.LATEST_METADATA: [("metadata registered again: ", "'value': '0'", "is not among the 2")],
    faults.LOSE_FAR_SIGNS: [
        ("flow: tags was sent as ", "'日本 ?'"),
        ("metadata: ", "is not among the 2 found"),
        ("many artifacts: ", "name was sent as '日本 😀' and is '日本 ?'", "/artifacts/%E6"),
    ],
    faults.REVERSE_LISTS: [
        ("order: ", "later attempts do not come first: ['0', '1']"),
        ("order: ", "/filtered_tasks?", "not by number"),
    ],
    faults.IGNORE_FILTERS: [("filters: ", "/filtered_tasks?pattern=red has 4 of 3")],
    faults.DROP_TAG: [("run: tags was sent as", "'alpha'", "POST", "in the database")],
}
"""By fault, what its problems tell: how each begins, and what else is in it."""


@pytest.mark.parametrize(("fault", "told"), NAMED.items())
def test_a_planted_fault_is_named(
    found_at: Callable[[str], Contract],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    told: list[tuple[str, ...]],
):
    monkeypatch.setenv(faults.VARIABLE, fault)
    problems = found_at("2.5").problems
    for begins, *parts in told:
        assert any(
            problem.startswith(begins) and all(part in problem for part in parts)
            for problem in problems
        ), (begins, parts, problems)


def test_a_body_that_lacks_a_field_is_named(
    found_at: Callable[[str], Contract], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(faults.VARIABLE, f"{faults.LOSE_FIELD}:last_heartbeat_ts")
    found, service = found_at("2.5"), SERVICES["reference-2.5"]
    assert found.problems == ()
    named = undeclared(found, service, service.schema)
    assert [sentence.partition(": is ")[0] for sentence in named] == [
        f"{what} a {kind}"
        for what in ("answer to registering", "shape of")
        for kind in ("run", "task")
    ]


LOST = {
    "flow": "flow: accepted, yet flows_v3 did not get 1 row(s)",
    "run": "run: accepted, yet runs_v3 did not get 1 row(s)",
    "step": "step: accepted, yet steps_v3 did not get 1 row(s)",
    "task": "task: accepted, yet tasks_v3 did not get 1 row(s)",
    "artifact": "artifacts: accepted, yet artifact_v3 did not get 3 row(s)",
    "metadata": "metadata: accepted, yet metadata_v3 did not get 2 row(s)",
    "heartbeat": "heartbeat of a run: accepted, yet runs_v3 did not get 1 row(s)",
    "tags": "change of tags: accepted, yet runs_v3 did not get 1 row(s)",
}


def test_every_kind_of_write_can_be_lost():
    assert tuple(LOST) == faults.WRITES


@pytest.mark.parametrize(("kind", "problem"), LOST.items())
def test_a_write_that_stores_nothing_is_named(
    found_at: Callable[[str], Contract], monkeypatch: pytest.MonkeyPatch, kind: str, problem: str
):
    monkeypatch.setenv(faults.VARIABLE, f"{faults.LOSE_WRITE}:{kind}")
    problems = found_at("2.5").problems
    assert any(one.startswith(problem) for one in problems), problems


def test_a_service_on_a_schema_it_does_not_know_writes_what_it_refuses(
    start: Start, database: Database
):
    bring_up(start("2.0"))
    running = start("1.0")
    await_ready(running)
    problems = exercise(running.url, database.address, "FlowOld").problems
    assert problems[0].startswith("run: refused, yet rows were written: POST /flows/FlowOld/run")


def test_a_service_that_answers_nothing_any_more_is_not_judged(
    start: Start, database: Database, monkeypatch: pytest.MonkeyPatch
):
    running = start("2.5")
    bring_up(running)
    monkeypatch.setattr("harness.proof.requests._REQUEST_SECONDS", 1.0)
    own = [pid for pid, mark in marked_processes() if mark.startswith(f"{MARK}/")]
    for pid in own:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(InfraError, match="Read timed out"):
            exercise(running.url, database.address, "FlowStill")
    finally:
        for pid in own:
            os.kill(pid, signal.SIGCONT)


def test_a_service_that_does_not_answer_is_not_judged(start: Start, database: Database):
    bring_up(start("2.0"))
    with pytest.raises(InfraError, match="POST http://127"):
        exercise(f"http://127.0.0.1:{free_port()}", database.address, "FlowNobody")


def test_a_request_that_is_never_answered_is_the_fault_of_a_service_that_lives(
    found_at: Callable[[str], Contract], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(faults.VARIABLE, f"{faults.HANG}:artifact")
    # A proxy of the machine does not answer for it.
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr("harness.proof.requests._REQUEST_SECONDS", 1.0)
    found = found_at("2.5")
    (problem,) = found.problems
    assert problem.startswith("answers: POST /flows/Flow25/runs/")
    assert problem.endswith("/artifact was not answered within 1 s, while GET /ping is")
    assert "task" in found.observations
    assert not found.complete


def test_a_table_that_is_missing_is_a_problem(start: Start, database: Database):
    running = start("2.5")
    bring_up(running)
    with contextlib.closing(database.address.connect()) as connection:
        connection.cursor().execute("DROP TABLE artifact_v3")
    found = exercise(running.url, database.address, "FlowMissing")
    assert found.observations == {}
    (problem,) = found.problems
    assert 'relation "public.artifact_v3" does not exist' in problem


def test_a_database_that_does_not_answer_is_not_judged(database: Database):
    nowhere = dataclasses.replace(database.address, port=free_port())
    with pytest.raises(InfraError, match="the rows of FlowNowhere"):
        exercise("http://127.0.0.1:1", nowhere, "FlowNowhere")


def with_heartbeat(answer: str) -> Contract:
    return Contract({"heartbeat of a run": answer, "duplicate flow": "409"}, ())


NEWEST = SERVICES["v2.5.1"].schema


@pytest.mark.parametrize(
    ("now", "service"),
    [("200", "2.0.4"), ("200", "v2.5.1"), ("404", "2.0.3"), ("404", "1.0.1")],
)
def test_what_is_as_declared_is_not_named(now: str, service: str):
    assert undeclared(with_heartbeat(now), SERVICES[service], NEWEST) == []


@pytest.mark.parametrize(
    ("now", "service", "expected"),
    [
        ("404", "v2.5.1", "200"),
        # Also after a step back: no schema decides it.
        ("200", "2.0.3", "404"),
    ],
)
def test_what_is_not_as_declared_is_named(now: str, service: str, expected: str):
    (named,) = undeclared(with_heartbeat(now), SERVICES[service], NEWEST)
    assert named == (
        f"heartbeat of a run: is {now} with {service};"
        f" declared: {expected} (heartbeats; since 2.0.4)"
    )


@pytest.mark.parametrize(
    ("service", "schema", "now", "good"),
    [
        ("2.0.4", 20200603104139, "200, 0 written", True),
        ("2.0.4", 20201002000616, "200, 1 written", True),
        ("2.0.4", 20201002000616, "200, 0 written", False),
        ("v2.5.1", 20230118020300, "200, 1 written", True),
        ("v2.5.1", 20230118020300, "200, 0 written", False),
    ],
)
def test_what_the_schema_decides_goes_by_the_schema(
    service: str, schema: int, now: str, *, good: bool
):
    found = Contract({"metadata registered again": now}, ())
    assert (undeclared(found, SERVICES[service], schema) == []) == good


@pytest.mark.parametrize(
    ("kind", "answer", "good"),
    [
        ("checkout", "400", True),
        ("checkout", "200", True),
        ("checkout", "500", False),
        ("released", "400", False),
    ],
)
def test_a_checkout_may_have_what_comes_next(kind: str, answer: str, *, good: bool):
    version = Version("2.5.1+g91e44f0a")
    service = dataclasses.replace(SERVICES["v2.5.1"], kind=kind, version=version)
    found = Contract({"runs of a status that is none": answer}, ())
    assert (undeclared(found, service, NEWEST) == []) == good


def test_a_change_nobody_declared_is_named():
    before = Observed("v2.5.0", {"duplicate flow": "409", "only before": "1", "pages": "known"})
    after = Observed("v2.5.1", {"duplicate flow": "200", "only after": "1", "pages": "unknown"})
    named = differences(before, after)
    assert named == ["duplicate flow: was 409 with v2.5.0, is 200 with v2.5.1"]


def test_tags_by_the_release_that_has_them_not_by_what_it_reports():
    service: Service = SERVICES["v2.2.5"]
    assert service.reported == "2.2.3"
    found = Contract({"change of tags": "200"}, ())
    assert undeclared(found, service, NEWEST) == []
    assert undeclared(found, SERVICES["v2.2.4"], NEWEST) != []


def test_declared_changes_of_one_check_follow_on_each_other():
    by_check: dict[str, list[tuple[Version, str, str]]] = {}
    for one in DECLARED:
        assert one.before != one.after
        by_check.setdefault(one.check, []).append((one.since, one.before, one.after))
    for found in by_check.values():
        assert found == sorted(found)
        assert [after for _, _, after in found[:-1]] == [before for _, before, _ in found[1:]]
