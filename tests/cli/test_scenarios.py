"""Scenarios as they are asked for: several, each with cells, walks and servers of its own."""

from __future__ import annotations

import pytest

from harness.catalog.releases import Catalog
from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.machine.errors import UsageError
from harness.stack.backend import choose_backend

SCENARIO = "--scenario"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


def test_each_is_a_page_of_cells_and_none_is_as_ever(catalog):
    given = ["--metaflow", "latest", "--service", "2.5", "--probe", "hello"]
    options = parse("compat", [*given, SCENARIO, "none, auth-key,lost-answer=7"], catalog)
    assert options.scenarios == ("", "auth-key", "lost-answer=7")
    plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
    assert [cell.id.rpartition("/")[2] for cell in plan.cells] == [
        "hello",
        "scenario=auth-key",
        "scenario=lost-answer=7",
    ]
    lines = [plan.rerun[cell.id] for cell in plan.cells]
    assert [f"{SCENARIO} auth-key " in line for line in lines] == [False, True, False]
    assert SCENARIO not in lines[0]


def test_a_password_may_be_that_of_containers_where_they_are_asked_for(catalog):
    def of(*given: str) -> str:
        return parse("compat", given, catalog, lambda: "an engine").backend

    assert of(SCENARIO, "none,awkward-password", "--backend", "docker") == "docker"
    assert of(SCENARIO, "none,awkward-password") == "embedded"
    with pytest.raises(UsageError, match="--scenario goes with --backend embedded"):
        of(SCENARIO, "awkward-password,auth-key", "--backend", "docker")


def test_unasked_there_is_none(catalog):
    assert parse("compat", [], catalog).scenarios == ("",)
    assert parse("local", [], catalog).scenarios == ("",)


def test_each_is_a_walk(catalog):
    given = ["--metaflow", "latest", "--path", "2.3,2.5", "--probe", "hello"]
    options = parse("fixed_db", [*given, SCENARIO, "none,awkward-password"], catalog)
    plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
    assert [cell.walk for cell in plan.cells if cell.stage == 1] == [
        "",
        "scenario=awkward-password",
    ]


def test_each_password_has_a_server_and_the_others_share_one(catalog, tmp_path):
    asked = "none,auth-key,awkward-password,awkward-password=2"
    options = parse("compat", ["--backend", "embedded", SCENARIO, asked], catalog)
    backend = choose_backend(options, tmp_path, "tests-scenarios", print)
    assert list(backend.by_variant) == [
        ("", "", ""),
        ("", "", "awkward-password"),
        ("", "", "awkward-password=2"),
    ]
    assert len(set(backend.servers)) == len(set(backend.secrets)) == 3
    plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients[:1]])
    own = {cell.scenario: backend.server(cell.point) for cell in plan.cells}
    assert own[""] is own["auth-key"] is not own["awkward-password"]
    assert own["awkward-password"] is not own["awkward-password=2"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([SCENARIO, "none,auth-kez"], r"no such scenario \(nearest: auth-key"),
        ([SCENARIO, " , "], "the list is empty"),
        ([SCENARIO, "none,wrong-order"], "--checkout"),
        ([SCENARIO, "none,full-disk"], "full-disk goes with chaos, not compat"),
        (
            [SCENARIO, "none,awkward-password", "--database-port", "5433"],
            "--database-port 5433: one port, and --scenario none,awkward-password has several",
        ),
        (
            [SCENARIO, "none,awkward-password", "--database-password", "x"],
            "awkward-password chooses the password itself",
        ),
    ],
)
def test_what_does_not_go_is_refused(catalog, given, message):
    with pytest.raises(UsageError, match=message):
        parse("compat", given, catalog)
