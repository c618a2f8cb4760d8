"""What a run takes instead of running it, and what it tells of the services it did not start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from harness.catalog.releases import Service
from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.axes import Point
from harness.core.entries import Answered, Begun, CellEntry, Provenance, StageEntry, now
from harness.core.outcome import CheckOutcome, Status
from harness.core.plan import Cell
from harness.core.provenance import with_key
from harness.machine.errors import InfraError
from harness.run.contracts import Contracts
from harness.run.folder import RunFolder
from harness.run.record import Record
from harness.run.reuse import Earlier
from harness.run.reusing import Reusing
from tests.report import journals

NAMED = ("--metaflow", "2.19.39", "--probe", "hello", "--backend", "docker")
CODES = {"v2.4.1": "a", "v2.4.2": "b", "v2.4.3": "b"}
DECIDED = Provenance(service="b", settings="c", server="s", reported="2.4.3", db_schema=1)


def code(service: Service) -> str:
    if service.name not in CODES:
        raise InfraError(f"{service.name}: no such image")
    return CODES[service.name]


class Lab:
    """A run of four services, two of them of one code, and what serves them."""

    def __init__(self, folder: Path, session: str, *given: str, earlier: bool = False) -> None:
        services = ("--service", "v2.4.1,v2.4.2,v2.4.3,v2.5.1", "--results", str(folder))
        words = [*NAMED, *services, *given]
        self.options = parse(session, words, load(), lambda: "an engine")
        clients = [OnPython(one, "3.11") for one in self.options.clients]
        self.plan = make_plan(self.options, clients)
        run = RunFolder(folder, session)
        run.make()
        self.record = Record(run.run, run.path, ())
        begun = {"session": session, "options": [], "backend": "", "clients": [], "services": []}
        self.record.add(msgspec.convert({"at": now(), "run": run.run, **begun}, Begun))
        launcher, server = SimpleNamespace(code=code), SimpleNamespace(code="s")
        backend: Any = SimpleNamespace(launcher=launcher, server=lambda _: server)
        self.contracts = Contracts(self.options, run, self.record, backend, DECIDED)
        known: Any = SimpleNamespace(provenance=lambda *_: DECIDED)
        self.reusing = Reusing(
            self.options,
            self.plan,
            self.record,
            earlier=Earlier(folder, pytest.fail) if earlier else None,
            backend=backend,
            clients=known,
            contracts=self.contracts,
        )
        self.started: list[str] = []

    def cell(self, service: str) -> Cell:
        (found,) = (one for one in self.plan.cells if one.service and one.service.name == service)
        return found

    def shared(self) -> list[str]:
        """The services whose cells are run."""
        left = self.reusing.share(self.plan.cells)
        return [cell.service.name for cell in left if cell.service]

    def result(self, service: str, status: Status = Status.PASS) -> CellEntry:
        """Return what came of the cell of a service."""
        cell = self.cell(service)
        planned = self.plan.planned(cell)
        return CellEntry(
            **msgspec.structs.asdict(planned),
            at=now(),
            run=self.record.run,
            status=status,
            checks={check.name: CheckOutcome(status) for check in cell.checks},
            provenance=with_key(DECIDED, planned),
        )

    def ask_services(self) -> list[str]:
        """The services that had to be started to be told of."""

        def get(service: Service, point: Point) -> None:
            assert point == self.cell(service.name).point
            self.started.append(service.name)

        stacks: Any = SimpleNamespace(get=get)
        self.reusing.ask_services(stacks)
        return self.started


def alone(lab: Lab, **fields: Any) -> StageEntry:
    """Return what came of v2.4.2 by itself."""
    whole = {"run": lab.record.run, "carried": 0, "rereads": 0, **fields}
    return journals.stage(0, "v2.4.2", **whole)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    made: list[Lab] = []

    def make(session: str = "compat", *given: str, **how: bool) -> Lab:
        made.append(Lab(tmp_path, session, *given, **how))
        return made[-1]

    yield make
    for one in made:
        one.record._journal.close()


@pytest.mark.parametrize("session", ["compat", "cross"])
def test_of_services_of_the_same_code_one_is_run(lab, session):
    assert lab(session).shared() == ["v2.4.1", "v2.4.2", "v2.5.1"]


def test_services_nobody_can_tell_the_code_of_are_both_run(lab, monkeypatch):
    for name in ("v2.4.2", "v2.4.3"):
        monkeypatch.delitem(CODES, name)
    assert lab().shared() == ["v2.4.1", "v2.4.2", "v2.4.3", "v2.5.1"]


@pytest.mark.parametrize(
    ("session", "given"),
    [
        ("compat", ["--no-dedupe"]),
        ("cross", ["--no-dedupe"]),
        ("compat", ["--remove-images"]),
        ("chaos", ["--scenario", "service-restart"]),
    ],
)
def test_each_is_run_where_that_is_asked_for_or_what_it_needs_is_broken(lab, session, given):
    found = lab(session, *given)
    assert found.shared() == ["v2.4.1", "v2.4.2", "v2.4.3", "v2.5.1"]
    assert not found.reusing.took_some


def test_what_comes_of_the_one_is_told_for_the_other(lab):
    found = lab()
    found.shared()
    assert found.reusing.told_with(found.result("v2.4.1")) == []
    (told,) = found.reusing.told_with(found.record.add(found.result("v2.4.2", Status.FAIL)))
    assert (told.service, told.status, told.reused.service) == ("v2.4.3", Status.FAIL, "v2.4.2")
    assert [one.id for one in found.record.view.finished] == [
        found.cell(name).id for name in ("v2.4.2", "v2.4.3")
    ]


def test_nothing_is_taken_where_that_is_not_asked_for(lab, tmp_path):
    journals.write(tmp_path / "before", [lab().result("v2.4.2")])
    assert lab().reusing.take(lab().cell("v2.4.2"), {}) is None
    assert lab("compat", "--reuse", earlier=True).reusing.take(lab().cell("v2.4.2"), {}) is not None


def test_what_an_earlier_run_has_is_taken_and_nothing_of_what_nobody_can_tell_the_code(
    lab, tmp_path
):
    journals.write(tmp_path / "before", [lab().result("v2.4.2"), lab().result("v2.5.1")])
    found = lab("compat", "--reuse", earlier=True)
    taken = found.reusing.take(found.cell("v2.4.2"), {})
    assert (taken.run, taken.status, taken.reused.run) == (
        *(found.record.run, Status.PASS),
        "20261101-120000-compat-1a2b",
    )
    for other in ("v2.4.1", "v2.5.1"):
        assert found.reusing.take(found.cell(other), {}) is None
    assert [one.id for one in found.record.view.finished] == [found.cell("v2.4.2").id]


def test_a_service_that_was_not_run_is_told_as_the_one_of_its_code_or_else_started(lab):
    asked = lab()
    asked.shared()
    assert asked.reusing.took_some
    asked.record.add(alone(asked, answered=Answered([])))
    assert asked.ask_services() == []
    assert [one.service for one in asked.record.view.stages] == ["v2.4.2", "v2.4.3"]
    not_asked = lab()
    not_asked.shared()
    assert not_asked.ask_services() == ["v2.4.3"]


def test_of_a_taken_cell_the_service_is_told_once_and_else_started(lab, tmp_path):
    journals.write(tmp_path / "before", [lab().result("v2.4.2")])
    found = lab("compat", "--reuse", earlier=True)
    found.reusing.take(found.cell("v2.4.2"), {})
    assert found.ask_services() == ["v2.4.2"]
    found.record.add(alone(found))
    assert found.ask_services() == ["v2.4.2"], "not once more"
