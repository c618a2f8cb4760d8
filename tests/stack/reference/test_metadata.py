"""The contract of the metadata API, request by request, at every level."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from harness.machine.processes import wait_until
from harness.stack.reference.levels import LEVELS

pytestmark = pytest.mark.e2e


def artifact(name: str, attempt: int = 0, **more: object) -> dict[str, object]:
    return {
        "name": name,
        "location": f"/data/{name}",
        "ds_type": "local",
        "sha": "0a1b",
        "type": "metaflow.artifact",
        "content_type": "gzip+pickle-v2",
        "attempt_id": attempt,
        "user_name": "me",
        "tags": ["own"],
        "system_tags": ["user:me"],
        **more,
    }


def datum(field: str, value: str) -> dict[str, object]:
    return {"field_name": field, "value": value, "type": "t", "user_name": "me", "tags": []}


def since(first: str) -> pytest.MarkDecorator:
    """Ask only the levels that have what a test is about; another test shows the others lack it."""
    names = list(LEVELS)
    return pytest.mark.parametrize(
        "api", names[names.index(first) :], indirect=True, scope="session"
    )


# The service itself


def test_ping_tells_the_version_clients_gate_on(api):
    reply = api.ask("GET", "/ping")
    assert (reply.status_code, reply.text) == (200, "pong")
    assert reply.headers["METADATA_SERVICE_VERSION"] == api.level.reported


def test_version_is_there_from_2_0(api):
    reply = api.ask("GET", "/version")
    if api.level.name == "1.0":
        assert reply.status_code == 404
    else:
        assert (reply.status_code, reply.text) == (200, api.level.reported)


def test_healthcheck_is_encoded_twice(api):
    reply = api.ask("GET", "/healthcheck")
    if not api.level.has_attempts:
        assert reply.status_code == 404
        return
    assert reply.headers["Content-Type"] == "application/json"
    assert json.loads(reply.json()) == {"status": "UP"}


def test_bodies_are_json_sent_as_text_with_the_version(api):
    reply = api.ask("GET", api.register_flow())
    assert reply.headers["Content-Type"].startswith("text/plain")
    assert reply.headers["METADATA_SERVICE_VERSION"] == api.level.reported


def test_unknown_paths_and_methods(api):
    assert api.status("GET", "/nothing") == 404
    assert api.status("DELETE", "/flows") == 405


def test_a_body_that_is_no_json_is_a_500(api):
    reply = api.session.post(f"{api.running.url}/flows/Broken", data="{", timeout=10)
    assert reply.status_code == 500
    assert api.status("GET", "/flows/Broken") == 404


# Flows


def test_a_flow_is_registered_once(api, stamp):
    path = api.register_flow()
    flow = api.get(path)
    name = path.rsplit("/", 1)[1]
    assert flow == {"flow_id": name, "ts_epoch": flow["ts_epoch"], **stamp}
    assert abs(flow["ts_epoch"] / 1000 - time.time()) < 60
    assert flow in api.get("/flows")
    assert api.status("POST", path, stamp) == 409


def test_a_flow_that_is_not_there(api):
    reply = api.ask("GET", "/flows/Nothing")
    assert reply.status_code == 404
    # Errors were encoded twice before 2.0.6.
    assert reply.json() == ({} if api.level.encodes_missing_once else "{}")


def test_a_conflict_says_why_encoded_twice(api, stamp):
    reply = api.ask("POST", api.register_flow(), stamp)
    why = json.loads(reply.json())["err_msg"]
    if api.level.has_run_tags:
        assert why["pgcode"] == "23505"
        assert why["diag"]["severity"] == "ERROR"
        assert "duplicate key" in why["pgerror"]
    else:
        assert "duplicate key" in why


# Runs


def test_a_run_gets_a_number(api, stamp):
    flow = api.register_flow()
    run = api.post(f"{flow}/run", stamp)
    expected = {
        "flow_id": flow.rsplit("/", 1)[1],
        "run_number": run["run_number"],
        "ts_epoch": run["ts_epoch"],
        **stamp,
    }
    if api.level.has_heartbeat:
        expected["last_heartbeat_ts"] = run["last_heartbeat_ts"]
    assert isinstance(run["run_number"], int)
    assert run == expected
    assert api.get(f"{flow}/runs/{run['run_number']}") == run
    assert api.get(f"{flow}/runs") == [run]


def test_a_run_of_no_flow_is_a_404(api, stamp):
    assert api.status("POST", "/flows/Nothing/run", stamp) == 404


def test_a_run_that_is_not_there(api):
    flow = api.register_flow()
    assert api.status("GET", f"{flow}/runs/99999999") == 404
    # A name is no number, and 1.0 knows only numbers.
    assert api.status("GET", f"{flow}/runs/name") == (404 if api.level.has_string_ids else 500)


def test_an_empty_list_was_an_empty_object_before_2_0(api):
    flow = api.register_flow()
    assert api.get(f"{flow}/runs") == ([] if api.level.has_string_ids else {})
    assert api.get(f"{flow}/runs/99999999/artifacts") == []


def test_a_run_may_be_registered_under_a_name_from_2_0(api, stamp):
    flow = api.register_flow()
    run = api.post(f"{flow}/run", {**stamp, "run_number": "mine"})
    if not api.level.has_string_ids:
        assert isinstance(run["run_number"], int)
        return
    assert run["run_number"] == "mine"
    assert api.get(f"{flow}/runs/mine") == run
    assert api.status("POST", f"{flow}/run", {**stamp, "run_number": "mine"}) == 409
    assert api.status("POST", f"{flow}/run", {**stamp, "run_number": "12"}) == 500


# Steps


def test_a_step_is_registered_once(api, stamp):
    run = api.register_run()
    number = api.get(run)["run_number"]
    step = api.post(f"{run}/steps/start/step", stamp)
    assert step == {
        "flow_id": run.split("/")[2],
        # From 2.0 the run of a step is text, whatever it is elsewhere.
        "run_number": str(number) if api.level.has_string_ids else number,
        "step_name": "start",
        "ts_epoch": step["ts_epoch"],
        **stamp,
    }
    assert api.get(f"{run}/steps/start") == step
    assert api.get(f"{run}/steps") == [step]
    assert api.status("POST", f"{run}/steps/start/step", stamp) == 409
    assert api.status("GET", f"{run}/steps/nothing") == 404


def test_a_step_of_no_run(api, stamp):
    flow = api.register_flow()
    expected = 500 if api.level.has_string_ids else 404
    assert api.status("POST", f"{flow}/runs/99999999/steps/start/step", stamp) == expected


# Tasks


def test_a_task_gets_a_number(api, stamp):
    path = api.register_task()
    task = api.get(path)
    expected = {
        "flow_id": path.split("/")[2],
        "run_number": int(path.split("/")[4]),
        "step_name": "start",
        "task_id": int(path.rsplit("/", 1)[1]),
        "ts_epoch": task["ts_epoch"],
        **stamp,
    }
    if api.level.has_heartbeat:
        expected["last_heartbeat_ts"] = task["last_heartbeat_ts"]
    assert task == expected
    assert api.get(path.rsplit("/", 1)[0]) == [task]


def test_a_task_of_no_step_is_a_404(api, stamp):
    assert api.status("POST", f"{api.register_run()}/steps/nothing/task", stamp) == 404


def test_a_task_that_is_not_there(api):
    tasks = api.register_task().rsplit("/", 1)[0]
    assert api.status("GET", f"{tasks}/99999999") == 404


@since("2.0")
def test_tasks_may_be_registered_under_names_from_2_0(api, stamp):
    flow = api.register_flow()
    api.post(f"{flow}/run", {**stamp, "run_number": "mine"})
    step = f"{flow}/runs/mine/steps/start"
    assert api.post(f"{step}/step", stamp)["run_number"] == "mine"
    task = api.post(f"{step}/task", {**stamp, "task_id": "first"})
    assert (task["run_number"], task["task_id"]) == ("mine", "first")
    assert api.get(f"{step}/tasks/first") == task
    assert api.status("POST", f"{step}/task", {**stamp, "task_id": "first"}) == 409
    assert api.status("POST", f"{step}/task", {**stamp, "task_id": "12"}) == 500
    api.post(f"{step}/tasks/first/artifact", [artifact("x")])
    (found,) = api.get(f"{step}/tasks/first/artifacts")
    assert (found["run_number"], found["task_id"]) == ("mine", "first")


# Artifacts


def test_artifacts_of_a_task(api):
    task = api.register_task()
    assert api.post(f"{task}/artifact", [artifact("name"), artifact("x")]) == {
        "artifacts_created": 2
    }
    found = api.get(f"{task}/artifacts/x")
    tags = api.get(task) if api.level.has_run_tags else artifact("x")
    assert found == {
        **artifact("x"),
        "flow_id": task.split("/")[2],
        "run_number": int(task.split("/")[4]),
        "step_name": "start",
        "task_id": int(task.rsplit("/", 1)[1]),
        "ts_epoch": found["ts_epoch"],
        "tags": tags["tags"],
        "system_tags": tags["system_tags"],
    }
    assert found in api.get(f"{task}/artifacts")
    assert api.status("GET", f"{task}/artifacts/nothing") == 404


def test_what_cannot_be_added_is_only_not_counted(api):
    task = api.register_task()
    assert api.post(f"{task}/artifact", [artifact("x")]) == {"artifacts_created": 1}
    assert api.post(f"{task}/artifact", [artifact("x"), artifact("y")]) == {"artifacts_created": 1}
    assert api.post(f"{task}/artifact", []) == {"artifacts_created": 0}


def test_artifacts_of_no_task_are_a_400_from_2_0(api):
    run = api.register_task().rsplit("/", 3)[0]
    path = f"{run}/start/tasks/99999999/artifact"
    assert api.status("POST", path, [artifact("x")]) == (400 if api.level.has_string_ids else 200)


def test_a_list_of_artifacts_holds_the_latest_attempt(api):
    task = api.register_task()
    api.post(f"{task}/artifact", [artifact("name"), artifact("x"), artifact("old")])
    api.post(f"{task}/artifact", [artifact("name", 1), artifact("x", 1)])
    for path in (f"{task}/artifacts", f"{task.rsplit('/', 2)[0]}/artifacts"):
        found = {(each["name"], each["attempt_id"]) for each in api.get(path)}
        assert found == {("name", 1), ("x", 1)}


def test_the_latest_attempt_was_one_for_all_tasks_before_2_0_6(api):
    first = api.register_task()
    run = first.split("/steps/")[0]
    second = api.register_task(run, step="other")
    api.post(f"{first}/artifact", [artifact("retried", 1)])
    api.post(f"{second}/artifact", [artifact("once")])
    names = {each["name"] for each in api.get(f"{run}/artifacts")}
    assert names == ({"retried", "once"} if api.level.has_attempts else {"retried"})


def test_an_artifact_only_an_earlier_attempt_had(api):
    task = api.register_task()
    api.post(f"{task}/artifact", [artifact("name"), artifact("old")])
    api.post(f"{task}/artifact", [artifact("name", 1)])
    # From 2.3 only the latest attempt counts, which the artifact "name" tells.
    expected = 404 if api.level.takes_latest_attempt else 200
    assert api.status("GET", f"{task}/artifacts/old") == expected


def test_artifacts_by_attempt_from_2_0_6(api):
    task = api.register_task()
    api.post(f"{task}/artifact", [artifact("name"), artifact("x")])
    api.post(f"{task}/artifact", [artifact("name", 1), artifact("x", 1)])
    if not api.level.has_attempts:
        assert api.status("GET", f"{task}/artifacts/x/attempt/0") == 404
        assert api.status("GET", f"{task}/attempt/0/artifacts") == 404
        return
    assert api.get(f"{task}/artifacts/x")["attempt_id"] == 1
    assert api.get(f"{task}/artifacts/x/attempt/0")["attempt_id"] == 0
    assert {each["attempt_id"] for each in api.get(f"{task}/attempt/0/artifacts")} == {0}
    assert api.status("GET", f"{task}/artifacts/x/attempt/2") == 404
    assert api.get(f"{task}/attempt/2/artifacts") == []


# Metadata


def test_metadata_of_a_task(api):
    task = api.register_task()
    assert api.post(f"{task}/metadata", [datum("attempt", "0")]) == {"metadata_created": 1}
    (found,) = api.get(f"{task}/metadata")
    assert found == {
        **datum("attempt", "0"),
        "id": found["id"],
        "flow_id": task.split("/")[2],
        "run_number": int(task.split("/")[4]),
        "step_name": "start",
        "task_id": int(task.rsplit("/", 1)[1]),
        "ts_epoch": found["ts_epoch"],
        "system_tags": None,
    }
    assert api.get(f"{task.split('/steps/')[0]}/metadata") == [found]


def test_a_field_may_repeat_since_the_schema_of_2_0_6(api):
    task = api.register_task()
    api.post(f"{task}/metadata", [datum("attempt", "0")])
    again = api.post(f"{task}/metadata", [datum("attempt", "1")])
    assert again == {"metadata_created": 1 if api.level.has_attempts else 0}


def test_metadata_of_no_task_is_a_400_from_2_0(api):
    run = api.register_task().rsplit("/", 3)[0]
    path = f"{run}/start/tasks/99999999/metadata"
    expected = 400 if api.level.has_string_ids else 200
    assert api.status("POST", path, [datum("a", "b")]) == expected


# Heartbeats


def test_heartbeats_from_2_0_4(api):
    task = api.register_task()
    run = task.split("/steps/")[0]
    if not api.level.has_heartbeat:
        assert api.status("POST", f"{run}/heartbeat", {}) == 404
        assert api.status("POST", f"{task}/heartbeat", {}) == 404
        return
    for path in (run, task):
        reply = api.ask("POST", f"{path}/heartbeat", {})
        assert json.loads(reply.json()) == {"wait_time_in_seconds": 10}
        assert api.get(path)["last_heartbeat_ts"] == pytest.approx(time.time(), abs=60)
    nothing = f"{run.rsplit('/', 1)[0]}/99999999/heartbeat"
    assert api.status("POST", nothing, {}) == 404


@since("2.0.4")
def test_a_second_heartbeat_within_ten_seconds_is_refused_from_2_0_6(api, stamp):
    flow = api.register_flow()
    old_client = {**stamp, "system_tags": ["metaflow_version:2.2.11"]}
    run = f"{flow}/runs/{api.post(f'{flow}/run', old_client)['run_number']}"
    statuses = [api.status("POST", f"{run}/heartbeat", {}) for _ in range(2)]
    assert statuses == ([200, 404] if api.level.has_attempts else [200, 200])


@since("2.0.4")
@pytest.mark.parametrize(
    ("version", "sends"), [("2.2.11", False), ("2.2.12", True), ("2.19.39+ext(1)", True)]
)
def test_a_run_starts_with_a_heartbeat_from_2_3(api, stamp, version: str, sends: bool):
    body = {**stamp, "system_tags": [f"metaflow_version:{version}"]}
    run = api.post(f"{api.register_flow()}/run", body)
    beating = run["last_heartbeat_ts"] is not None
    assert beating == (sends and api.level.has_run_tags)


# Tags


def test_what_lies_below_a_run_shows_the_tags_of_the_run_from_2_3(api, stamp):
    run = api.register_run()
    step = api.post(f"{run}/steps/start/step", {**stamp, "tags": ["own"]})
    assert step["tags"] == (["a", "b"] if api.level.has_run_tags else ["own"])


def test_tags_can_be_changed_from_2_3(api):
    task = api.register_task()
    run = task.split("/steps/")[0]
    change = {"tags_to_add": ["c", "user:me"], "tags_to_remove": ["a", "nothing"]}
    reply = api.ask("PATCH", f"{run}/tag/mutate", change)
    if not api.level.has_run_tags:
        assert reply.status_code == 404
        return
    assert (reply.status_code, sorted(reply.json()["tags"])) == (200, ["b", "c"])
    assert sorted(api.get(run)["tags"]) == ["b", "c"]
    assert sorted(api.get(task)["tags"]) == ["b", "c"]


@since("2.3")
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"tags_to_remove": ["user:me"]}, 422),
        ({"tags_to_add": "c"}, 400),
        ({"tags_to_remove": {}}, 400),
        ({"tags_to_add": [1]}, 400),
        ({}, 200),
    ],
)
def test_changes_of_tags_that_change_nothing(api, change: dict[str, object], status: int):
    run = api.register_run()
    assert api.status("PATCH", f"{run}/tag/mutate", change) == status
    assert api.get(run)["tags"] == ["a", "b"]


@since("2.3")
def test_tags_of_no_run(api):
    flow = api.register_flow()
    assert api.status("PATCH", f"{flow}/runs/99999999/tag/mutate", {"tags_to_add": ["c"]}) == 404


@since("2.3")
def test_a_change_of_tags_that_another_one_overtakes_is_a_409(api):
    run = api.register_run()
    blocked = (
        "SELECT count(*) > 0 FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with closing(api.database.address.connect()) as other, ThreadPoolExecutor() as pool:
        other.autocommit = False
        with other.cursor() as cursor:
            number = int(run.rsplit("/", 1)[1])
            cursor.execute("UPDATE runs_v3 SET tags = '[]' WHERE run_number = %s", (number,))
            change = pool.submit(api.status, "PATCH", f"{run}/tag/mutate", {"tags_to_add": ["c"]})
            wait_until(lambda: api.sql(blocked) == [(True,)], seconds=10, what="the lock")
            other.commit()
        assert change.result(timeout=10) == 409
    assert api.get(run)["tags"] == []


# Tasks by their metadata


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", True),
        ("?metadata_field_name=path", True),
        ("?metadata_field_name=path&pattern=%5Ea:1", True),
        ("?metadata_field_name=path&pattern=%5Eb", False),
        ("?metadata_field_name=nothing", False),
        ("?metadata_field_name=&pattern=", True),
    ],
)
def test_tasks_by_their_metadata_from_2_5(api, query: str, found: bool):
    task = api.register_task()
    api.post(f"{task}/metadata", [datum("path", "a:1"), datum("other", "a:1")])
    path = f"{task.rsplit('/', 2)[0]}/filtered_tasks{query}"
    if not api.level.has_filtered_tasks:
        assert api.status("GET", path) == 404
        return
    parts = task.split("/")
    pathspec = "/".join([parts[2], parts[4], parts[6], parts[8]])
    assert api.get(path) == ([pathspec] if found else [])
