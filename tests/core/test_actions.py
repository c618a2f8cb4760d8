"""What a probe says is done with its flow."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.actions import Action
from harness.core.probes import Probe, read_probe
from harness.machine.errors import UsageError

FLOW = "from metaflow import FlowSpec\nclass Plain(FlowSpec):\n    pass\n"
CHECKS = """
def check_a(run, outputs):
    pass
def check_b(output):
    pass
CHECKS = {
    "a": {"about": "", "action": "resume", "client": ">=2.1"},
    "b": {"about": "", "action": "dump"},
}
"""
ACTIONS = """
ACTIONS = [
    {"verb": "run", "env": {"BREAK": "1"}, "before": ["--quiet"], "options": ["--with", "retry"],
     "parameters": {"x": "{\\"a\\": 1}"}, "ends": "failed"},
    {"verb": "resume", "client": ">=2.0.1", "step": "end"},
    {"verb": "command", "name": "dump", "args": ["dump", "{resume.start}"], "exit": "non-zero",
     "service": ">=2.0"},
    {"verb": "command", "name": "status", "program": "metaflow", "args": ["status"], "exit": 2},
    {"verb": "read", "name": "early", "checks": ["a"]},
    {"verb": "command", "name": "init", "role": "resumer", "run_id": "x-{unique}",
     "args": ["init", "--run-id", "x-{unique}", "--task-id", "{run_id}"], "about": "of its own"},
]
"""


def _read(folder: Path, text: str) -> Probe:
    path = folder / "f.py"
    path.write_text(FLOW + text, encoding="utf-8")
    probe = read_probe(path)
    assert probe is not None
    return probe


def test_a_plain_flow_is_run_and_read(tmp_path):
    probe = _read(tmp_path, 'ENDS = "failed"\n')
    run, read = probe.actions
    assert (run.verb, run.name, run.role, run.ends) == ("run", "run", "writer", "failed")
    assert (read.verb, read.name, read.role) == ("read", "read", "reader")


def test_actions_are_read_in_order(tmp_path):
    probe = _read(tmp_path, CHECKS + ACTIONS)
    run, resume, dump, status, early, init, last = probe.actions
    assert (run.environment, run.before) == ((("BREAK", "1"),), ("--quiet",))
    assert (run.options, run.parameters) == (("--with", "retry"), (("x", '{"a": 1}'),))
    assert (resume.origin, resume.step, resume.role) == ("run", "end", "resumer")
    assert (dump.exit_code, dump.arguments) == (None, ("dump", "{resume.start}"))
    assert (status.program, status.exit_code) == ("metaflow", 2)
    assert early.checks == ("a",)
    assert (init.role, init.run_id, init.about) == ("resumer", "x-{unique}", "of its own")
    assert (last.verb, last.name) == ("read", "read")
    assert probe.ends == "failed"


def test_each_action_but_a_read_has_a_check_of_its_name(tmp_path):
    checks = _read(tmp_path, CHECKS + ACTIONS).checks
    assert [check.name for check in checks] == ["run", "resume", "dump", "status", "init", "a", "b"]
    assert checks[3].about == "the command 'status' of metaflow ends with 2"
    assert all(len(check.about.split()) > 2 for check in checks[:5])


def test_what_an_action_needs_is_what_those_that_use_it_need(tmp_path):
    probe = _read(tmp_path, CHECKS + ACTIONS)
    by_name = {check.name: check for check in probe.checks}
    assert [action.needs for action in probe.actions] == [
        *((), ("run",), ("resume",), (), (), ("run",), ()),
    ]
    dump, a, b = by_name["dump"], by_name["a"], by_name["b"]
    assert (dump.client, dump.service) == (">=2.0.1", ">=2.0")
    assert (a.client, a.service, a.action) == (">=2.0.1,>=2.1", "", "resume")
    assert (b.client, b.service) == (">=2.0.1", ">=2.0")


def test_only_what_looks_at_the_first_run_alone_can_be_made_again(tmp_path):
    text = (
        "def check_a(run):\n  pass\ndef check_b(run, outputs):\n  pass\ndef check_c(r):\n  pass\n"
        'CHECKS = {"a": {"about": ""}, "b": {"about": ""}, "c": {"about": ""}}\n'
    )
    probe = _read(tmp_path, text)
    wants = {check.name: (check.wants, check.of_first_run) for check in probe.checks}
    assert wants["a"] == wants["c"] == (("run",), True)
    assert wants["b"] == (("run", "outputs"), False)
    assert not any(check.of_first_run for check in _read(tmp_path, CHECKS + ACTIONS).checks[-2:])


def _actions(*entries: str) -> str:
    return "ACTIONS = [\n" + ",\n".join(entries) + "]\n"


RUN = '{"verb": "run"}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ACTIONS = {}\n", "4: ACTIONS is not a list"),
        ("ACTIONS = []\n", "4: ACTIONS: no action runs the flow"),
        (_actions('{"verb": "resume"}'), r"5: ACTIONS\[0\]: no earlier action 'run' makes a run"),
        (_actions('{"name": "a"}'), r"5: ACTIONS\[0\]: a dict that has 'verb' is expected"),
        (_actions('"run"'), r"5: ACTIONS\[0\] is not a dict"),
        (_actions('{"verb": "walk"}'), r"ACTIONS\[0\]: verb is 'walk'; run or resume or"),
        (_actions(RUN, RUN), r"6: ACTIONS\[1\]: the first action that runs the flow is called"),
        (_actions('{"verb": "run", "name": "a"}'), "is called 'run', and only that one; this is"),
        (
            _actions(RUN, '{"verb": "resume"}', '{"verb": "resume"}'),
            "7: .* action 'resume' already",
        ),
        (_actions('{"verb": "run", "origin": "x"}'), r"ACTIONS\[0\]: unknown field 'origin'"),
        (_actions('{"verb": "run", "env": {"A": 1}}'), r"ACTIONS\[0\]: env\['A'\] is not a str"),
        (_actions('{"verb": "run", "env": {1: "a"}}'), "a name that is a str is expected"),
        (_actions('{"verb": "run", "options": "x"}'), "options is not a list"),
        (_actions('{"verb": "run", "ends": "well"}'), "ends is 'well'; completed or failed"),
        (
            _actions('{"verb": "run", "role": "boss"}'),
            "role is 'boss'; reader or resumer or writer",
        ),
        (_actions('{"verb": "run", "client": 5}'), r"ACTIONS\[0\]: client is not a str"),
        (_actions(RUN, '{"verb": "command", "exit": 256}'), "exit is 256; 0 to 255 or 'non-zero'"),
        (_actions(RUN, '{"verb": "command", "exit": True}'), "exit is True; 0 to 255"),
        (
            _actions(RUN, '{"verb": "command", "name": "a b"}'),
            "name is 'a b', and a name of letters",
        ),
        (_actions(RUN, '{"verb": "command", "name": "flow"}'), "the name 'flow' is reserved"),
        (_actions(RUN, '{"verb": "command", "args": ["{x}"]}'), r"6: .* nobody knows \{x\}"),
        (
            _actions(RUN, '{"verb": "command", "args": ["{x.start}"]}'),
            "no earlier action 'x' makes",
        ),
        (_actions('{"verb": "run", "options": ["{run_id}"]}'), "no earlier action 'run' makes"),
        (_actions(RUN, '{"verb": "resume", "origin": "x"}'), "no earlier action 'x' makes a run"),
        (
            _actions(RUN, '{"verb": "read", "checks": ["x"]}'),
            "the check 'x', which is not in CHECKS",
        ),
        (
            _actions(RUN) + 'ENDS = "failed"\n',
            "ENDS is said by each action where there are ACTIONS",
        ),
        (ACTIONS.replace('["a"]', '["b", "b"]') + CHECKS, "'b', which another read makes"),
        (
            CHECKS.replace('"action": "resume"', '"action": "init"') + ACTIONS,
            "the read 'early' makes the check 'a', which judges 'init', done later",
        ),
        (
            CHECKS.replace('"a"', '"resume"').replace("check_a", "check_resume") + ACTIONS,
            "reserved",
        ),
        (
            CHECKS.replace('"dump"}', '"dumps"}') + ACTIONS,
            "action is 'dumps'; run or resume or dump",
        ),
        (
            CHECKS.replace("run, outputs", "run, other") + ACTIONS,
            "check_a wants 'other', and there",
        ),
    ],
)
def test_what_is_malformed_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(UsageError, match=message) as refused:
        _read(tmp_path, text)
    assert str(refused.value).startswith(f"{tmp_path / 'f.py'}:")


def test_a_digest_is_of_the_file_and_of_what_it_includes(tmp_path):
    included = tmp_path / "included"
    (included / "deep").mkdir(parents=True)
    for name in ("a.txt", "deep/b.txt", "other.txt"):
        (included / name).write_text("before", encoding="utf-8")
    text = 'A = "a.txt"\nB = "deep/b.txt"\n'
    digest = _read(tmp_path, text).digest
    assert len(digest) == 64
    assert _read(tmp_path, text).digest == digest
    (included / "other.txt").write_text("after", encoding="utf-8")
    assert _read(tmp_path, text).digest == digest
    changed = {digest, _read(tmp_path, text + "# more\n").digest}
    for name in ("a.txt", "deep/b.txt"):
        (included / name).write_text("after", encoding="utf-8")
        changed.add(_read(tmp_path, text).digest)
    assert len(changed) == 4


def test_actions_of_a_probe_are_found_by_name(tmp_path):
    assert _read(tmp_path, "").action("run") == Action(
        "run", "run", "writer", "the run ends well, is read back finished, and has its row"
    )
