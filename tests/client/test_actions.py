"""What a cell does with a probe's flow, with a client and a flow of a few lines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.client.cell import CellOutcome, run_cell
from harness.core.outcome import Status
from tests.client.conftest import MakeCell, MakeSurroundings

FLOW = """
import json
import os
import sys
import time

ACTIONS = %s

CHECKS = {
    "first": {"about": ""},
    "again": {"about": "", "action": "resume"},
    "shown": {"about": "", "action": "show"},
    "any": {"about": "", "action": "show"},
}

class FlowSpec:
    pass

class OddFlow(FlowSpec):
    pass

def check_first(run, outputs):
    assert run.pathspec == "OddFlow/first", run.pathspec
    assert "Task is starting" in outputs["run"].stdout

def check_again(run, runs):
    assert (run.pathspec, runs["run"].pathspec) == ("OddFlow/again", "OddFlow/first")

def check_shown(output):
    assert output.code == 3, output.code
    told = json.loads(output.stdout)
    assert told == {"arguments": ["first", "first/start/7", "OddFlow"], "variable": "first"}, told
    assert output.stderr == "also\\n", output.stderr

def check_any(outputs):
    outputs["resume"].stdout

def do(command, arguments):
    if os.environ.get("HANGS") == command:
        time.sleep(600)
    if "--run-id-file" in arguments:
        with open(arguments[arguments.index("--run-id-file") + 1], "w") as file:
            file.write({"run": "first", "resume": "again"}[command])
        print("2026-11-25 21:16:06.213 [first/start/7 (pid 4961)] Task is starting.")
        print(json.dumps(arguments))
        sys.exit(os.environ.get("BREAKS") == command)
    json.dump({"arguments": arguments, "variable": os.environ.get("NAMED")}, sys.stdout)
    sys.stderr.write("also\\n")
    sys.exit(3)

if __name__ == "__main__":
    assert sys.argv[1] == "--no-pylint", sys.argv
    do(sys.argv[2], sys.argv[3:])
"""

SHOW = {
    "verb": "command",
    "name": "show",
    "args": ["show", "{run_id}", "{run.start}", "{flow}"],
    "env": {"NAMED": "{resume.run_id}"},
    "exit": 3,
}


def _run(
    cell: MakeCell, surroundings: MakeSurroundings, *actions: dict[str, Any], **more: Any
) -> CellOutcome:
    outcome = CellOutcome(cell(FLOW % json.dumps([*actions])))
    run_cell(outcome, surroundings(**more))
    return outcome


def _statuses(outcome: CellOutcome) -> dict[str, str]:
    return {name: check.status.value for name, check in outcome.checks.items()}


def _program(outcome: CellOutcome, name: str) -> list[str]:
    """Return the arguments that an action's program printed."""
    found: list[str] = json.loads(
        outcome.evidence[name].read_text(encoding="utf-8").splitlines()[2]
    )
    return found


RUN: dict[str, Any] = {"verb": "run"}
RESUME: dict[str, Any] = {"verb": "resume"}


def test_actions_are_done_in_order_and_checks_get_what_came_of_them(cell, surroundings):
    show = {**SHOW, "env": {"NAMED": "{run.run_id}"}}
    outcome = _run(cell, surroundings, RUN, RESUME, show)
    assert set(_statuses(outcome).values()) == {"pass"}, outcome.checks
    assert list(outcome.checks) == ["run", "resume", "show", "first", "again", "shown", "any"]
    assert list(outcome.evidence) == ["flow", "resume", "show", "readback"]
    assert "--- err\nalso" in outcome.evidence["show"].read_text(encoding="utf-8")
    assert outcome.pathspec == "OddFlow/first"


def test_what_is_read_again_later_is_the_first_run(cell, surroundings):
    outcome = _run(cell, surroundings, RUN, RESUME, SHOW)
    assert outcome.written is not None
    assert (outcome.written.run_id, outcome.written.passed) == ("first", ("run",))


def test_runs_and_resumes_are_given_what_is_declared(cell, surroundings):
    run = {**RUN, "options": ["--with", "retry"], "parameters": {"x": '{"a": 1}'}}
    resume = {**RESUME, "step": "end", "options": ["--max-workers", "2"]}
    outcome = _run(cell, surroundings, run, resume, SHOW, tags=("t",))
    file = str(surroundings().work)
    assert _program(outcome, "flow") == [
        *("--run-id-file", f"{file}/run-id", "--tag", "t", "--with", "retry", "--x", '{"a": 1}'),
    ]
    assert _program(outcome, "resume") == [
        *("end", "--origin-run-id", "first", "--run-id-file", f"{file}/resume-id", "--tag", "t"),
        *("--max-workers", "2"),
    ]


def test_an_action_that_fails_keeps_what_needs_it_from_running_and_nothing_else(cell, surroundings):
    resume = {**RESUME, "env": {"BREAKS": "resume"}}
    outcome = _run(cell, surroundings, RUN, resume, {**SHOW, "env": {"NAMED": "{run_id}"}})
    done = {"run": "pass", "resume": "fail", "show": "pass"}
    assert _statuses(outcome) == {
        **done,
        "first": "pass",
        "again": "not-run",
        "shown": "pass",
        "any": "not-run",
    }
    assert outcome.checks["resume"].reason.startswith("resume ended with exit code 1: ")
    assert outcome.checks["again"].reason == "the action resume did not end as it should"
    assert outcome.checks["again"].because == "resume"
    assert outcome.checks["any"].because == "resume"
    assert outcome.checks["any"].reason == "the action resume: it did not end as it should"


def test_an_action_that_needs_one_that_failed_is_not_done(cell, surroundings):
    outcome = _run(cell, surroundings, RUN, {**RESUME, "env": {"BREAKS": "resume"}}, SHOW)
    show = outcome.checks["show"]
    assert (show.status, show.because) == (Status.NOT_RUN, "resume")
    assert "show" not in [path.stem for path in surroundings().logs.iterdir()]


def test_a_run_that_fails_keeps_all_that_needs_it_from_running(cell, surroundings):
    outcome = _run(cell, surroundings, {**RUN, "env": {"BREAKS": "run"}}, RESUME, SHOW)
    assert _statuses(outcome)["run"] == "fail"
    assert set(_statuses(outcome).values()) == {"fail", "not-run"}
    first = outcome.checks["first"]
    assert first.reason == "the run did not end as it should: completed"


@pytest.mark.parametrize(
    ("exit_code", "reason"),
    [(4, "and 4 is expected"), (0, "and 0 is expected"), ("non-zero", ""), (3, "")],
)
def test_a_command_must_end_as_it_says(cell, surroundings, exit_code, reason):
    outcome = _run(cell, surroundings, RUN, RESUME, {**SHOW, "exit": exit_code})
    check = outcome.checks["show"]
    assert check.status is (Status.FAIL if reason else Status.PASS)
    assert reason in check.reason


def test_an_action_that_hangs_times_out_and_what_was_done_before_is_not_lost(cell, surroundings):
    resume = {**RESUME, "env": {"HANGS": "resume"}}
    outcome = _run(cell, surroundings, RUN, resume, SHOW, timeout=3)
    found = _statuses(outcome)
    assert found["resume"] == "timeout"
    assert outcome.checks["resume"].reason == "resume was not done within 3 s (--timeout)"
    assert {found[name] for name in ("again", "shown", "show")} == {"not-run"}
    assert outcome.run_id == "first"


def test_a_step_of_which_no_task_was_printed_is_told(cell, surroundings):
    outcome = _run(cell, surroundings, RUN, RESUME, {**SHOW, "args": ["show", "{run.end}"]})
    assert outcome.checks["show"].reason == "the run first printed no task of the step end"


def test_a_read_may_come_before_other_actions(cell, surroundings):
    early = {"verb": "read", "name": "early", "checks": ["first"]}
    outcome = _run(cell, surroundings, RUN, early, RESUME, SHOW)
    assert _statuses(outcome)["first"] == "pass"
    assert list(outcome.evidence) == ["flow", "early", "resume", "show", "readback"]
    assert outcome.written is not None
