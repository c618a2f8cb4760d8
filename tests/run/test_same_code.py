"""Services of the same code: one is run, and told for the others as what it is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.catalog.versions import load
from harness.core.entries import Provenance, Reused
from harness.core.outcome import CheckOutcome, Status
from harness.core.plan import Cell, Plan, asked_of
from harness.core.probes import Check, Probe
from harness.core.provenance import with_key
from harness.run.same_code import share, told_with
from tests.report import journals

SERVICES = {service.name: service for service in load().services}
CLIENTS = {client.name: client for client in load().clients}
CODES = {"v2.4.1": "a, reports 2.4.1", "v2.4.2": "b", "v2.4.3": "b", "v2.5.1": ""}


def cell(service: str, client: str = "2.19.39", check: Check | None = None) -> Cell:
    checks = (check or Check("run", "it runs"),)
    probe = Probe("hello", Path("hello.py"), "HelloFlow", checks, ())
    return Cell("compat", CLIENTS[client], SERVICES[service], "local", probe, build=service)


def shared(*cells: Cell) -> tuple[list[str], dict[str, list[str]]]:
    left, others = share(cells, lambda service: CODES[service.name])
    return [one.id for one in left], {at: [one.id for one in told] for at, told in others.items()}


def test_cells_of_the_same_code_are_run_once_for_each_client():
    cells = [cell(name, client) for client in ("2.2.13", "2.19.39") for name in CODES]
    left, others = shared(*cells)
    assert left == [one.id for one in cells if one.service.name != "v2.4.3"]
    assert others == {
        cell("v2.4.2", client).id: [cell("v2.4.3", client).id] for client in ("2.2.13", "2.19.39")
    }


def test_what_nobody_can_tell_the_code_of_is_run():
    assert shared(cell("v2.5.1"), cell("v2.5.1"))[1] == {}


def test_a_check_that_goes_by_the_release_keeps_them_apart():
    check = Check("run", "it runs", release=">=2.4.3")
    left, _ = shared(cell("v2.4.2", check=check), cell("v2.4.3", check=check))
    assert len(left) == 2


def test_an_image_that_is_tagged_as_another_release_is_run_to_find_out():
    cells = [cell("v2.4.2"), cell("v2.4.1")]
    left, others = share(cells, lambda _: "one image")
    assert (left, others) == (cells, {})


@pytest.mark.parametrize("status", ["pass", "fail"])
def test_the_other_says_with_which_service_it_was_run(status: str):
    one, other = cell("v2.4.2"), cell("v2.4.3")
    plan = Plan("compat", (), (one, other), {one.id: "nox", other.id: "nox"})
    decided = with_key(Provenance(service="b", settings="c"), plan.planned(one))
    run = "20261101-120000-compat-1a2b"
    entry = journals.cell("2.19.39", "v2.4.2", {"run": status}, provenance=decided, run=run)
    told = told_with(entry, other, plan)
    assert told.reused == Reused(run=run, at=entry.at, service="v2.4.2")
    assert told.checks == entry.checks
    now = msgspec.structs.replace(decided, asked=asked_of(other))
    assert told.provenance == with_key(now, plan.planned(other))
    assert told.provenance.key != decided.key
    assert told.ended == {}


def test_what_was_declared_of_the_one_is_not_declared_of_the_other():
    one, other = cell("v2.4.2"), cell("v2.4.3")
    plan = Plan("compat", (), (one, other), {one.id: "nox", other.id: "nox"})
    entry = journals.cell("2.19.39", "v2.4.2", {"run": ("expected-fail", "known: no")})
    was = CheckOutcome(Status.FAIL, "no")
    known = msgspec.structs.replace(entry, undeclared={"run": was})
    assert told_with(known, other, plan).checks["run"] == was
