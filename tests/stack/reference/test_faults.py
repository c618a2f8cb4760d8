from __future__ import annotations

import pytest
import requests

from harness.stack.reference import faults
from harness.stack.reference.faults import Fault, FaultError, parse
from harness.stack.reference.levels import LEVELS

pytestmark = pytest.mark.e2e

LEVEL = LEVELS["2.3"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", faults.NO_FAULT),
        ("drop-tag", Fault("drop-tag")),
        ("drop-tag:probe:basics@2.3", Fault("drop-tag", "probe:basics")),
        ("lose-artifact", Fault("lose-artifact")),
        ("lose-artifact:x", Fault("lose-artifact", "x")),
        ("lose-write:run", Fault("lose-write", "run")),
        ("store-twice:metadata", Fault("store-twice", "metadata")),
        ("lose-field:tags", Fault("lose-field", "tags")),
        ("status-500:3", Fault("status-500", count=3)),
        ("status-500:3@2.3", Fault("status-500", count=3)),
        ("status-500:3@2.5", faults.NO_FAULT),
        ("migration-half-way@2.3", Fault("migration-half-way")),
        ("exit-on:3", Fault("exit-on", count=3)),
    ],
)
def test_a_fault_is_planted_where_it_is_meant_to_be(text: str, fault: Fault):
    assert parse(text, LEVEL) == fault


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lose-artefact", "nearest: lose-artifact"),
        ("drop-tag@2.4", "unknown level '2.4'"),
        ("migration-half-way:x", "takes no argument"),
        ("hang", "needs the end of a path"),
        ("lose-write", "unknown kind ''"),
        ("lose-write:runs", "nearest: run"),
        ("store-twice", "unknown kind ''"),
        # No key lets it in twice.
        ("store-twice:artifact", "there are run, task, metadata"),
        ("lose-field", "needs the name of a field"),
        ("status-500", "needs a number"),
        ("status-500:0", "needs a number"),
        ("status-500-commits:x", "needs a number"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(text: str, says: str):
    with pytest.raises(FaultError, match=says):
        parse(text, LEVEL)


@pytest.mark.parametrize(
    ("fault", "artifact", "lost"),
    [
        (Fault("lose-artifact", "x"), "x", True),
        (Fault("lose-artifact", "x"), "y", False),
        (Fault("lose-artifact"), "y", True),
        (Fault("lose-artifact"), "name", False),
        (Fault("lose-artifact"), "_task_ok", False),
        (faults.NO_FAULT, "x", False),
    ],
)
def test_which_artifacts_are_lost(fault: Fault, artifact: str, lost: bool):
    assert fault.loses(artifact) == lost


@pytest.mark.parametrize(
    ("fault", "tags", "kept"),
    [
        (Fault("drop-tag"), ["b", "a"], ["b"]),
        (Fault("drop-tag", "b"), ["b", "a"], ["a"]),
        (Fault("drop-tag", "c"), ["b", "a"], ["b", "a"]),
        (Fault("drop-tag"), [], []),
        (Fault("drop-tag"), None, None),
        (faults.NO_FAULT, ["b", "a"], ["b", "a"]),
    ],
)
def test_which_tags_are_kept(fault: Fault, tags: list[str] | None, kept: list[str] | None):
    assert fault.kept(tags) == kept


# Faults of the metadata API, struck over HTTP


def test_a_lost_artifact_is_counted_but_not_written(serve, monkeypatch, stamp):
    monkeypatch.setenv(faults.VARIABLE, "lose-artifact:x")
    api = serve("1.0")
    task = api.register_task()
    artifacts = [{"name": name, "location": "l", "ds_type": "local", **stamp} for name in "xy"]
    assert api.post(f"{task}/artifact", artifacts) == {"artifacts_created": 2}
    assert [artifact["name"] for artifact in api.get(f"{task}/artifacts")] == ["y"]


def test_a_dropped_tag_is_the_first_by_name(serve, monkeypatch):
    monkeypatch.setenv(faults.VARIABLE, "drop-tag")
    api = serve("1.0")
    assert api.get(api.register_run())["tags"] == ["b"]


def test_the_nth_request_fails_and_changes_nothing(serve, monkeypatch, stamp):
    monkeypatch.setenv(faults.VARIABLE, "status-500:2")
    api = serve("1.0")
    api.status("GET", "/ping")
    assert api.status("POST", "/flows/F", stamp) == 200
    assert api.status("POST", "/flows/G", stamp) == 500
    assert api.status("POST", "/flows/G", stamp) == 200


def test_the_nth_write_is_committed_and_then_fails(serve, monkeypatch, stamp):
    monkeypatch.setenv(faults.VARIABLE, "status-500-commits:2")
    api = serve("1.0")
    assert api.status("POST", "/flows/F", stamp) == 200
    assert api.status("GET", "/flows/F") == 200
    assert api.status("POST", "/flows/G", stamp) == 500
    assert api.status("GET", "/flows/G") == 200


def test_what_hangs_is_never_answered_and_all_else_is(serve, monkeypatch, stamp):
    monkeypatch.setenv(faults.VARIABLE, "hang:run")
    api = serve("1.0")
    assert api.status("POST", "/flows/F", stamp) == 200
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{api.running.url}/flows/F/run", json=stamp, timeout=0.5)
    assert api.sql("SELECT count(*) FROM runs_v3") == [(0,)]


def test_a_fault_of_another_level_does_nothing(serve, monkeypatch):
    monkeypatch.setenv(faults.VARIABLE, "drop-tag@2.5")
    api = serve("1.0")
    assert api.get(api.register_run())["tags"] == ["a", "b"]
