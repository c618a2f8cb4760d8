"""What a run needs breaks in mid-flow, with a real client over the reference service."""

from __future__ import annotations

import pytest

from harness.core.scenarios import FAULTS
from harness.stack.reference import faults
from tests.e2e.nox_runs import NoxRun, environment, leftovers, run

pytestmark = pytest.mark.e2e

ONE = ("--metaflow", "2.19.39", "--service", "2.5", "--probe", "hello")


def _with_fault(fault: str, scenario: str, results) -> NoxRun:
    planted = environment(**{faults.VARIABLE: fault})
    found = run("chaos", results, *ONE, "--scenario", scenario, env=planted)
    assert found.code != 0, found.output
    assert leftovers(results) == []
    return found


def test_a_service_that_loses_a_write_when_it_is_restarted(tmp_path):
    found = _with_fault("drop-at-stop", "service-restart", tmp_path)
    # Of an artifact that no check of the probe asks for: nothing else sees it.
    assert [name for name, status in found.checks().items() if status != "pass"] == ["acknowledged"]
    reason = found.cells[0]["checks"]["acknowledged"]["reason"]
    assert "/artifact was answered 200, and artifact_v3 has no row of this run with" in reason
    assert "hello: acknowledged" in found.output


def test_a_service_that_stores_metadata_twice_is_named(tmp_path):
    found = _with_fault(f"{faults.STORE_TWICE}:metadata", "service-restart", tmp_path)
    red = {name for name, status in found.checks().items() if status != "pass"}
    # Where a slow machine ends an attempt, amid_metadata may judge that instead.
    assert "acknowledged" in red
    reason = found.cells[0]["checks"]["acknowledged"]["reason"]
    assert reason.startswith("metadata_v3 has ")
    assert reason.endswith(("and 1 was asked for", "were asked for"))


def test_a_service_that_does_a_repeated_write_twice(tmp_path):
    found = _with_fault("repeat-tags", "lost-answer", tmp_path)
    red = {name for name, status in found.checks().items() if status == "fail"}
    assert red == {"lost_tags"}
    reason = found.cells[0]["checks"]["lost_tags"]["reason"]
    assert "'change tags' is that to the same request made twice" in reason
    assert "'compat:lost', 'compat:lost'" in reason


@pytest.mark.exhaustive
def test_the_newest_client_survives_each_fault(tmp_path):
    found = run("chaos", tmp_path, *ONE, "--scenario", ",".join(FAULTS), seconds=900)
    assert found.code == 0, found.output
    assert {cell["scenario"]: cell["status"] for cell in found.cells} == dict.fromkeys(
        FAULTS, "pass"
    )
    assert leftovers(tmp_path) == []
