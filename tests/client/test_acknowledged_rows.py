"""What a real service stored behind a relay, with its rows: faults of it that no client sees."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
import requests

from harness.catalog.versions import load
from harness.client.acknowledged import judge_acknowledged
from harness.core.scenarios import Loss, Way
from harness.stack.database.server import Database
from harness.stack.proxy.relay import Relay
from harness.stack.reference import faults
from harness.stack.service.migration import bring_up
from harness.stack.service.reference import ReferenceLauncher

pytestmark = pytest.mark.e2e

TAG = "compat:abc"
BY = {"user_name": "me", "tags": [TAG], "system_tags": ["s"]}


def store(url: str) -> None:
    """Write a run as clients do, with a value of each kind."""

    def post(path: str, body: object) -> dict[str, object]:
        answer = requests.post(f"{url}/flows/Twice{path}", json=body, timeout=30)
        assert answer.ok, answer.text
        told: dict[str, object] = answer.json()
        return told

    post("", BY)
    run = f"/runs/{post('/run', BY)['run_number']}"
    step = f"{run}/steps/start"
    post(f"{step}/step", BY)
    task = f"{step}/tasks/{post(f'{step}/task', BY)['task_id']}"
    artifact = {"name": "x", "attempt_id": 0, "location": "/x", "ds_type": "local", "sha": "1f"}
    post(f"{task}/artifact", [{**BY, **artifact, "type": "data", "content_type": "gzip"}])
    post(f"{task}/metadata", [{**BY, "field_name": "a", "value": "b", "type": "c"}] * 2)
    changed = requests.patch(
        f"{url}/flows/Twice{run}/tag/mutate", json={"tags_to_add": ["t"]}, timeout=30
    )
    assert changed.ok, changed.text


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("", ""),
        (f"{faults.STORE_TWICE}:run", "runs_v3 has the runs "),
        (f"{faults.STORE_TWICE}:task", "tasks_v3 has two rows of this run with step_name 'start'"),
        (faults.DROP_TAG, f"tags ['t'] where ['{TAG}'] was sent"),
    ],
)
def test_what_a_service_did_not_store_as_it_was_asked_is_named(
    fault: str, said: str, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(faults.VARIABLE, fault)
    service = next(one for one in load().services if one.name == "reference-2.5")
    launcher = ReferenceLauncher(f"tests-{os.getpid()}-acknowledged")
    running = launcher.start(service, database, tmp_path / "service.log")
    # Of what is asked for twice on the way two rows are no fault.
    losses = {name: Loss(Way.REPEAT, 1) for name in ("create_task", "metadata", "artifacts")}
    relay = Relay(running.url, tmp_path / "relay", losses={} if fault else losses)
    try:
        with contextlib.closing(relay):
            bring_up(running)
            store(relay.url)
        found = judge_acknowledged(relay.asked, database.address, TAG)
    finally:
        running.stop()
    assert said in found.reason if said else not found.reason
