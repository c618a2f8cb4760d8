"""The acceptance check by a backend's API, on a stand-in over rows of a real client."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Mapping
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from packaging.version import Version

from harness.core.outcome import CheckOutcome, Status
from harness.machine.errors import InfraError
from harness.machine.processes import free_port
from harness.proof.ui.acceptance import CHECKS, judge, no_card, no_graph

pytestmark = pytest.mark.e2e

SHORT = 1.0
"""A planted fault does not go away: there is nothing to wait for."""


def _statuses(outcomes: Mapping[str, CheckOutcome]) -> dict[str, Status]:
    return {name: outcome.status for name, outcome in outcomes.items()}


def test_a_sound_backend_passes(written, standin):
    with standin(written.database.address) as (api, _):
        card = judge(api, written.runs["card"])
        failing = judge(api, written.runs["failing"])
    assert tuple(card) == CHECKS
    assert _statuses(card) == dict.fromkeys(CHECKS, Status.PASS), card
    assert _statuses(failing) == {
        **dict.fromkeys(CHECKS, Status.PASS),
        "card": Status.UNSUPPORTED,
    }, failing
    assert failing["card"].reason == "nothing says that this run of client 2.19.39 has a card"


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        ("list", "listed", "runs?run_number={run} lists no run {run}"),
        ("status", "status", "runs/{run} says running, the run is completed"),
        ("timeline", "timeline", "tasks lists 0 of 1 tasks of end"),
        ("dag", "dag", "runs/{run}/dag answered 500"),
        ("tags", "tags", "finds runs, though none has the tag"),
        ("search", "artifact_search", "key=shape&value=hexagon finds 0 of 2 tasks"),
        ("unreadable", "artifact_search", "finds 0 of 2 tasks; not searchable: read: planted"),
        ("odd", "artifact_search", "answered sent '[{"),
        ("matches", "artifact_search", "found no list of records, but 7"),
        ("log", "logs", "has no line 'this line went to the standard output', but []"),
        ("card", "card", "cards lists no card"),
    ],
)
def test_a_planted_fault_is_found_by_name(written, standin, fault, check, words):
    with standin(written.database.address, fault) as (api, _):
        outcomes = judge(api, written.runs["card"], SHORT)
    found = {name for name, outcome in outcomes.items() if outcome.status is not Status.PASS}
    # The run is looked for in lists by its tag, too, and all searches find nothing.
    along = {"listed": "tags", "artifact_search": "search_after_log"}
    assert found == {check, along.get(check, check)}
    assert outcomes[check].status is Status.FAIL
    assert words.replace("{run}", written.runs["card"].run) in outcomes[check].reason
    assert api.partition("//")[2] in outcomes[check].reason


def test_a_failed_run_shown_otherwise_is_found(written, standin):
    with standin(written.database.address, "status") as (api, _):
        outcome = judge(api, written.runs["failing"], SHORT)["status"]
    assert outcome.status is Status.FAIL
    assert outcome.reason.endswith("says running, the run is failed")


def test_an_artifact_that_cannot_be_read_is_told(written, standin):
    run = written.runs["card"]
    more = dataclasses.replace(run.artifact, tasks=3)
    with standin(written.database.address) as (api, _):
        outcomes = judge(api, dataclasses.replace(run, artifact=more), SHORT)
    assert "finds 2 of 3 tasks" in outcomes["artifact_search"].reason


class Answering:
    """A server that answers every GET with the same JSON."""

    def __init__(self, body: object) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.api = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize("data", [None, "text", 7, ["text"], [None], {"hash": {}}, [{"hash": []}]])
def test_an_odd_answer_is_a_fault_of_each_check(written, data):
    with closing(Answering({"data": data})) as odd:
        outcomes = judge(odd.api, written.runs["card"], 0.1)
    assert _statuses(outcomes) == dict.fromkeys(CHECKS, Status.FAIL), outcomes


def test_an_empty_log_that_nobody_knows_is_no_pass(written, standin):
    run = written.runs["card"]
    unknown = dataclasses.replace(run, log=dataclasses.replace(run.log, line=""))
    with standin(written.database.address, "log") as (api, _):
        empty = judge(api, unknown, SHORT)["logs"]
    with standin(written.database.address) as (api, _):
        full = judge(api, unknown, SHORT)["logs"]
    assert (empty.status, full.status) == (Status.UNSUPPORTED, Status.PASS)
    assert empty.reason == "the UI shows an empty log, and nobody knows what its task printed"


def test_what_nobody_can_know_is_unsupported(written, standin):
    run = dataclasses.replace(
        written.runs["card"],
        status="",
        log=None,
        artifact=None,
        unread=None,
        tag="",
        card=None,
        has_graph=False,
    )
    with standin(written.database.address) as (api, _):
        outcomes = judge(api, run)
    assert outcomes["listed"].status is outcomes["timeline"].status is Status.PASS
    rest = {name: outcomes[name] for name in CHECKS if name not in {"listed", "timeline"}}
    assert {outcome.status for outcome in rest.values()} == {Status.UNSUPPORTED}
    assert all(outcome.reason for outcome in rest.values())


def test_a_backend_that_is_not_there_is_no_verdict(written):
    with pytest.raises(InfraError, match=r"the UI cannot be reached at http://127\.0\.0\.1:"):
        judge(f"http://127.0.0.1:{free_port()}", written.runs["card"])


def test_an_old_backend_is_not_asked_for_what_it_has_not(written):
    run = written.runs["card"]
    old, new = Version("2.1.0"), Version("2.2.0")
    assert no_card(run, new) == no_graph(run, new) == ""
    assert no_card(run, old) == "UI 2.1.0 shows no cards"
    assert no_graph(run, old).endswith("UI 2.1.0 reads no stored graph")
    assert no_graph(dataclasses.replace(run, has_code=True), old) == ""
