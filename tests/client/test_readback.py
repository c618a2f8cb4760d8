"""The program that reads runs back, on the oldest Python here, with a client's API of a few lines.

Real clients run it in the end-to-end tests; this is about what it makes of failures, which no
client shows at will.
"""

from __future__ import annotations

import ast
import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.catalog.interpreters import find_interpreters
from harness.client.inside.readback_checks import object_url
from harness.client.reading import READBACK

FAKE_CLIENT = """
class Thing(list):
    def __init__(self, id, items=(), **more):
        super().__init__(items)
        self.id = id
        self.__dict__.update(more)

current = "somebody"

def namespace(name):
    global current
    current = name

def Run(pathspec):
    if current is not None:
        raise RuntimeError("not in namespace " + current)
    flow, run_id = pathspec.split("/")
    if run_id == "absent":
        raise RuntimeError("Run('%s') does not exist" % pathspec)
    metadata = [Thing("", name="b", value="2"), Thing("", name="a", value="1")]
    task = Thing("7", [Thing("y"), Thing("x")], metadata=metadata)
    return Thing(run_id, [Thing("start", [task])], pathspec=pathspec, tags={"t", "s"},
                 finished="running" not in run_id, successful="failed" not in run_id)
"""

PROBE = """
import os
import signal
import sys
import threading
import time

import metaflow

def check_good(run):
    metaflow.namespace("somebody")
    return {"runs_v3": [{"tags": ["t"]}]}

def check_nothing(run):
    pass

def check_wrong(run):
    assert run.id == "other", "id is %r" % run.id

def check_bare(run):
    assert False

def check_true(run):
    return True

def check_false(run):
    return False

def check_list(run):
    return [{"name": "x"}]

def check_no_list(run):
    return {"artifact_v3": {"name": "x"}}

def check_no_columns(run):
    return {"artifact_v3": ["x"]}

def check_bytes(run):
    return {"artifact_v3": [{"name": b"x"}]}

def check_raises(run):
    raise KeyError("häß")

class ServiceException(Exception):
    headline = "Metaflow service error"

    def __init__(self, message):
        self.message = message
        super().__init__()

class Unwilling:
    def __repr__(self):
        raise ValueError("no")

LIMIT = 3
ODD = Unwilling()

def check_values(run):
    numbers = list(range(100))
    assert (len(numbers) <
            LIMIT) and ODD and run

def check_called(run):
    helper()

def helper():
    raise ServiceException("code 500")

def check_elsewhere(run):
    metaflow.Run("F/absent")

def check_hidden(run):
    try:
        {}["first"]
    except KeyError:
        raise ServiceException("")

def check_cause(run):
    try:
        int("x")
    except ValueError as error:
        raise RuntimeError("last") from error

def check_raised_bare(run):
    raise AssertionError

def check_given(first, output, runs, *, outputs, more=1):
    assert (first.id, runs["resume"].id, output.code) == ("1", "2", 3)
    assert (output.stdout, output.stderr) == ("häß\\n", "no\\n")
    assert (outputs["run"].stdout, outputs["run"].stderr) == ("all\\n", "")

def check_not_done(run, outputs):
    outputs["broken"]

def check_nobody(runs):
    runs["unknown"]

def check_alone():
    pass

def check_exits(run):
    sys.exit()

def check_exits_at_once(run):
    os._exit(0)

def check_exits_badly(run):
    os._exit(7)

def check_killed(run):
    os.kill(os.getpid(), signal.SIGKILL)

def check_interrupts(run):
    raise KeyboardInterrupt

def check_base(run):
    raise BaseException("of its own")

def check_recurses(run):
    check_recurses(run)

def check_forks(run):
    os.fork()

def check_closes(run):
    os.closerange(3, 200)

def check_spoils(run):
    for number in range(3, 20):
        try:
            os.write(number, b"{" + bytes([10]))
        except OSError:
            pass

def check_leaves(run):
    os.chdir("/")
    os.environ["LEFT"] = "1"
    sys.setrecursionlimit(60)
    metaflow.Run = None
    sys.stdout.close()
    threading.Thread(target=time.sleep, args=(600,)).start()

def check_sees_nothing_of_it(run):
    assert os.getcwd() != "/" and "LEFT" not in os.environ

class Untold(Exception):
    def __str__(self):
        raise SystemExit

def check_untold(run):
    raise Untold

class Endless(dict):
    def values(self):
        return iter(list, 1)

def check_endless(run):
    return Endless()

def check_loops(run):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pass

def check_blocks(run):
    os.read(os.pipe()[0], 1)
"""


def _at(source: str) -> str:
    lines = PROBE.splitlines()
    return f"probe_file.py:{next(n for n, line in enumerate(lines, 1) if source in line)}"


EMPTY = 'ServiceException("")'

REASONS = {
    "values": "assert (len(numbers) < LIMIT) and ODD and run; "
    "numbers is [0, 1, 2, 3, 4, 5, ...]; LIMIT is 3; ODD is <Unwilling instance at 0x",
    "called": f"ServiceException: Metaflow service error: code 500 ({_at('code 500')})",
    "elsewhere": f"RuntimeError: Run('F/absent') does not exist ({_at('F/absent')}, raised at ",
    "hidden": f"ServiceException: Metaflow service error ({_at(EMPTY)}); "
    f"after KeyError: 'first' ({_at('first')})",
    "cause": f"RuntimeError: last ({_at('last')}); "
    f"after ValueError: invalid literal for int() with base 10: 'x' ({_at('int(')})",
    "raised_bare": f"AssertionError ({_at('raise AssertionError')})",
}


@pytest.fixture(scope="module")
def oldest() -> Path:
    found = find_interpreters()
    return found[min(found, key=lambda minor: int(minor.split(".")[1]))]


def _read(
    oldest: Path, folder: Path, *requests: dict[str, Any], seconds: float = 60
) -> tuple[list[dict[str, Any]], str]:
    """Run the program; return its answers and what it printed."""
    (folder / "metaflow.py").write_text(FAKE_CLIENT, encoding="utf-8")
    (folder / "probe_file.py").write_text(PROBE, encoding="utf-8")
    runs = [_question(folder, **one) for one in requests]
    whole = {"deadline": time.time() + seconds, "runs": runs}
    (folder / "request.json").write_text(json.dumps(whole), encoding="utf-8")
    finished = subprocess.run(
        [str(oldest), str(READBACK), "request.json", "answer.json"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads((folder / "answer.json").read_text(encoding="utf-8")), finished.stderr


def _question(
    folder: Path,
    *,
    run_id: str,
    checks: Sequence[str],
    ends: str = "completed",
    action: str = "run",
    results: dict[str, Any] | None = None,
) -> dict[str, Any]:
    kinds = {name: ends if name == "run" else "probe" for name in checks}
    return {
        "flow_file": str(folder / "probe_file.py"),
        "flow": "F",
        "run_id": run_id,
        "checks": [
            {"name": name, "kind": kind, "action": action, "run_id": run_id}
            for name, kind in kinds.items()
        ],
        "results": results or {},
        "listed": True,
        "by_path": False,
    }


def test_its_syntax_is_that_of_the_oldest_python():
    files = sorted(READBACK.parent.glob("*.py"))
    assert READBACK in files
    for file in files:
        ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_its_parts_hide_no_module_of_a_client_or_a_probe():
    names = {file.stem for file in READBACK.parent.glob("*.py")} - {"__init__"}
    assert [name for name in names if not name.startswith("readback")] == []


def test_each_check_gets_its_outcome(oldest, tmp_path):
    names = ["run", "good", "nothing", "wrong", "bare", "raises"]
    (answer,), errors = _read(oldest, tmp_path, {"run_id": "1", "checks": names})
    found = {name: (check["status"], check["reason"]) for name, check in answer["checks"].items()}
    assert list(found) == names
    assert found["run"] == found["good"] == found["nothing"] == ("pass", "")
    assert found["wrong"] == ("fail", f"id is '1' ({_at('other')})")
    assert found["bare"] == ("fail", f"assert False ({_at('assert False')})")
    assert found["raises"] == ("fail", f"KeyError: 'häß' ({_at('häß')})")
    assert answer["checks"]["good"]["rows"] == {"runs_v3": [{"tags": ["t"]}]}
    assert answer["checks"]["nothing"]["rows"] == {}
    assert errors.count("Traceback") == 3


def test_a_check_that_returns_something_else_than_rows_fails_and_the_next_is_made(oldest, tmp_path):
    odd = {
        "true": "True",
        "false": "False",
        "list": "[{'name': 'x'}]",
        "no_list": "{'artifact_v3': {'name': 'x'}}",
        "no_columns": "{'artifact_v3': ['x']}",
    }
    names = [*odd, "bytes", "good"]
    (answer,), _ = _read(oldest, tmp_path, {"run_id": "1", "checks": names})
    for name, returned in odd.items():
        reason = f"returned {returned}, not {{table: [columns, ...]}}"
        assert answer["checks"][name] == {"status": "fail", "reason": reason, "rows": {}}
    assert answer["checks"]["bytes"]["status"] == "fail"
    assert "JSON" in answer["checks"]["bytes"]["reason"]
    assert answer["checks"]["good"]["status"] == "pass"


@pytest.mark.parametrize("minor", ["3.6", "3.11", "3.13"])
def test_a_reason_says_what_was_raised_where_and_after_what(minor, tmp_path):
    python = find_interpreters().get(minor)
    if python is None:
        pytest.skip(f"no Python {minor} here")
    (answer,), _ = _read(python, tmp_path, {"run_id": "1", "checks": list(REASONS)})
    found = {name: check["reason"] for name, check in answer["checks"].items()}
    if minor == "3.6":  # it cannot tell where an expression ends
        assert found.pop("values").startswith("assert (len(numbers) <; numbers is [0, 1, 2,")
    for name, reason in found.items():
        assert reason.startswith(REASONS[name])


def test_a_check_is_given_what_it_asks_for_by_name(oldest, tmp_path):
    texts = {"out": "häß\n", "err": "no\n", "log": "$ python flow.py\nall\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    results = {
        "run": {"run_id": "1", "wrong": "", "code": 0, "stdout": "log", "stderr": ""},
        "resume": {"run_id": "2", "wrong": "", "code": 0, "stdout": "log", "stderr": ""},
        "dump": {"run_id": "", "wrong": "", "code": 3, "stdout": "out", "stderr": "err"},
        "broken": {"run_id": "", "wrong": "it is odd", "code": None, "stdout": "", "stderr": ""},
    }
    names = ["given", "not_done", "nobody", "alone"]
    request = {"run_id": "1", "checks": names, "action": "dump", "results": results}
    (answer,), _ = _read(oldest, tmp_path, request)
    found = {name: (check["status"], check["reason"]) for name, check in answer["checks"].items()}
    assert found == {
        "given": ("pass", ""),
        "not_done": ("not-run", "the action broken: it is odd"),
        "nobody": ("not-run", "the action unknown: it was not done"),
        "alone": ("pass", ""),
    }


ALONE = {
    "exits": f"SystemExit ({_at('sys.exit()')})",
    "exits_at_once": "ended the process that made it, by an exit as if all were well",
    "exits_badly": "ended the process that made it, by exit code 7",
    "killed": "ended the process that made it, by signal 9",
    "interrupts": f"KeyboardInterrupt ({_at('raise KeyboardInterrupt')})",
    "base": f"BaseException: of its own ({_at('of its own')})",
    "recurses": "RecursionError: maximum recursion depth exceeded",
    "forks": "",
    "closes": "ended the process that made it, by ",
    "spoils": "left an answer that cannot be read: ",
    "leaves": "",
    "sees_nothing_of_it": "",
    "untold": "Untold",
}


def test_a_check_that_does_odd_things_fails_alone(oldest, tmp_path):
    (answer,), _ = _read(oldest, tmp_path, {"run_id": "1", "checks": [*ALONE, "good", "run"]})
    found = {name: check["reason"] for name, check in answer["checks"].items()}
    for name, reason in ALONE.items():
        assert found[name].startswith(reason)
        assert answer["checks"][name]["status"] == ("fail" if reason else "pass")
    assert answer["checks"]["good"]["status"] == answer["checks"]["run"]["status"] == "pass"
    assert answer["listing"]["status"] == "pass"


def test_a_check_that_never_ends_times_out_alone(oldest, tmp_path):
    names = ["loops", "good", "blocks", "endless", "run"]
    (answer,), _ = _read(oldest, tmp_path, {"run_id": "1", "checks": names}, seconds=4)
    found = {name: check["status"] for name, check in answer["checks"].items()}
    ended = dict.fromkeys(["loops", "blocks", "endless"], "timeout")
    assert found == {**ended, "good": "pass", "run": "pass"}
    assert answer["checks"]["loops"]["reason"].startswith("not done within ")
    assert answer["listing"]["status"] == "pass"


def test_what_had_no_time_is_not_run(oldest, tmp_path):
    (answer,), _ = _read(oldest, tmp_path, {"run_id": "1", "checks": ["good"]}, seconds=0)
    assert answer["checks"]["good"]["status"] == answer["listing"]["status"] == "not-run"
    assert answer["inventory"] is None


def test_the_inventory_is_sorted(oldest, tmp_path):
    (answer,), _ = _read(oldest, tmp_path, {"run_id": "1", "checks": []})
    assert answer["inventory"] == {
        "tags": ["s", "t"],
        "steps": {"start": {"7": {"artifacts": ["x", "y"], "metadata": ["a=1", "b=2"]}}},
    }
    assert answer["listing"]["reason"] == ""


def test_a_namespace_that_a_check_left_does_not_hide_the_next_run(oldest, tmp_path):
    request = {"run_id": "1", "checks": ["run", "good"]}
    answers, _ = _read(oldest, tmp_path, request, {**request, "run_id": "2"})
    assert [answer["checks"]["run"]["status"] for answer in answers] == ["pass", "pass"]


def test_a_check_that_leaves_a_namespace_does_not_fail_the_next_one(oldest, tmp_path):
    (answer,), _ = _read(oldest, tmp_path, {"run_id": "1", "checks": ["good", "nothing"]})
    assert answer["checks"]["nothing"] == {"status": "pass", "reason": "", "rows": {}}
    assert answer["inventory"] is not None


@pytest.mark.parametrize(("run_id", "word"), [("running", "finished"), ("failed", "successful")])
def test_a_run_that_did_not_end_well_fails_the_check_run(oldest, tmp_path, run_id, word):
    (answer,), _ = _read(oldest, tmp_path, {"run_id": run_id, "checks": ["run"]})
    assert answer["checks"]["run"]["status"] == "fail"
    assert answer["checks"]["run"]["reason"] == f"F/{run_id} is not {word}"


def test_a_run_that_should_fail_must_be_read_back_so(oldest, tmp_path):
    requests = [
        {"run_id": run_id, "ends": "failed", "checks": ["run"]}
        for run_id in ("running failed", "failed", "1")
    ]
    answers, _ = _read(oldest, tmp_path, *requests)
    found = [answer["checks"]["run"] for answer in answers]
    assert found[0] == {"status": "pass", "reason": "", "rows": {"runs_v3": [{}]}}
    assert found[1]["reason"] == "F/failed failed and is read back finished"
    assert found[2]["reason"] == "F/1 failed and is read back successful"


def test_a_run_that_is_not_there_is_told_and_the_next_is_read(oldest, tmp_path):
    answers, _ = _read(
        oldest, tmp_path, {"run_id": "absent", "checks": ["run"]}, {"run_id": "1", "checks": []}
    )
    assert answers[0]["inventory"] is None
    assert "Run('F/absent') does not exist" in answers[0]["listing"]["reason"]
    assert answers[0]["checks"]["run"]["status"] == "fail"
    assert answers[1]["inventory"] is not None


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("s3://b/p/F/data/ab/abcd", "s3://b/p/F/data/ab/abcd"),
        (":root:s3://b/p", "s3://b/p/F/data/ab/abcd"),
        (":root:s3://b/p/", "s3://b/p/F/data/ab/abcd"),
    ],
)
def test_the_object_of_an_artifact_is_known_from_old_and_new_locations(location, url):
    assert object_url("F", {"location": location, "sha": "abcd"}) == url
