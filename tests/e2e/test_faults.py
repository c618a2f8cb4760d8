"""A fault planted in the reference service turns exactly the right check red, and names it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from harness.stack.reference import faults
from tests.e2e.nox_runs import NoxRun, environment, finished_run, leftovers, nox, run

pytestmark = pytest.mark.e2e

ONE_CELL = ("--metaflow", "2.19.39", "--service", "2.5")


def _with_fault(fault: str, results: Path, *options: str) -> NoxRun:
    found = run("compat", results, *ONE_CELL, *options, env=environment(**{faults.VARIABLE: fault}))
    assert found.code != 0, found.output
    assert len(found.cells) == 1
    assert leftovers(results) == []
    return found


def _red(found: NoxRun) -> dict[str, str]:
    return {
        name: check["reason"]
        for name, check in found.cells[0]["checks"].items()
        if check["status"] == "fail"
    }


def _passed_but(found: NoxRun, name: str) -> bool:
    return {status for check, status in found.checks().items() if check != name} == {"pass"}


def test_a_lost_artifact(tmp_path):
    found = _with_fault("lose-artifact:nested", tmp_path)
    assert list(_red(found)) == ["artifacts"]
    assert _passed_but(found, "artifacts")
    assert "'nested'" in _red(found)["artifacts"]
    assert "is missing" in _red(found)["artifacts"]
    assert "artifacts: fail: artifact 'nested'" in found.output


def test_a_dropped_tag(tmp_path):
    found = _with_fault("drop-tag:probe:basics", tmp_path)
    assert list(_red(found)) == ["tags"]
    assert _passed_but(found, "tags")
    assert "'probe:basics' is not among" in _red(found)["tags"]


@pytest.mark.parametrize(
    "tag",
    ["mf-version:2.19.39", "service_version:reference-2.5", "db_version:20230118020300"],
)
def test_a_dropped_tag_of_the_harness(tag, tmp_path):
    found = _with_fault(f"drop-tag:{tag}", tmp_path, "--probe", "hello")
    assert list(_red(found)) == ["run"]
    assert (
        f"the run was given the tags {[tag]}, and its client does not list them"
        in _red(found)["run"]
    )


def test_a_row_that_is_dropped_when_the_service_stops(tmp_path):
    found = _with_fault("drop-at-stop", tmp_path, "--probe", "hello")
    assert set(found.checks().values()) == {"pass"}
    told = [entry for entry in found.entries if entry["kind"] == "stage"]
    assert [entry["status"] for entry in told] == ["pass", "fail"]
    (lost,) = told[-1]["lost"]
    assert lost.startswith("when the service stopped: artifact_v3: row lost at flow_id=HelloFlow")
    assert f"service reference-2.5, by itself: lost {lost}" in found.output


def test_heartbeats_that_are_not_stored(tmp_path):
    found = _with_fault("lose-write:heartbeat", tmp_path)
    assert list(_red(found)) == ["heartbeat"]
    assert _passed_but(found, "heartbeat")
    assert "runs_v3 has no heartbeat" in _red(found)["heartbeat"]


def test_a_service_that_moves_times_is_told_whatever_clients_see(tmp_path):
    found = _with_fault("move-times", tmp_path, "--probe", "hello")
    assert set(found.checks().values()) == {"pass"}
    assert "service reference-2.5, by itself: times: GET /flows/Contract_" in found.output
    (alone,) = (entry for entry in found.entries if entry["kind"] == "stage")
    assert (alone["stage"], alone["service"], alone["status"]) == (0, "reference-2.5", "fail")


# The contract waits half a minute for the answer, and the cell for as long as it may take.
@pytest.mark.exhaustive
def test_a_request_that_is_never_answered_is_nobodys_fault_but_the_services(tmp_path):
    found = _with_fault("hang:artifact", tmp_path, "--probe", "hello", "--timeout", "20")
    assert found.checks() == {"run": "timeout", "artifacts": "not-run"}
    (alone,) = (entry for entry in found.entries if entry["kind"] == "stage")
    assert alone["status"] == "fail"
    (problem,) = alone["problems"]
    assert problem.startswith("answers: POST /flows/Contract_")
    assert problem.endswith("was not answered within 30 s, while GET /ping is")


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> NoxRun:
    """A run in which the third request is answered with 500."""
    return _with_fault("status-500:3", tmp_path_factory.mktemp("results"), "--probe", "hello")


def test_an_http_error_fails_the_run_and_the_rest_did_not_run(broken):
    assert broken.checks() == {"run": "fail", "artifacts": "not-run"}
    assert "500" in _red(broken)["run"]
    assert "flow ended with exit code" in _red(broken)["run"]


def test_a_failed_cell_keeps_its_evidence(broken):
    evidence = broken.cells[0]["evidence"]
    assert {"flow", "service"} <= set(evidence)
    texts = {
        kind: (broken.folder / path).read_text(encoding="utf-8") for kind, path in evidence.items()
    }
    assert "500" in texts["flow"]
    assert "POST" in texts["service"]


def test_the_line_for_a_rerun_reproduces_the_verdict(broken, tmp_path):
    line = broken.cells[0]["rerun"]
    assert f"rerun: {line}" in broken.output
    program, *words = shlex.split(line)
    assert program == "nox"
    again = nox(
        *words,
        *("--results", str(tmp_path)),
        env=environment(**{faults.VARIABLE: "status-500:3"}),
    )
    found = finished_run(again.returncode, again.stdout + again.stderr, tmp_path)
    assert found.code == broken.code
    assert [cell["id"] for cell in found.cells] == [broken.cells[0]["id"]]
    assert found.checks() == broken.checks()


def test_a_level_that_answers_otherwise_than_its_neighbour(tmp_path):
    options = ("--metaflow", "2.19.39", "--service", "2.3,2.5", "--probe", "hello")
    planted = environment(**{faults.VARIABLE: "sort-tags@2.5"})
    found = run("compat", tmp_path, *options, env=planted)
    assert found.code == 1, found.output
    assert [cell["status"] for cell in found.cells] == ["pass", "pass"]
    told = "order of tags: was as sent with reference-2.3, is another with reference-2.5"
    stages = [entry for entry in found.entries if entry["kind"] == "stage"]
    assert [line for stage in stages for line in stage["problems"]] == [told]
    assert told in found.output
