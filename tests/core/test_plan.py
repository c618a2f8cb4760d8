"""The plan as text, and what a cell cannot be asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec
import pytest

from harness.catalog.releases import Catalog
from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.entries import CellEntry, now
from harness.core.outcome import Status
from harness.core.plan import Cell, Plan, notes_on_pins
from harness.core.probes import Check, Probe
from harness.machine.dependencies import PINNED, Dependencies
from harness.run.unit import Unit, execute

if TYPE_CHECKING:
    from harness.run.clients import Clients

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


@pytest.mark.parametrize(
    ("name", "session", "arguments"),
    [
        (
            "plan-compat",
            "compat",
            ["--metaflow", "2.2.13,2.19.39", "--service", "1.0,2.5", "--probe", "hello,basics"],
        ),
        ("plan-local", "local", ["--metaflow", "2.2.1,2.2.2"]),
        (
            "plan-fixed_db",
            "fixed_db",
            ["--metaflow", "2.2.13,2.19.39", "--path", "2.0.4,2.5", "--probe", "hello"],
        ),
        (
            "plan-cross",
            "cross",
            ["--metaflow", "2.2.13,2.12.39,2.19.39", "--probe", "basics,hello,resume"],
        ),
    ],
)
def test_the_plan_as_text(catalog, name, session, arguments):
    options = parse(session, arguments, catalog)
    text = make_plan(options, [OnPython(one, "3.11") for one in options.clients]).render() + "\n"
    assert text == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def _cell(catalog: Catalog, client: str, service: str | None, check: Check) -> Cell:
    clients = {one.name: one for one in catalog.clients}
    services = {one.name: one for one in catalog.services}
    probe = Probe("p", Path("p.py"), "F", (check,), ())
    return Cell("compat", clients[client], services[service] if service else None, "local", probe)


def test_a_check_of_rows_needs_a_service(catalog):
    check = Check("c", "", wants=("run", "rows"))
    assert _cell(catalog, "2.19.39", "reference-2.5", check).unsupported(check) == ""
    alone = _cell(catalog, "2.19.39", None, check).unsupported(check)
    assert alone == "needs the rows of a service, and clients run alone"


def test_a_check_may_need_a_package_beside_the_client(catalog):
    check = Check("c", "", package="typing-extensions")
    cell = _cell(catalog, "2.19.39", None, check)
    reason = "needs the package typing-extensions: --with typing-extensions"
    assert cell.unsupported(check) == reason
    assert replace(cell, packages="numpy>=2").unsupported(check) == reason
    assert replace(cell, packages="numpy Typing_Extensions>=4").unsupported(check) == ""
    probe = replace(cell.probe, packages=("typing_extensions",))
    assert replace(cell, probe=probe).unsupported(check) == ""


def test_a_writer_has_a_range_of_its_own(catalog):
    check = Check("c", "", client=">=2.12.4", writer=">=2.4")
    cell = _cell(catalog, "2.19.39", "reference-2.5", check)
    older = replace(cell, writer=_cell(catalog, "2.2.13", None, check).client)
    assert older.unsupported(check) == "needs writer >=2.4, this is 2.2.13"
    old = replace(cell, writer=_cell(catalog, "2.7.23", None, check).client)
    assert old.unsupported(check) == ""
    resumed = replace(old, resumer=old.writer)
    assert resumed.unsupported(check) == "needs client >=2.12.4, this is 2.7.23"


@pytest.mark.parametrize(
    ("client", "service", "check", "reason"),
    [
        ("2.19.39", "reference-2.5", Check("c", ""), ""),
        (
            "2.6.3",
            "reference-2.5",
            Check("c", "", client=">=2.7"),
            "needs client >=2.7, this is 2.6.3",
        ),
        ("2.7.0", "reference-2.5", Check("c", "", client=">=2.7"), ""),
        (
            "2.19.39",
            "reference-2.0.6",
            Check("c", "", service=">=2.3"),
            "needs service >=2.3, reference-2.0.6 reports 2.0.6",
        ),
        ("2.19.39", None, Check("c", "", service=">=2.3"), ""),
        # v2.2.5 tells clients that it is 2.2.3, and they gate on that.
        (
            "2.19.39",
            "v2.2.5",
            Check("c", "", service=">=2.2.4"),
            "needs service >=2.2.4, v2.2.5 reports 2.2.3",
        ),
        # What it can do is another matter.
        ("2.19.39", "v2.2.5", Check("c", "", release=">=2.2.5"), ""),
        (
            "2.19.39",
            "v2.2.4",
            Check("c", "", release=">=2.2.5"),
            "needs service release >=2.2.5, this is v2.2.4",
        ),
    ],
)
def test_what_a_cell_cannot_be_asked(catalog, client, service, check, reason):
    assert _cell(catalog, client, service, check).unsupported(check) == reason


@pytest.mark.parametrize(
    ("service", "circumstances", "reason"),
    [
        ("v2.4.3", {}, ""),
        ("v2.4.3", {"scenario": "path-prefix"}, ""),
        ("v2.4.4", {"database_tls": "client-cert", "scenario": "service-prefix"}, ""),
        ("reference-1.0", {"database_tls": "require", "scenario": "service-prefix"}, ""),
        (
            "v2.4.3",
            {"database_tls": "require"},
            "needs settings for TLS, which there are since v2.4.4, this is v2.4.3",
        ),
        (
            "v2.4.3",
            {"scenario": "service-prefix"},
            "needs settings for a path of its own, which there are since v2.4.4, this is v2.4.3",
        ),
    ],
)
def test_a_service_that_cannot_be_told_is_not_brought_up(catalog, service, circumstances, reason):
    check = Check("run", "")
    cell = replace(_cell(catalog, "2.19.39", service, check), **circumstances)
    assert cell.unsupported(check) == reason
    assert cell.refused == reason
    if reason:
        # No stack is asked for: there is none to ask.
        outcome = execute(Unit(cell, Path("python")), cast("Clients", None), None)
        assert {name: str(one.status.value) for name, one in outcome.checks.items()} == {
            "run": "unsupported"
        }
        assert outcome.checks["run"].reason == reason


def test_the_plan_says_what_is_left_out(catalog):
    cell = _cell(catalog, "2.6.3", "reference-2.5", Check("mutate", "", client=">=2.7"))
    assert Plan("compat", (), (cell,), {}).render() == (
        "compat/2.6.3/reference-2.5/local/p: "
        "; unsupported: mutate: needs client >=2.7, this is 2.6.3\n"
        "1 cell"
    )


def test_ids_are_stable_and_slugs_are_file_names(catalog):
    cell = _cell(catalog, "2.19.39", "reference-2.5", Check("c", ""))
    assert cell.id == "compat/2.19.39/reference-2.5/local/p"
    assert cell.slug == "compat__2.19.39__reference-2.5__local__p"
    alone = _cell(catalog, "2.19.39", None, Check("c", ""))
    assert alone.id == "compat/2.19.39/no-service/local/p"


def test_the_matrix_has_every_combination_once(catalog):
    given = ["--metaflow", "2.0.0,2.0.1,2.0.2", "--service", "1.0,2.0"]
    given += ["--datastore", "local,s3", "--probe", "hello,basics"]
    options = parse("compat", given, catalog)
    cells = make_plan(options, [OnPython(one, "3.9") for one in options.clients]).cells
    clients = catalog.clients[:3]
    assert len(cells) == len({cell.id for cell in cells}) == 3 * 2 * 2 * 2
    assert [cell.client for cell in cells] == [client for client in clients for _ in range(8)]


def _attempt(plan: Plan, cell: Cell, status: Status) -> CellEntry:
    whole = msgspec.structs.asdict(plan.planned(cell))
    return CellEntry(**whole, at=now(), run="r", status=status, checks={})


def test_what_is_left_of_a_plan_is_what_nothing_is_told_of(catalog):
    options = parse("compat", ["--metaflow", "2.19.39", "--service", "2.3,2.5"], catalog)
    plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
    first, second = plan.cells
    assert plan.minus([]) == plan
    for status in Status:
        left = plan.minus([_attempt(plan, first, status)])
        again = status in {Status.INFRA, Status.NOT_RUN}
        assert left.cells == (plan.cells if again else (second,))
        assert left.planned(second) == plan.planned(second)
    told = [_attempt(plan, first, Status.INFRA), _attempt(plan, first, Status.FAIL)]
    assert plan.minus(told).cells == (second,)
    assert plan.minus([*told, _attempt(plan, second, Status.PASS)]).cells == ()


def test_of_a_cell_that_runs_several_times_every_attempt_counts(catalog):
    options = parse("compat", ["--metaflow", "2.19.39", "--service", "2.5"], catalog)
    plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
    attempts = [_attempt(plan, plan.cells[0], one) for one in (Status.PASS, Status.INFRA)]
    assert plan.minus(attempts, repeat=2).cells == plan.cells
    assert plan.minus([*attempts, attempts[0]], repeat=2).cells == ()


def test_s3_cells_have_one_check_more_and_a_probe_may_be_for_them_alone(catalog):
    probe = Probe("p", Path("p.py"), "F", (Check("c", ""),), (), ("s3",))
    local, s3 = (
        Cell("local", catalog.clients[-1], None, datastore, probe) for datastore in ("local", "s3")
    )
    assert [check.name for check in local.checks] == ["c"]
    assert [check.name for check in s3.checks] == ["c", "stored"]
    assert [local.unsupported(check) for check in local.checks] == ["needs s3 data, this is local"]
    assert [s3.unsupported(check) for check in s3.checks] == ["", ""]


def test_what_the_refs_of_clients_stood_for_is_told_and_names_nothing(catalog):
    cell = _cell(catalog, "2.19.39", None, Check("c", ""))
    head = replace(cell.client, name="HEAD", says="2.19.39+g1234567", label="2.19.39+g1234567")
    developed = replace(cell, client=head, writer=cell.client)
    assert (cell.point.client_build, developed.point.client_build) == ("", "2.19.39+g1234567")
    assert developed.id.startswith(f"{cell.session}/HEAD/")
    assert "1234567" not in developed.id


def test_what_outcomes_rest_on_is_told_of_those_it_is_pinned_for(catalog):
    named = {one.name: one for one in catalog.clients}
    names = ("2.2.1", "2.10.3", "2.19.39")
    of = {name: _cell(catalog, name, None, Check("c", "")) for name in names}
    told = "setuptools<81 is pinned beside 2.2.1, 2.10.3, which may not work without it:"
    assert notes_on_pins([*of.values(), of["2.2.1"]]) == [f"{told} --deps latest tells"]
    assert notes_on_pins([replace(cell, deps="latest") for cell in of.values()]) == []
    both = replace(of["2.19.39"], writer=named["2.2.0"])
    assert notes_on_pins([both])[0].startswith("setuptools<81 is pinned beside 2.2.0, which")
    old = [replace(of["2.2.1"], client=one) for one in catalog.clients[:9]]
    assert " beside 9 clients from 2.0.0 to 2.2.0, " in notes_on_pins(old)[0]


def test_a_client_has_cells_with_each_of_its_dependencies(catalog):
    options = parse("compat", ["--metaflow", "2.19.39", "--service", "2.3,2.5"], catalog)
    client, newest = options.clients[0], Dependencies("latest")
    given = [OnPython(client, "3.11", deps=deps) for deps in (PINNED, newest)]
    plan = make_plan(options, given)
    assert [cell.deps for cell in plan.of_client(client, deps="latest")] == ["latest"] * 2
    assert [cell.deps for cell in plan.of_client(client, deps="")] == [""] * 2
    assert plan.of_client(client) == plan.cells
    assert len({cell.id for cell in plan.cells}) == 4
