"""What is drawn from a database, on rows written through the reference service as clients do."""

from __future__ import annotations

import hashlib
import os
import pickle
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
import requests

from harness.catalog.versions import load
from harness.core.probes import FLOWS, find_probes
from harness.proof.ui.sample import CLIENT_TAG, sample
from harness.proof.ui.sample_run import SampleArtifact, SampleLog, SampleRun, SampleStep
from harness.stack.database.embedded import EmbeddedPostgres
from harness.stack.database.server import Address
from harness.stack.service.migration import bring_up
from harness.stack.service.reference import ReferenceLauncher

USER = {"user_name": "me"}


@dataclass
class Writer:
    """Writes runs as a client does; each test's are told apart by its client's version."""

    url: str
    address: Address
    client: str = field(default_factory=lambda: f"9.{uuid4().int % 10**6}.0")

    def post(self, path: str, body: Any) -> Any:
        reply = requests.post(self.url + path, json=body, timeout=10)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def run(self, flow: str, *tags: str, client: str = "", **more: Any) -> str:
        """Register flow and run; return its path."""
        requests.post(f"{self.url}/flows/{flow}", json=USER, timeout=10)
        tagged = [f"metaflow_version:{client or self.client}", "user:me"]
        body = {**USER, "tags": list(tags), "system_tags": tagged, **more}
        found = self.post(f"/flows/{flow}/run", body)
        return f"/flows/{flow}/runs/{found['run_number']}"

    def task(self, run: str, step: str, **more: Any) -> str:
        """Register step and task; return its path."""
        requests.post(f"{self.url}{run}/steps/{step}/step", json=USER, timeout=10)
        found = self.post(f"{run}/steps/{step}/task", {**USER, **more})
        return f"{run}/steps/{step}/tasks/{found['task_id']}"

    def metadata(self, task: str, **values: str) -> None:
        rows = [
            {"field_name": name.replace("__", "-"), "value": value, "type": name, **USER}
            for name, value in values.items()
        ]
        self.post(f"{task}/metadata", rows)

    def artifact(self, task: str, name: str, value: object, protocol: int = 2) -> None:
        sha = hashlib.sha1(pickle.dumps(value, protocol)).hexdigest()
        row = {"name": name, "location": "x", "ds_type": "local", "sha": sha, "type": "t"}
        self.post(f"{task}/artifact", [{**row, "content_type": "p", "attempt_id": 0, **USER}])

    def sql(self, query: str, *values: object) -> None:
        with closing(self.address.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(query, values)

    def drawn(self) -> tuple[SampleRun, ...]:
        return sample(self.address, [self.client])


@pytest.fixture(scope="module")
def service(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Address]]:
    one = next(found for found in load().services if found.name == "reference-2.5")
    database = postgres.create(f"test_{uuid4().hex}")
    log = tmp_path_factory.mktemp("service") / "service.log"
    running = ReferenceLauncher(f"tests-{os.getpid()}-sample").start(one, database, log)
    bring_up(running)
    yield running.url, database.address
    running.stop()
    postgres.drop(database.address.name)


@pytest.fixture
def writer(service: tuple[str, Address]) -> Writer:
    return Writer(*service)


def test_the_newest_run_of_each_client_service_and_flow_is_drawn(writer):
    for tags in ([], ["service_version:1"], ["service_version:1"], ["service_version:2"]):
        writer.run("A", *tags)
    newest = writer.run("A", "service_version:1")
    writer.run("B")
    drawn = [(run.service, run.flow) for run in writer.drawn()]
    assert drawn == [("1", "A"), ("2", "A"), ("unknown service", "A"), ("unknown service", "B")]
    assert writer.drawn()[0].run == newest.rpartition("/")[2]


def test_each_datastore_has_a_run_of_its_own(writer):
    for kind in ("local", "s3"):
        writer.metadata(writer.task(writer.run("A", "service_version:1"), "start"), ds__type=kind)
    old = writer.run("A", "service_version:1")
    writer.artifact(writer.task(old, "start"), "x", 1)  # no word of it but with its artifacts
    drawn = writer.drawn()
    assert [(run.flow, run.datastore) for run in drawn] == [("A", "local"), ("A", "s3")]
    assert drawn[0].run == old.rpartition("/")[2]


def test_every_client_is_drawn_however_many_runs_are_newer(writer):
    oldest = writer.run("A")
    writer.sql(
        "INSERT INTO runs_v3 (flow_id, user_name, ts_epoch, tags, system_tags)"
        " SELECT 'A', 'me', ts_epoch + n, tags, %s FROM runs_v3, generate_series(1, 3000) AS n"
        " WHERE run_number = %s",
        *(f'["{CLIENT_TAG}{writer.client}.1"]', oldest.rpartition("/")[2]),
    )
    drawn = sample(writer.address)
    assert {f"{writer.client}.1", writer.client} <= {run.client for run in drawn}


@pytest.mark.parametrize("tags", [None, "null", "{}", '"a"'])
def test_a_run_without_a_list_of_tags_is_drawn_by_its_system_tags(writer, tags):
    number = writer.run("A").rpartition("/")[2]
    writer.sql("UPDATE runs_v3 SET tags = %s WHERE run_number = %s", tags, number)
    assert [(run.service, run.flow) for run in writer.drawn()] == [("unknown service", "A")]


def test_clients_come_in_the_order_of_their_versions(writer):
    others = [f"9.10.{writer.client[2:-2]}", f"9.9.{writer.client[2:-2]}", "8.0+made.up"]
    for client in others:
        writer.run("A", client=client)
    found = [run.client for run in sample(writer.address, others)]
    assert found == [others[2], others[1], others[0]]
    assert set(found) <= {run.client for run in sample(writer.address)}


def test_a_run_that_names_no_client_is_passed_over(writer):
    requests.post(f"{writer.url}/flows/Nobodys", json=USER, timeout=10)
    writer.post("/flows/Nobodys/run", USER)
    assert "Nobodys" not in {run.flow for run in sample(writer.address)}


def test_of_a_flow_of_somebody_else_only_what_rows_tell_is_expected(writer):
    run = writer.run("HelloFlow", "a,b", "mine")
    start, end = writer.task(run, "start"), writer.task(run, "end")
    writer.task(run, "_parameters")
    writer.metadata(start, attempt="0", attempt__done="0", ds__type="s3")
    writer.metadata(end, attempt="0")
    for name in ("_graph_info", "name", "greeting"):
        writer.artifact(start, name, name)
    writer.artifact(end, "greeting", "another")
    (drawn,) = writer.drawn()
    assert drawn == SampleRun(
        flow="HelloFlow",
        run=run.rpartition("/")[2],
        client=writer.client,
        service="unknown service",
        probe="",
        datastore="s3",
        status="",
        steps=(SampleStep("start", 1, 1), SampleStep("end", 1, 0)),
        log=SampleLog("start", start.rpartition("/")[2], ""),
        card=None,
        artifact=SampleArtifact("greeting", "", 2),
        unread=SampleArtifact("name", "HelloFlow", 1),
        tag="mine",
        has_graph=False,
        has_code=False,
    )


def test_of_a_probe_log_artifact_and_card_are_known(writer):
    run = writer.run("CardFlow", "service_version:v2.5.1")
    start, parameters = writer.task(run, "start"), writer.task(run, "_parameters")
    writer.artifact(start, "shape", "hexagon")
    writer.artifact(parameters, "_graph_info", {})
    writer.metadata(start, code__package="{}")
    (drawn,) = writer.drawn()
    task = start.rpartition("/")[2]
    assert (drawn.probe, drawn.datastore) == ("card", "local")
    assert drawn.log == SampleLog("start", task, "this line went to the standard output")
    assert drawn.card == ("start", task)
    assert drawn.artifact == SampleArtifact("shape", "hexagon", 1)
    assert drawn.tag == "service_version:v2.5.1"
    assert (drawn.has_graph, drawn.has_code) == (True, True)


def test_which_steps_it_has_a_probe_says_and_not_the_rows(writer):
    run = writer.run("GraphFlow", "service_version:v2.5.1")
    for name in ("start", "inner", "inner", "of_nobody"):
        writer.metadata(writer.task(run, name), attempt="0", attempt__done="0")
    number = run.rpartition("/")[2]

    def steps(ended: str) -> dict[str, tuple[int, int]]:
        drawn = sample(writer.address, [writer.client], ended={f"GraphFlow/{number}": ended})
        return {step.name: (step.tasks, step.timed) for one in drawn for step in one.steps}

    found = steps("completed")
    assert found.pop("of_nobody") == (1, 1)
    assert list(found)[:2] == ["start", "inner"]
    assert (found["start"], found["inner"], found["end"]) == ((1, 1), (11, 2), (1, 0))
    assert set(found) == {step for step, _ in find_probes(FLOWS)["graph"].shows.steps}
    # One that did not end as it should may have broken off anywhere.
    writer.sql("UPDATE runs_v3 SET last_heartbeat_ts = 1 WHERE run_number = %s", number)
    assert steps("failed") == {"start": (1, 1), "inner": (2, 2), "of_nobody": (1, 1)}


def test_a_client_without_cards_has_none(writer):
    old = f"2.4.6.dev{writer.client[2:-2]}"
    writer.task(writer.run("CardFlow", "service_version:1", client=old), "start")
    assert [run.card for run in sample(writer.address, [old])] == [None]


def test_a_run_without_a_task_has_nothing_to_show(writer):
    writer.run("Empty")
    (drawn,) = writer.drawn()
    assert (drawn.steps, drawn.log, drawn.artifact, drawn.datastore) == ((), None, None, "")


def test_ids_of_the_clients_own_are_kept(writer):
    run = writer.run("Own", run_id=f"argo-{uuid4()}")
    writer.task(run, "start", task_id="t-1")
    (drawn,) = writer.drawn()
    assert drawn.run == run.rpartition("/")[2]
    assert drawn.log == SampleLog("start", "t-1", "")


@pytest.mark.parametrize(("value", "status"), [(True, "completed"), (False, "failed")])
def test_the_status_is_what_the_last_step_says(writer, value, status):
    end = writer.task(writer.run("F"), "end")
    writer.metadata(end, attempt_ok=str(not value))
    writer.sql("UPDATE metadata_v3 SET ts_epoch = 1 WHERE task_id = %s", end.rpartition("/")[2])
    writer.metadata(end, attempt_ok=str(value))
    assert [run.status for run in writer.drawn()] == [status]


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(("value", "status"), [(True, "completed"), (False, "failed")])
def test_before_there_was_a_word_the_checksum_tells(writer, value, status, protocol):
    writer.artifact(writer.task(writer.run("F"), "end"), "_task_ok", value, protocol)
    assert [run.status for run in writer.drawn()] == [status]


def test_the_last_step_may_have_another_name(writer):
    run = writer.run("F")
    writer.metadata(writer.task(run, "_parameters"), end_step="finish")
    writer.metadata(writer.task(run, "end"), attempt_ok="False")
    writer.metadata(writer.task(run, "finish"), attempt_ok="True")
    assert [run.status for run in writer.drawn()] == ["completed"]


@pytest.mark.parametrize(
    ("heartbeat", "age", "status"),
    [
        # It is over for a UI when that is asked, or not.
        (10, 60, ""),
        (300, 600, ""),
        # It is for newer UIs, and not for older ones.
        (5 * 86400, 6 * 86400, ""),
        (7 * 86400, 8 * 86400, "failed"),
        (None, 60, ""),
        (None, 5 * 86400, ""),
        (None, 7 * 86400, "failed"),
    ],
)
def test_a_run_that_never_ended_failed_when_it_is_silent_for_long(writer, heartbeat, age, status):
    number = writer.run("F").rpartition("/")[2]
    now = int(time.time())
    beat = None if heartbeat is None else now - heartbeat
    writer.sql(
        "UPDATE runs_v3 SET last_heartbeat_ts = %s, ts_epoch = %s WHERE run_number = %s",
        *(beat, (now - age) * 1000, number),
    )
    assert [run.status for run in writer.drawn()] == [status]


def test_what_the_harness_saw_counts_and_not_what_a_client_wrote(writer):
    run = writer.run("F")
    writer.metadata(writer.task(run, "end"), attempt_ok="True")
    number = run.rpartition("/")[2]
    drawn = sample(writer.address, [writer.client], ended={f"F/{number}": "failed"})
    assert [one.status for one in drawn] == ["failed"]
    drawn = sample(writer.address, [writer.client], ended={"F/1000000": "failed"})
    assert [one.status for one in drawn] == ["completed"]


def test_a_run_of_a_probe_must_have_ended_as_the_probe_says(writer):
    # https://github.com/Netflix/metaflow/pull/2087: such a task was recorded as good.
    run = writer.run("CommandsFlow", "service_version:reference-2.5")
    writer.metadata(writer.task(run, "end"), attempt_ok="True")
    assert [one.status for one in writer.drawn()] == ["failed"]


def test_a_run_that_a_command_of_a_probe_made_ended_as_it_says(writer):
    run = writer.run("CommandsFlow", "probe:by_runner")
    writer.metadata(writer.task(run, "end"), attempt_ok="True")
    assert [(one.probe, one.status) for one in writer.drawn()] == [("", "completed")]


def test_another_schema_may_be_named(writer):
    with pytest.raises(Exception, match=r"elsewhere\.runs_v3"):
        sample(writer.address, schema="elsewhere")


def test_one_run_in_each_state_is_drawn_the_newest(writer):
    ended = {}
    for status, resumed, retried in (
        ("completed", False, False),
        ("failed", False, True),
        ("completed", True, False),
        ("failed", False, False),
        ("completed", False, False),
        ("failed", False, True),
    ):
        run = writer.run("F")
        ended[f"F/{run.rpartition('/')[2]}"] = status
        first = writer.task(run, "_parameters")
        writer.metadata(first, origin__run__id="3" if resumed else "None")
        task = writer.task(run, "start")
        writer.metadata(task, attempt="0")
        if retried:
            writer.metadata(task, attempt="1")
        number = run.rpartition("/")[2]
        writer.sql("UPDATE runs_v3 SET last_heartbeat_ts = 1 WHERE run_number = %s", number)
    drawn = sample(writer.address, [writer.client], ended=ended)
    runs = list(ended)
    assert [(one.state, one.pathspec) for one in drawn] == [
        ("failed-retried", runs[5]),
        ("completed", runs[4]),
        ("failed", runs[3]),
        ("completed-resumed", runs[2]),
    ]


def test_of_many_runs_the_newest_are_looked_at(writer):
    numbers = [writer.run("F").rpartition("/")[2] for _ in range(14)]
    ended = {f"F/{number}": "completed" for number in numbers} | {f"F/{numbers[0]}": "failed"}
    drawn = sample(writer.address, [writer.client], ended=ended)
    assert [(one.state, one.run) for one in drawn] == [("completed", numbers[-1])]


@pytest.mark.parametrize(
    ("ago", "status"), [(10, ""), (300, ""), (3600, "failed"), (None, "failed")]
)
def test_what_failed_on_the_way_is_no_failure_to_a_ui_before_its_heartbeat_is_old(
    writer, ago, status
):
    number = writer.run("F").rpartition("/")[2]
    beat = None if ago is None else int(time.time()) - ago
    writer.sql("UPDATE runs_v3 SET last_heartbeat_ts = %s WHERE run_number = %s", beat, number)
    (drawn,) = sample(writer.address, [writer.client], ended={f"F/{number}": "failed"})
    assert drawn.status == status
