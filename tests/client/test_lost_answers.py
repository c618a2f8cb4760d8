"""Runs that lose answers: what their ends mean, and whole cells of a client of a few lines."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.client import lost_answers as lost_answers_module
from harness.client.actions import Doer, Done
from harness.client.cell import CellOutcome, run_cell
from harness.client.lost_answers import (
    Attempt,
    Reading,
    _read,
    judge,
    judge_readings,
    judge_tags,
    made_twice,
    next_action,
)
from harness.client.program import ClientError, Finished
from harness.client.reading import Answer
from harness.core.actions import FIRST_RUN, Action
from harness.core.outcome import CheckOutcome, Status
from harness.core.scenarios import FAULTS, KINDS, Fault, Loss, Way, lost_answers
from harness.stack.proxy import relay
from harness.stack.proxy.relay import Strike
from tests.client.conftest import FLOW, MakeCell, MakeSurroundings
from tests.stack.proxy.counting_service import Service

NOTHING = relay.Answer(0, "", (), b"")
BY_NAME = {kind.name: kind for kind in KINDS}
FIRST = lost_answers("lost-answer")
OWN = """Metaflow 2.19.39 executing HelloFlow for user:compat
    Metaflow service error:
    Metadata request (/flows/HelloFlow/run) failed (code 409): conflict
"""
PYTHON = """Traceback (most recent call last):
json.decoder.JSONDecodeError: Unterminated string starting at: line 1 column 2 (char 1)
"""


def strike(name: str, way: Way = Way.DROP, **told: object) -> Strike:
    answer = relay.Answer(200, "OK", (), json.dumps(told).encode())
    return Strike(BY_NAME[name], Loss(way), "/flows/F", answer)


def ended(folder: Path, said: str, *strikes: Strike, code: int = 1, verb: str = "run") -> Attempt:
    log = folder / f"{len(list(folder.iterdir()))}.txt"
    log.write_text(said, encoding="utf-8")
    wrong = CheckOutcome(Status.FAIL, "flow ended with exit code 1") if code else None
    return Attempt(verb, Done("1", Finished(code, log, log), wrong), strikes)


def judged(attempts: Sequence[Attempt], twice: str = "") -> dict[str, CheckOutcome]:
    return judge(attempts, FIRST, lambda *_: twice)


def test_a_run_that_survives_passes_and_what_it_never_sends_is_unsupported(tmp_path):
    checks = judged([ended(tmp_path, "", strike("create_task"), code=0)])
    assert len(checks) == len(KINDS)
    assert checks.pop("lost_create_task") == CheckOutcome(Status.PASS)
    assert set(checks.values()) == {
        CheckOutcome(Status.UNSUPPORTED, "the client sent no such request")
    }


def test_what_is_there_twice_fails(tmp_path):
    checks = judged([ended(tmp_path, "", strike("create_task"), code=0)], "there are two")
    assert checks["lost_create_task"] == CheckOutcome(
        Status.FAIL, "the answer to the first 'create task' is dropped: there are two"
    )


def test_an_error_of_the_clients_own_passes_when_the_run_can_be_resumed(tmp_path):
    attempts = [
        ended(tmp_path, OWN, strike("read_flow"), strike("create_run", Way.TRUNCATE)),
        ended(tmp_path, "", strike("create_step"), code=0),
    ]
    checks = judged(attempts)
    assert {checks[f"lost_{name}"].status for name in ("read_flow", "create_run")} == {Status.PASS}
    assert checks["lost_create_step"].status is Status.PASS


def test_what_it_made_before_its_own_error_is_not_there_twice(tmp_path):
    attempts = [ended(tmp_path, OWN, strike("create_run")), ended(tmp_path, "", code=0)]
    assert judged(attempts, "there are two")["lost_create_run"].status is Status.PASS


def test_an_error_of_python_fails(tmp_path):
    attempts = [
        ended(tmp_path, PYTHON, strike("read_step"), strike("artifacts", Way.TRUNCATE)),
        ended(tmp_path, "", code=0),
    ]
    checks = judged(attempts)
    assert checks["lost_read_step"].status is Status.PASS
    assert checks["lost_artifacts"] == CheckOutcome(
        Status.FAIL,
        "the answer to the first 'store artifacts' is cut off: the client ends with another error"
        " than its own: json.decoder.JSONDecodeError: Unterminated string starting at: line 1"
        " column 2 (char 1)",
    )


def test_a_heartbeat_is_not_what_ended_a_run(tmp_path):
    lost = [strike("create_task"), strike("task_heartbeat")]
    checks = judged([ended(tmp_path, PYTHON, *lost), ended(tmp_path, "", code=0)])
    assert checks["lost_create_task"].status is Status.FAIL
    assert checks["lost_task_heartbeat"].status is Status.UNSUPPORTED


TASK = "/flows/F/runs/1/steps/a/tasks/2"


@pytest.mark.parametrize(
    ("later", "status"),
    [
        ([(12, f"{TASK}/heartbeat")], "pass"),
        # The task was over before another was due, though the run goes on.
        ([(2, f"{TASK}/metadata"), (60, "/flows/F/runs/1/steps/b/tasks/21/heartbeat")], None),
        ([(2, f"{TASK}/metadata"), (60, f"{TASK}1/heartbeat")], None),
        ([(40, f"{TASK}/artifact")], "fail"),
        ([], None),
    ],
)
def test_a_lost_heartbeat_is_judged_by_those_that_follow(tmp_path, later, status: str | None):
    lost = Strike(
        BY_NAME["task_heartbeat"],
        Loss(Way.DROP),
        f"{TASK}/heartbeat",
        relay.Answer(200, "OK", (), b""),
        at=100.0,
    )
    asked = [relay.Asked(100.0 + after, path) for after, path in [(-1, lost.path), *later]]
    attempt = dataclasses.replace(ended(tmp_path, "", lost, code=0), asked=tuple(asked))
    found = judged([attempt])["lost_task_heartbeat"]
    assert found.status.value == (status or "unsupported")
    if status == "fail":
        assert found.reason.endswith(f"no other comes, though {TASK} goes on for 40 s")


@pytest.mark.parametrize(
    ("tags", "said", "status"),
    [
        (["a", "compat:lost"], "", "pass"),
        (None, "", "pass"),
        (["a"], "", "fail"),
        (["compat:lost", "compat:lost"], "", "fail"),
        (["a"], OWN, "pass"),
        (["a"], PYTHON, "fail"),
    ],
)
def test_a_lost_change_of_tags_is_judged_by_command_and_rows(
    tmp_path, tags: list[str] | None, said: str, status: str
):
    done = ended(tmp_path, said, code=bool(said)).done
    assert judge_tags(strike("tags"), done, tags).status.value == status


def test_what_cannot_be_resumed_fails_and_what_was_not_reached_did_not_run(tmp_path):
    checks = judged([ended(tmp_path, OWN, strike("create_run")), ended(tmp_path, PYTHON)])
    assert checks["lost_create_run"].status is Status.FAIL
    assert checks["lost_create_run"].reason.endswith(
        ": what it left cannot be resumed: flow ended with exit code 1"
    )
    assert checks["lost_metadata"].status is Status.NOT_RUN
    assert checks["lost_metadata"].because == FIRST_RUN


def test_which_answer_was_lost_is_told_and_where_fewer_were_sent(tmp_path):
    losses = FIRST | {"create_task": Loss(Way.DROP, 3), "create_step": Loss(Way.DROP, 2)}
    lost = dataclasses.replace(strike("create_task"), loss=losses["create_task"])
    survived = [ended(tmp_path, "", lost, code=0)]
    checks = judge(survived, losses, lambda *_: "there are two")
    assert checks["lost_create_task"].reason == (
        "the answer to the third 'create task' is dropped: there are two"
    )
    assert checks["lost_create_step"] == CheckOutcome(
        Status.UNSUPPORTED, "the client sent fewer than 2 such requests"
    )
    failed = judge([ended(tmp_path, PYTHON)], losses, lambda *_: "")
    assert failed["lost_create_step"].reason.endswith("none had sent 2 such requests")


def test_a_run_that_hangs_is_a_timeout_of_what_it_lost():
    wrong = CheckOutcome(Status.TIMEOUT, "not done")
    checks = judged([Attempt("run", Done("1", None, wrong), (strike("metadata"),))])
    assert checks["lost_metadata"].status is Status.TIMEOUT
    assert checks["lost_metadata"].reason.endswith("'store metadata' is dropped: not done")


def test_the_newest_run_is_resumed_and_where_that_is_of_no_use_the_flow_is_run_anew():
    first = Action("run", FIRST_RUN, environment=(("A", "b"),), before=("--quiet",))
    attempt = Attempt("run", Done(), (strike("create_run"),))
    done: dict[str, Done] = {}
    assert next_action(first, [], done) is first
    done[FIRST_RUN] = Done()
    assert next_action(first, [attempt], done) == dataclasses.replace(first, name="attempt_2")
    done["attempt_2"] = Done("7")
    done["attempt_3"] = Done()
    again = next_action(first, [attempt] * 3, done)
    assert (again.verb, again.name, again.origin) == ("resume", "attempt_4", "attempt_2")
    assert (again.environment, again.before) == (first.environment, first.before)
    useless = Attempt("resume", Done(), ())
    assert next_action(first, [attempt, useless], done).verb == "run"


@pytest.mark.parametrize(
    ("lost", "there", "twice"),
    [
        (strike("create_run", run_number=4), True, True),
        (strike("create_run", run_number=4), False, False),
        (strike("create_run", run_number="5"), True, False),
        (strike("create_run", Way.DELAY, run_number=4), True, False),
        (strike("create_run", message="no"), True, False),
        (strike("ping", run_number=4), True, False),
    ],
)
def test_a_run_is_there_twice_when_the_client_goes_on_with_another(lost, there, twice):
    rows = {"runs_v3": [{"run_number": 4}] if there else []}
    found = made_twice(lost, "5", lambda _: rows)
    assert found == (
        "the run 4, which nobody goes on with, is there beside the run 5" if twice else ""
    )


INVENTORY: dict[str, Any] = {"tags": ["a"], "steps": {"start": {}}}


def reading(*strikes: Strike, error: str = "", late: bool = False, **changed: object) -> Reading:
    inventory = None if error else INVENTORY | changed
    return Reading("lossy_read_1", Answer({}, inventory, error, late), strikes)


CLEAN = reading()
OWN_ERROR_OF_A_READER = "ServiceException: Metadata request (/flows/F/runs/1) failed (code 500)"


@pytest.mark.parametrize(
    ("lost", "then", "status", "said"),
    [
        (reading(strike("read_run")), CLEAN, "pass", ""),
        (reading(strike("read_run"), steps={}), CLEAN, "fail", "step start is gone"),
        (reading(strike("read_run"), error=OWN_ERROR_OF_A_READER), CLEAN, "pass", ""),
        (
            reading(strike("read_run"), error=OWN_ERROR_OF_A_READER),
            reading(error=OWN_ERROR_OF_A_READER),
            "fail",
            "the run cannot be listed any more: ServiceException",
        ),
        (
            reading(strike("read_run"), error="JSONDecodeError: half"),
            CLEAN,
            "fail",
            "the client ends with another error than its own: JSONDecodeError: half",
        ),
        (reading(strike("read_run"), error="not done", late=True), CLEAN, "timeout", "not done"),
        (reading(strike("read_run"), strike("read_step"), error="KeyError"), CLEAN, "pass", ""),
    ],
)
def test_a_reader_is_judged_by_what_it_lists_or_by_its_error(lost, then, status, said):
    found = judge_readings([lost, then])["lost_read_run"]
    assert found.status.value == status
    assert said in found.reason


def test_a_reader_loses_answers_until_none_is_left(monkeypatch, cell, surroundings):
    strikes: list[Strike] = []
    left = [(strike("read_run"), ClientError("broken")), (strike("ping"), None), (None, None)]

    def read(*_: object, **__: object) -> list[Answer]:
        lost, error = left.pop(0)
        strikes.extend([lost] if lost else [])
        if error:
            raise error
        return [CLEAN.answer]

    monkeypatch.setattr(lost_answers_module, "read_runs", read)
    writer = Doer(cell(), surroundings(), time.monotonic() + 60)
    found = list(_read(writer, "1", SimpleNamespace(strikes=strikes)))
    assert [len(one.strikes) for one in found] == [1, 1, 0]
    checks = judge_readings(found)
    assert {name: one.status.value for name, one in checks.items()} == {
        "lost_read_run": "fail",
        "lost_ping": "pass",
    }


ASKS = """
    import json, os, urllib.request
    url = os.environ["METAFLOW_SERVICE_URL"] + "/flows/OddFlow/runs/1/steps/start/task"
    def ask():
        return urllib.request.urlopen(urllib.request.Request(url, b"{}"), timeout=9).read()
"""
CAREFUL = """
    for _ in range(2):
        try:
            task = json.loads(ask().decode())
            break
        except Exception:
            pass
"""
OWN_ERROR = """
    try:
        task = json.loads(ask().decode())
    except Exception:
        sys.exit("    Metaflow service error:\\n    Metadata request (/flows/OddFlow) failed")
"""
CARELESS = """
    task = json.loads(ask().decode())
"""


@pytest.fixture
def service() -> Iterator[Service]:
    with closing(Service()) as found:
        yield found


@pytest.mark.parametrize(
    ("client", "status", "attempts"),
    [(CAREFUL, "pass", 1), (OWN_ERROR, "pass", 2), (CARELESS, "fail", 2)],
)
def test_a_client_is_judged_by_how_it_takes_a_lost_answer(  # noqa: PLR0917 - fixtures
    cell: MakeCell,
    surroundings: MakeSurroundings,
    service: Service,
    client: str,
    status: str,
    attempts: int,
):
    assert FIRST["create_task"] == Loss(Way.DROP)
    lossy = dataclasses.replace(cell(FLOW + ASKS + client), scenario="lost-answer")
    outcome = CellOutcome(lossy)
    run_cell(outcome, surroundings(service_url=service.url))
    assert outcome.checks["lost_create_task"].status.value == status, outcome.checks
    assert {name: check.status.value for name, check in outcome.checks.items()} | {
        "lost_create_task": "pass"
    } == {
        **dict.fromkeys((f"lost_{kind.name}" for kind in KINDS), "unsupported"),
        "acknowledged": "not-run",
        "run": "pass",
        "good": "pass",
        "bad": "fail",
        "lost_create_task": "pass",
    }
    if status == "fail":
        reason = outcome.checks["lost_create_task"].reason
        assert "is dropped: the client ends with another error than its own: " in reason
    assert sum(kind.startswith(("flow", "attempt_")) for kind in outcome.evidence) == attempts
    assert outcome.evidence["relay"].read_text(encoding="utf-8").count("is dropped") == 1


RESUME_FINDS_NOTHING = """Metaflow 2.19.39 executing HelloFlow for user:compat
    Flow failed:
    Resume could not find run id 7
"""
FAULT = FAULTS["cut-connections"]


def broken(name: str) -> Strike:
    return Strike(BY_NAME[name], Loss(Way.BEFORE, 1, FAULT.words), "/flows/F", NOTHING)


def of_fault(attempts: Sequence[Attempt], fault: Fault = FAULT) -> dict[str, CheckOutcome]:
    return judge(attempts, lost_answers("cut-connections"), lambda *_: "", fault)


@pytest.mark.parametrize(
    ("path", "answered", "status"),
    [("/metadata", 200, "pass"), ("/artifact", 500, "pass"), ("/artifact", 200, "fail")],
)
def test_a_run_that_has_stored_nothing_need_not_be_resumed(tmp_path, path, answered, status):
    answer = relay.Answer(answered, "", (), b"")
    asked = (relay.Asked(1.0, TASK + path, "POST", b"", answer),)
    attempts = [
        dataclasses.replace(ended(tmp_path, OWN, broken("metadata")), asked=asked),
        ended(tmp_path, RESUME_FINDS_NOTHING, verb="resume"),
        ended(tmp_path, "", code=0),
    ]
    found = of_fault(attempts)["amid_metadata"]
    assert found.status.value == status
    if status == "fail":
        assert found.reason.startswith(
            "the connections to the database are cut before the first 'store metadata': what it"
            " left cannot be resumed"
        )


def test_of_a_full_disk_a_client_may_end_with_the_words_of_the_system(tmp_path):
    said = "Traceback (most recent call last):\nOSError: [Errno 27] File too large\n"
    attempts = [ended(tmp_path, said, broken("artifacts")), ended(tmp_path, "", code=0)]
    assert of_fault(attempts, FAULTS["full-disk"])["amid_artifacts"].status is Status.PASS
    assert of_fault(attempts)["amid_artifacts"].status is Status.FAIL


def test_what_a_client_stores_twice_by_itself_is_not_there_twice():
    row = {"task_id": 2, "field_name": "user", "value": "me", "type": "user", "tags": []}
    known = {"task_id": 2, "field_name": "user", "value": "me"}
    lost = strike("metadata")

    def twice(rows: int, told: int) -> str:
        return made_twice(
            lost, "1", lambda _: {"metadata_v3": [row] * rows}, {"metadata_v3": [known] * told}
        )

    assert twice(1, 0) == twice(2, 2) == ""
    assert twice(2, 1).startswith("metadata_v3 has two rows of this run with task_id 2")
    assert twice(3, 2).startswith("metadata_v3 has three rows of this run with task_id 2")
