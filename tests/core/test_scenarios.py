"""Scenarios by their names, kinds of requests, and how their answers are lost."""

from __future__ import annotations

import re
import shlex

import pytest

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.actions import FIRST_RUN
from harness.core.plan import Cell, Plan
from harness.core.probes import FLOWS, find_probes
from harness.core.scenarios import (
    ACKNOWLEDGED,
    CHAOS,
    FAULTS,
    KINDS,
    LOSING,
    Way,
    awkward_beginning,
    kind_of,
    losses,
    lost_answers,
    lost_checks,
    may_show,
    prefix_of,
    proxy_of,
    wrong_with,
)
from harness.machine.errors import UsageError
from harness.stack.reference import paths

CATALOG = load()


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/ping", "ping"),
        ("POST", paths.FLOW, "create_flow"),
        ("POST", paths.FLOW + "/run", "create_run"),
        ("POST", paths.STEP + "/step", "create_step"),
        ("POST", paths.STEP + "/task", "create_task"),
        ("POST", paths.TASK + "/artifact", "artifacts"),
        ("POST", paths.TASK + "/metadata", "metadata"),
        ("POST", paths.RUN + "/heartbeat", "run_heartbeat"),
        ("POST", paths.TASK + "/heartbeat", "task_heartbeat"),
        ("PATCH", paths.RUN + "/tag/mutate", "tags"),
        ("GET", paths.FLOW, "read_flow"),
        ("GET", paths.RUN, "read_run"),
        ("GET", paths.STEP, "read_step"),
        ("GET", paths.TASK, "read_task"),
        ("GET", paths.FLOWS, "read_more"),
        ("GET", paths.RUNS, "read_more"),
        ("GET", paths.TASKS, "read_more"),
        ("GET", paths.TASK + "/metadata", "read_more"),
        ("GET", paths.ARTIFACT, "read_more"),
        ("GET", paths.TASK + "/attempt/0/artifacts", "read_more"),
        ("GET", paths.STEP + "/filtered_tasks", "read_more"),
    ],
)
def test_every_route_of_a_service_that_clients_use_is_of_a_kind(method, path, name):
    kind = kind_of(method, path)
    assert kind is not None
    assert kind.name == name


@pytest.mark.parametrize(("method", "path"), [("GET", "/version"), ("DELETE", "/flows/F")])
def test_what_no_client_asks_is_of_no_kind(method, path):
    assert kind_of(method, path) is None


def test_names_are_words_and_tables_are_told_once():
    assert all(re.fullmatch(r"[a-z_]+", kind.name) for kind in KINDS)
    tables = [kind.table for kind in KINDS if kind.table]
    assert len(set(tables)) == len(tables) == 6


def test_a_seed_says_the_same_again_and_others_say_something_else():
    assert losses(7) == losses(7)
    assert losses(7) != losses(8)
    assert lost_answers("lost-answer=7") == losses(7)
    assert lost_answers("wrong-order") == lost_answers("") == {}


def test_unasked_the_first_answer_to_every_write_is_lost_and_every_way_is_taken():
    unasked = lost_answers("lost-answer")
    writes = {kind.name: unasked[kind.name].way for kind in KINDS if kind.table}
    assert Way.DELAY not in writes.values()
    assert {writes["create_run"], writes["create_task"]} == {Way.DROP, Way.TRUNCATE}
    assert {loss.way for loss in unasked.values()} == set(LOSING)
    assert {loss.nth for loss in unasked.values()} == {1}


def test_a_seed_loses_any_answer_of_a_kind_and_every_way_in_what_all_clients_send():
    always = ("create_run", "create_step", "create_task", "artifacts", "metadata")
    drawn = [losses(seed) for seed in range(100)]
    for one in drawn:
        assert list(one) == [kind.name for kind in KINDS]
        assert {one[name].way for name in (*always, "read_flow", "read_step")} == set(LOSING)
    for kind in KINDS:
        of_kind = {one[kind.name].nth for one in drawn}
        assert of_kind == set(range(1, kind.sent + 1)), kind
        assert {one[kind.name].way for one in drawn} == set(LOSING), kind
    assert {kind.name for kind in KINDS if kind.sent > 1} >= {"create_task", "run_heartbeat"}


def test_there_is_a_check_for_each_kind():
    checks = {check.name: check for check in lost_checks("lost-answer=7")}
    assert set(checks) == {ACKNOWLEDGED, *(f"lost_{kind.name}" for kind in KINDS)}
    words = {1: "first", 2: "second", 3: "third"}
    loss = losses(7)["create_task"]
    told = f"the answer to the {words[loss.nth]} 'create task' {loss.way.value}: the run ends"
    assert checks["lost_create_task"].about.startswith(told)


def test_a_fault_of_a_scenario_may_show_at_a_seed_where_the_answer_is_lost():
    shown = {
        seed: may_show("lost-answer", f"lost-answer={seed}", "lost_tags") for seed in range(30)
    }
    assert shown == {seed: losses(seed)["tags"].way is not Way.DELAY for seed in range(30)}
    assert set(shown.values()) == {True, False}
    assert not may_show("lost-answer", "lost-answer", "lost_tags"), "it must"
    assert not may_show("wrong-order", "lost-answer=1", "lost_tags")
    assert not may_show("lost-answer", "lost-answer=1", "run")


@pytest.mark.parametrize(
    "name",
    [*("wrong-order", "lost-answer", "lost-answer=0", "lost-answer=12"), "awkward-password=4"],
)
def test_a_scenario(name):
    assert wrong_with(name) == ""


@pytest.mark.parametrize(
    "name", ["lost", "lost-answer=", "lost-answer=x", "wrong-order=1", "awkward-password=5"]
)
def test_what_is_no_scenario(name):
    assert wrong_with(name).startswith("no such scenario (nearest: ")
    assert wrong_with(name).endswith(
        "; there are wrong-order, awkward-password, lost-answer, service-prefix, path-prefix,"
        " auth-key, auth-headers, body-limit, idle-connections, service-restart, cut-connections,"
        " database-restart, bad-network, full-disk, lost-answer=SEED, service-restart=SEED,"
        " cut-connections=SEED, database-restart=SEED, bad-network=SEED, full-disk=SEED,"
        " awkward-password=1…4, body-limit=KB"
    )


def test_an_awkward_password_has_what_a_shell_a_dsn_and_a_url_trip_over():
    assert set("'\"#%@& \\") <= set(awkward_beginning("awkward-password"))
    assert awkward_beginning("awkward-password=1") == awkward_beginning("awkward-password")
    mixes = {awkward_beginning(f"awkward-password={number}") for number in range(1, 5)}
    assert len(mixes) == 4
    assert awkward_beginning("lost-answer=1") == awkward_beginning("") == ""


def test_an_awkward_password_is_the_harness_own():
    with pytest.raises(UsageError, match="chooses the password itself; leave out --database-pass"):
        plan("--scenario", "awkward-password", "--database-password", "mine")


def plan(*words: str, session: str = "compat") -> Plan:
    options = parse(session, ["--metaflow", "2.19.39", "--service", "2.5", *words], CATALOG)
    return make_plan(options, [OnPython(one, "3.11") for one in options.clients])


def cells(*words: str) -> tuple[Cell, ...]:
    return plan(*words).cells


def test_a_path_is_the_services_own_or_a_proxys():
    assert prefix_of("service-prefix") == "/teams/metaflow"
    assert proxy_of("service-prefix") is None
    assert prefix_of("path-prefix") == prefix_of("") == ""


def test_the_line_of_a_cell_runs_it_with_its_seed():
    planned = plan("--probe", "hello", "--scenario", "lost-answer=7")
    line = shlex.split(planned.rerun[planned.cells[0].id])[4:]
    assert line[-4:-2] == ["--scenario", "lost-answer=7"]
    again = parse("compat", line, CATALOG)
    assert make_plan(again, [OnPython(one, "3.11") for one in again.clients]).cells == planned.cells


def test_a_cell_that_loses_answers_is_asked_what_tells_of_its_first_run():
    (cell,) = cells("--probe", "basics", "--scenario", "lost-answer=7")
    names = [check.name for check in cell.checks]
    assert cell.id == "compat/2.19.39/reference-2.5/local/basics/scenario=lost-answer=7"
    assert names[0] == FIRST_RUN
    assert "artifacts" in names
    assert "resume" not in names
    assert "finished" not in names, "it asks for what the run printed"
    assert names[-len(KINDS) - 1 :] == [*(f"lost_{kind.name}" for kind in KINDS), ACKNOWLEDGED]
    assert {cell.unsupported(check) for check in cell.checks} == {""}


def test_a_flow_that_fails_on_purpose_is_not_asked():
    (cell,) = cells("--probe", "failing", "--scenario", "lost-answer")
    assert {cell.unsupported(check) for check in cell.checks} == {
        "needs a run that ends well: what a lost answer did to it is told by its end"
    }


def test_what_the_first_run_needs_its_lost_answers_need():
    probe = find_probes(FLOWS)["parallel"]
    (cell,) = cells("--probe", "parallel", "--scenario", "lost-answer")
    needed = probe.action(FIRST_RUN).client
    assert needed
    assert {check.client for check in cell.checks if check.name.startswith("lost_")} == {needed}


@pytest.mark.parametrize("session", ["fixed_db", "cross", "full"])
def test_answers_are_lost_in_compat_alone(session):
    with pytest.raises(UsageError, match=f"--scenario lost-answer goes with compat, not {session}"):
        parse(session, ["--scenario", "lost-answer"], CATALOG)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_strikes_at_each_kind_of_write_and_a_seed_moves_it(name):
    fault = FAULTS[name]
    unasked = lost_answers(name)
    writes = {kind.name for kind in KINDS if kind.table}
    assert set(unasked) == ({kind.name for kind in KINDS} if fault.reads else writes)
    assert {loss.way for loss in unasked.values()} == set(fault.ways)
    assert {(loss.nth, loss.fault) for loss in unasked.values()} == {(1, fault.words)}
    drawn = [lost_answers(f"{name}={seed}") for seed in range(50)]
    assert drawn[7] == lost_answers(f"{name}=7")
    for kind in fault.kinds:
        assert {one[kind.name].nth for one in drawn} == set(range(1, kind.sent + 1)), kind
        assert {one[kind.name].way for one in drawn} == set(fault.ways), kind
    assert may_show(name, f"{name}=3", "amid_create_run")
    assert not may_show(name, name, "amid_create_run"), "it must"
    told = {check.name: check.about for check in lost_checks(name)}["amid_create_task"]
    way = unasked["create_task"].way.value
    assert told.startswith(f"{fault.words} {way} the first 'create task': the run ends")


def test_chaos_has_a_cell_for_each_fault_and_each_line_runs_its_own():
    planned = plan("--probe", "hello", session="chaos")
    assert [cell.scenario for cell in planned.cells] == list(CHAOS)
    for cell in planned.cells:
        line = planned.rerun[cell.id]
        assert line.startswith("nox -s chaos -- ")
        again = parse("chaos", shlex.split(line)[4:], CATALOG)
        assert make_plan(again, [OnPython(cell.client, "3.11")]).cells == (cell,)
    assert {cell.id for cell in planned.cells} >= {
        "chaos/2.19.39/reference-2.5/local/hello/scenario=service-restart"
    }


def test_what_one_cell_breaks_no_other_runs_on_meanwhile():
    assert parse("chaos", [], CATALOG).jobs == 1
    with pytest.raises(UsageError, match="unknown option --jobs: it goes with compat"):
        parse("chaos", ["--jobs", "2"], CATALOG)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "service-restrat",
            r"'service-restrat' is none \(nearest: service-restart, database-restart\);",
        ),
        ("wrong-order", "'wrong-order' is none"),
        ("full-disk=x", "'full-disk=x' is none"),
        (",", "the list is empty; there are lost-answer, service-restart"),
    ],
)
def test_what_is_no_fault_of_chaos(given, said):
    with pytest.raises(UsageError, match=f"--scenario {given}: {said}"):
        parse("chaos", ["--scenario", given], CATALOG)


@pytest.mark.parametrize("session", ["compat", "cross", "fixed_db"])
def test_faults_go_with_chaos(session):
    with pytest.raises(UsageError, match=f"full-disk=2 goes with chaos, not {session}"):
        parse(session, ["--scenario", "full-disk=2"], CATALOG)


def test_the_disk_that_gets_full_is_that_of_local_data():
    planned = plan("--scenario", "full-disk", "--datastore", "local,s3", session="chaos")
    told = {
        cell.datastore: {cell.unsupported(one) for one in cell.checks} for cell in planned.cells
    }
    assert told["local"] == {""}
    assert told["s3"] == {"needs local data: the disk is full, which S3 data never meets"}
