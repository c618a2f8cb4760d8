"""Whatever is in a file, on the command line or in an answer: only clear errors come of it.

A few examples, always the same ones, go with every run; ``-m exhaustive`` looks for new ones.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from harness.catalog.versions import load
from harness.cli.declared import options_of
from harness.cli.draft import read as read_options
from harness.cli.parser import SESSIONS, build_parser
from harness.cli.searched import find_searched
from harness.client.acknowledged import promised
from harness.core import expectations, journal
from harness.core.probes import FLOWS, find_probes, read_probe
from harness.core.view import View
from harness.machine.errors import HarnessError
from harness.machine.tools import ROOT
from harness.proof import contract
from harness.report.files import write_reports
from harness.report.terminal import Screen
from harness.stack.proxy.relay import Answer, Asked
from harness.stack.service import migration
from harness.stack.service.identity import reported_version
from harness.stack.service.launcher import ServiceError
from tests.proof.standin import serving
from tests.report import journals

FEW, MANY = 30, 2000
BUDGETS = [
    pytest.param(FEW, id="few"),
    pytest.param(MANY, id="many", marks=pytest.mark.exhaustive),
]
fuzzed = pytest.mark.parametrize("examples", BUDGETS)

CATALOG = load()
PROBES = tuple(find_probes(FLOWS).values())

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True)
    | st.text(max_size=20)
    | st.sampled_from(["", "all", "2.19.39", ">=2", "<2,>1", "v2.5.1", "local", "\ud800", "\x00"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def hold(examples: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    """Look for an example that raises what is no error of ours."""

    @settings(
        max_examples=examples,
        derandomize=examples == FEW,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def holds(example: Any) -> None:
        with contextlib.suppress(HarnessError, ServiceError):
            check(example)

    holds()


def changed(whole: object) -> st.SearchStrategy[Any]:
    """Return what makes a few changes to a JSON value: another one, a like one, less or more."""

    def several(*kinds: str) -> st.SearchStrategy[list[tuple[int, str, Any]]]:
        one = st.tuples(st.integers(0, 2**32), st.sampled_from(kinds), VALUES)
        return st.lists(one, min_size=1, max_size=3)

    # What is all of the right type comes further.
    changes = several("put", "cut", "add", "like") | several("like")
    return changes.map(lambda found: _changed(whole, found))


def _changed(whole: object, changes: list[tuple[int, str, Any]]) -> Any:
    top = [copy.deepcopy(whole)]
    for seed, what, value in changes:
        drawn = random.Random(seed)
        place: Any = top
        key: Any = 0
        # Down to where it stops by chance: what is deep is as often met as what is not.
        while isinstance(place[key], dict | list) and place[key] and drawn.random() < 0.85:
            place = place[key]
            key = drawn.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if what == "like":
            # Of the same type: what is behind the reading of types is met, too.
            place[key] = _like(drawn, place[key])
        elif what == "put" or place is top:
            place[key] = value
        elif what == "cut":
            del place[key]
        elif isinstance(place, dict):
            place["more"] = value
        else:
            place.insert(key, value)
    return top[0]


_TEXTS = ("", " ", "\x00", "\ud800", "\x1b[2J", "<b>", "a/b", "../x", "2.19.39", ">=2", "x" * 3000)
_NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**70))


def _like(drawn: random.Random, value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return drawn.choice([*_TEXTS, value * 2, value.upper(), value[1:]])
    if isinstance(value, int | float):
        return type(value)(drawn.choice(_NUMBERS))
    if isinstance(value, list):
        return drawn.choice([[], value[::-1], [*value, *value], value[1:]])
    if isinstance(value, dict):
        return drawn.choice(
            [{}, dict(list(value.items())[1:]), {key.upper(): value[key] for key in value}]
        )
    return value


def written(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@fuzzed
def test_versions(examples: int, tmp_path: Path):
    whole = json.loads((ROOT / "versions.json").read_text(encoding="utf-8"))
    # Of many alike a few do: an example is 267 clients otherwise.
    whole["clients"] = whole["clients"][:3] + whole["clients"][-3:]
    whole["services"] = whole["services"][:3] + whole["services"][-3:]
    file = tmp_path / "versions.json"
    load(written(file, whole))  # a good one: each of its parts is met
    hold(examples, changed(whole), lambda value: (load(written(file, value)), None)[1])


@fuzzed
def test_expectations(examples: int, tmp_path: Path):
    whole = json.loads((ROOT / "expectations.json").read_text(encoding="utf-8"))
    whole["expectations"] = whole["expectations"][-12:]
    file = tmp_path / "expectations.json"

    def check(value: object) -> None:
        expectations.load(CATALOG, PROBES, written(file, value))

    check(whole)
    hold(examples, changed(whole), check)


@fuzzed
@pytest.mark.parametrize("reader", ["json", "journal", "probe"])
def test_bytes(examples: int, tmp_path: Path, reader: str):
    """Of files that hold anything at all."""
    begin = {"json": [b"{", b"[[[["], "journal": [b'{"kind":"begun"'], "probe": [b"CHECKS = {"]}
    anything = st.binary(max_size=60) | st.builds(
        lambda first, rest: first + rest, st.sampled_from(begin[reader]), st.binary(max_size=40)
    )
    file = tmp_path / {"json": "e.json", "journal": "journal.jsonl", "probe": "p.py"}[reader]

    def check(content: bytes) -> None:
        file.write_bytes(content)
        if reader == "json":
            expectations.load(CATALOG, (), file)
        elif reader == "journal":
            journal.read(tmp_path)
        else:
            read_probe(file)

    hold(examples, anything, check)


def words_of(session: str) -> st.SearchStrategy[list[str]]:
    names = [option.name for option in options_of(session) if option.has_dashes]
    value = st.text(max_size=12) | st.sampled_from(
        ["all", "2.19.39", ">=2", "7", "-1", "nan", "local,s3", "a=b", "s3://b/p", "full-disk=3"]
    )
    word = st.sampled_from(names) | value
    pair = st.tuples(st.sampled_from(names), value).map(list)
    return st.lists(pair | word.map(lambda one: [one]), max_size=5).map(
        lambda parts: [text for part in parts for text in part]
    )


@fuzzed
@pytest.mark.parametrize("session", SESSIONS)
def test_options(examples: int, session: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # What they name is looked for here, and is not there.
    monkeypatch.chdir(tmp_path)

    def check(words: list[str]) -> None:
        try:
            if session in {"clean", "diff", "report", "rerun", "ui"}:
                build_parser(session).read(words)
            elif session == "bisect":
                find_searched(build_parser(session).read(words), CATALOG, lambda: "no engine")
            else:
                read_options(session, words, CATALOG)
        except SystemExit as error:
            assert error.code == 0, "it is the help"  # noqa: PT017

    # It costs next to nothing, and there is much to put together.
    hold(max(5 * FEW, examples), words_of(session), check)


PROBE = {
    "CHECKS": {
        "good": {"about": "it", "client": ">=2.2", "service": ">=2", "action": "again"},
        "bad": {"about": "it", "writer": "<3", "release": ">=2", "package": "numpy"},
    },
    "TAGS": ["a"],
    "DATASTORES": ["local"],
    "PACKAGES": ["numpy"],
    "SHOWS": {"log": ["start", "a"], "artifact": ["x", "1"], "card": "end", "steps": {"start": 1}},
    "FLOW": "OddFlow",
    "COVERED_BY": "basics",
    "ACTIONS": [
        {"verb": "run", "env": {"A": "b"}, "ends": "failed"},
        {"verb": "resume", "name": "again", "step": "end", "about": "it", "client": ">=2"},
        {"verb": "command", "name": "told", "args": ["status", "{run.start}"], "about": "it"},
        {"verb": "read", "name": "later", "checks": ["good"]},
    ],
}


@fuzzed
def test_probes(examples: int, tmp_path: Path):
    file = tmp_path / "odd.py"

    def check(value: object) -> None:
        declared = value if isinstance(value, dict) else {"CHECKS": value}
        # A float that is none has no literal: it is a name there.
        lines = [f"{name} = {one!r}" for name, one in declared.items() if name.isidentifier()]
        flow = "class FlowSpec: pass\nclass OddFlow(FlowSpec): pass"
        functions = "def check_good(run): pass\ndef check_bad(run, rows): pass"
        text = "\n".join([*lines, flow, functions])
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        read_probe(file)

    check(PROBE)  # which is a good one: each of its parts is met
    hold(examples, changed(PROBE), check)


@fuzzed
def test_journals(examples: int, tmp_path: Path):
    cells = [journals.cell("2.19.39", "v2.5.1"), journals.cell("2.2.13", "v2.5.1", BAD)]
    folder = tmp_path / "whole"
    journals.write(folder, cells, stages=[journals.stage(1, "v2.5.1")])
    lines = (folder / "journal.jsonl").read_bytes().splitlines()
    whole = [json.loads(line) for line in lines]
    file = tmp_path / "journal.jsonl"

    def check(value: object) -> None:
        lines = value if isinstance(value, list) else [value]
        file.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        view = View(journal.read(tmp_path))
        Screen(Console(file=io.StringIO())).end(view, tmp_path)
        write_reports(view, tmp_path)

    check(whole)  # a good one, too
    hold(examples, changed(whole), check)


BAD = {"run": ("fail", "it broke")}
BODIES = VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=30)
STATUSES = st.sampled_from([200, 200, 200, 201, 404, 409, 500, 503])
TASK = "/flows/F/runs/7/steps/start/tasks/9"


@fuzzed
def test_answers_to_clients(examples: int):
    paths = ("/flows/F/run", "/flows/F/runs/7/steps/a/task", f"{TASK}/artifact", f"{TASK}/metadata")
    asked = st.builds(
        lambda path, sent, status, told: Asked(
            0.0, path, "POST", sent, Answer(status, "", (), told)
        ),
        st.sampled_from(paths),
        BODIES,
        STATUSES,
        BODIES,
    )
    hold(examples, asked, lambda one: (list(promised(one)), None)[1])


@pytest.mark.parametrize("examples", [pytest.param(2, id="few"), *BUDGETS[1:]])
def test_answers_to_the_harness(examples: int):
    """A service that answers anything has problems, and breaks nothing."""
    current: list[tuple[int, bytes]] = []

    def answer(method: str, path: str) -> tuple[int, bytes, Mapping[str, str]]:
        at = sum(map(ord, method + path)) % len(current)
        return (*current[at], {"Content-Type": "application/json"})

    with serving(answer) as url:
        log = Path("nothing")
        running: Any = SimpleNamespace(
            url=url, migration_url=url, log=log, service=CATALOG.services[-1], check_alive=int
        )

        def check(answers: list[tuple[int, bytes]]) -> None:
            current[:] = answers
            reported_version(running)
            found = contract.exercise(url, None, "Fuzz_1")
            contract.undeclared(found, running.service, 0)
            contract.unusual(found, running.service)
            migration.schema_status(running)

        several = st.lists(st.tuples(STATUSES, BODIES), min_size=1, max_size=5)
        hold(min(examples, 150), several, check)
