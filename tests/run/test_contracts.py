"""Services of one run beside each other: neighbours are compared, whichever is asked first."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.version import Version

from harness.catalog.releases import Service
from harness.catalog.versions import load
from harness.core.axes import Point
from harness.core.entries import Begun, Entry, Note, Provenance, StageEntry, now
from harness.core.outcome import Status
from harness.core.view import View
from harness.machine.errors import EndedError, Ending, InfraError
from harness.machine.processes import free_port
from harness.proof import contract, unmigrated
from harness.run import contracts
from harness.run.contracts import Contracts
from harness.stack.database.server import Address, Database
from harness.stack.service.migration import Migration
from harness.stack.stacks import Stack

SERVICES = {service.name: service for service in load().services}
RUN = "20261101-120000-compat-1a2b"
HERE = Point(client="2.19.39")

SAME = {"duplicate flow": "409"}
OTHER = {"duplicate flow": "200"}


class Kept:
    """What a journal holds, and what is added to it, without a file."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries = list(entries) or [BEGUN]
        self.view = View(self.entries)

    def add(self, entry: Entry) -> None:
        """Take one more entry."""
        self.entries.append(entry)
        self.view.add(entry)

    def note(self, service: str, text: str) -> None:
        """Take what is worth knowing of a service."""
        self.add(Note(at=now(), run=RUN, service=service, text=text))


BEGUN = Begun(
    at=now(),
    run=RUN,
    session="compat",
    options=[],
    backend="",
    datastores=[],
    clients=[],
    services=[],
)


class Asked:
    """A run over some services, each of which behaves as it is said to."""

    def __init__(
        self,
        services: tuple[Service, ...],
        observed: dict[str, dict[str, str]],
        journal: Iterable[Entry] = (),
    ) -> None:
        self.record = Kept(journal)
        self._services = services
        self._observed = observed
        options = SimpleNamespace(services=services, expectations=())
        folder = SimpleNamespace(run=RUN, path=Path("/results"))
        self.backend = SimpleNamespace(launcher=None, server=None)
        parts: tuple[Any, ...] = (options, folder, self.record, self.backend, Provenance())
        self.contracts = Contracts(*parts)

    def judge(self, name: str, monkeypatch: pytest.MonkeyPatch) -> StageEntry:
        """Return what is judged of a service that is asked now."""
        found = contract.Contract(self._observed[name], (), complete=bool(self._observed[name]))
        monkeypatch.setattr(contract, "exercise", lambda *_: found)
        service = next(one for one in self._services if one.name == name)
        log = Path("/results/service.log")
        running = SimpleNamespace(service=service, url="http://x", log=log, code="sha256:1")
        parts: tuple[Any, ...] = (running, SimpleNamespace(address=None))
        stack = Stack(*parts, Migration(None, None, 0.0), None, service.schema)
        self.contracts.judge(stack, HERE)
        (judged,) = (one for one in self.record.view.stages if one.service == name)
        return judged


def chosen(*names: str) -> tuple[Service, ...]:
    return tuple(SERVICES[name] for name in names)


THREE = chosen("v2.4.0", "v2.5.0", "v2.5.1")
WAS = "duplicate flow: was 409 with v2.5.0, is 200 with v2.5.1"


@pytest.mark.parametrize(
    "order",
    [
        ("v2.4.0", "v2.5.0", "v2.5.1"),
        ("v2.5.1", "v2.4.0", "v2.5.0"),
        ("v2.5.0", "v2.5.1", "v2.4.0"),
    ],
)
def test_neighbours_are_compared_once_in_any_order(
    order: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    asked = Asked(THREE, {"v2.4.0": SAME, "v2.5.0": SAME, "v2.5.1": OTHER})
    judged = [asked.judge(name, monkeypatch) for name in order]
    assert [line for one in judged for line in one.problems] == [WAS]
    assert not asked.record.view.green
    (red,) = (one for one in judged if one.status is Status.FAIL)
    assert red.service in {"v2.5.0", "v2.5.1"}


@pytest.mark.parametrize("first", ["v2.5.0", "v2.5.1"])
def test_a_run_that_goes_on_compares_with_what_its_journal_has(
    first: str, monkeypatch: pytest.MonkeyPatch
):
    two = THREE[1:]
    observed = {"v2.5.0": SAME, "v2.5.1": OTHER}
    begun = Asked(two, observed)
    assert begun.judge(first, monkeypatch).problems == []
    (second,) = observed.keys() - {first}
    on = Asked(two, observed, begun.record.entries)
    assert on.judge(second, monkeypatch).problems == [WAS]


def test_what_was_not_asked_for_wholly_is_compared_with_nothing(monkeypatch: pytest.MonkeyPatch):
    asked = Asked(THREE[1:], {"v2.5.0": SAME, "v2.5.1": {}})
    assert [asked.judge(one.name, monkeypatch).problems for one in THREE[1:]] == [[], []]


def beside(service: Service, services: tuple[Service, ...], **other: dict[str, str]) -> list[str]:
    asked = {one.name: contract.Observed(one.name, SAME) for one in services}
    asked |= {name: contract.Observed(name, answers) for name, answers in other.items()}
    return contract.beside(service, services, asked)


def test_only_neighbours_are_compared():
    assert beside(THREE[0], THREE, **{"v2.5.1": OTHER}) == []
    assert beside(THREE[1], THREE, **{"v2.5.1": OTHER}) == [WAS]
    assert beside(THREE[2], THREE, **{"v2.5.1": OTHER}) == [WAS]


def test_a_checkout_is_the_neighbour_of_the_release_it_grew_from():
    head = replace(THREE[2], name="HEAD", kind="checkout", version=Version("2.5.1+g91e44f0"))
    told = ["duplicate flow: was 409 with v2.5.1, is 200 with HEAD"]
    assert beside(head, (head, *THREE), HEAD=OTHER) == told


def test_levels_of_the_reference_are_compared_with_each_other_alone():
    mixed = chosen("v2.4.0", "reference-2.3", "reference-2.5")
    assert beside(mixed[0], mixed, **{"reference-2.5": OTHER, "reference-2.3": OTHER}) == []
    told = ["duplicate flow: was 409 with reference-2.3, is 200 with reference-2.5"]
    assert beside(mixed[2], mixed, **{"reference-2.5": OTHER}) == told


class Server:
    """A database server that makes nothing, and notes what it is asked for."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def create(self, name: str) -> object:
        """Return a database that has only a name."""
        self.said.append(f"create {name}")
        return SimpleNamespace(address=SimpleNamespace(name=name))

    def drop(self, name: str) -> None:
        """Note it."""
        self.said.append(f"drop {name}")


EARLY = "unmigrated: GET /ping answers 200 over a database without tables, and GET /x answered 500"
MADE = ["create unmigrated_db", "start", "stop", "drop unmigrated_db"]


@pytest.mark.parametrize(
    ("name", "can", "said"),
    [
        ("v2.5.1", True, MADE),
        ("v2.5.1", False, []),  # an image, say
        ("1.0.1", True, []),  # it has no migrations
    ],
)
def test_what_is_answered_before_a_migration_is_asked_on_a_database_of_its_own(
    name: str, *, can: bool, said: list[str], monkeypatch: pytest.MonkeyPatch
):
    server, service = Server(), SERVICES[name]
    asked = Asked((service,), {name: SAME})

    def start(*_: object) -> object:
        server.said.append("start")
        return SimpleNamespace(url="http://early", stop=lambda: server.said.append("stop"))

    asked.backend.launcher = SimpleNamespace(start_unmigrated=start if can else None)
    asked.backend.server = lambda _: server
    monkeypatch.setattr(contracts, "await_ready", lambda _: None)
    monkeypatch.setattr(unmigrated, "ask", lambda *_: (EARLY,))
    monkeypatch.setattr(contracts, "check_not_killed", lambda *_: None)
    running: Any = SimpleNamespace(service=service, url="http://x", log=Path("/results/a.log"))
    database: Any = SimpleNamespace(address=SimpleNamespace(name="db"))
    asked.contracts.ask_unmigrated(running, database, HERE)
    assert server.said == said
    assert asked.judge(name, monkeypatch).problems == ([EARLY] if said else [])


def test_what_a_service_says_whose_database_was_taken_from_it_is_not_its_fault(
    monkeypatch: pytest.MonkeyPatch,
):
    service, gone = SERVICES["v2.5.1"], Address("127.0.0.1", free_port(), "me", "", "gone")
    asked = Asked((service,), {service.name: SAME})
    found = contract.Contract({}, ("run: cannot be read back: GET /flows/A answered 500",))
    monkeypatch.setattr(contract, "exercise", lambda *_: found)
    running: Any = SimpleNamespace(service=service, url="http://x", log=Path("/results/a.log"))
    with pytest.raises(InfraError, match=r"^the database does not answer any more: "):
        asked.contracts.ask(running, gone, "Flow")
    monkeypatch.setattr(unmigrated, "ask", lambda *_: (EARLY,))
    with pytest.raises(InfraError, match=r"^the database does not answer any more: "):
        asked.contracts._unmigrated(running, Database(gone, gone))


@pytest.mark.parametrize(("code", "broke"), [(1, False), (-9, True)])
def test_one_that_ends_by_itself_before_a_migration_does_not_say_that_it_is_well(
    code: int, *, broke: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server, service = Server(), SERVICES["v2.5.1"]
    asked = Asked((service,), {service.name: SAME})

    def ended(*_: object) -> None:
        raise EndedError("the metadata service", Ending(code))

    early = SimpleNamespace(
        service=service, url="http://early", log=tmp_path / "log", check_alive=ended, stop=list
    )
    asked.backend.launcher = SimpleNamespace(start_unmigrated=lambda *_: early)
    asked.backend.server = lambda _: server
    monkeypatch.setattr(contracts, "await_ready", ended)
    lives = SimpleNamespace(name="db", connect=lambda: SimpleNamespace(close=list))
    monkeypatch.setattr(server, "create", lambda _: SimpleNamespace(address=lives))
    running: Any = SimpleNamespace(service=service, url="http://x", log=tmp_path / "a.log")
    database: Any = SimpleNamespace(address=lives)
    # What somebody killed is another matter.
    with pytest.raises(InfraError, match="killed from outside") if broke else nullcontext():
        asked.contracts.ask_unmigrated(running, database, HERE)
    assert server.said == ["drop unmigrated_db"]
    if not broke:
        assert asked.judge(service.name, monkeypatch).problems == []


def test_a_service_of_the_same_code_is_told_by_the_one_that_was_asked(
    monkeypatch: pytest.MonkeyPatch,
):
    asked = Asked(chosen("v2.4.1", "v2.4.2", "v2.4.3"), {"v2.4.1": OTHER, "v2.4.2": SAME})
    one, other = chosen("v2.4.2", "v2.4.3")
    assert not asked.contracts.share(other, one, HERE), "nobody has asked that one"
    asked.judge("v2.4.2", monkeypatch)
    assert not asked.contracts.is_told(other, HERE)
    assert asked.contracts.share(other, one, HERE)
    assert asked.contracts.is_told(other, HERE)
    told = asked.record.entries[-1]
    assert isinstance(told, StageEntry)
    assert (told.service, told.observed, told.status) == ("v2.4.3", SAME, Status.PASS)
    assert told.reused is not None
    assert (told.reused.run, told.reused.service) == (RUN, "v2.4.2")
    asked.judge("v2.4.1", monkeypatch)
    assert not asked.record.view.green, "it has neighbours like any other"


def test_one_that_was_not_wholly_asked_tells_of_no_other(monkeypatch: pytest.MonkeyPatch):
    asked = Asked(chosen("v2.4.2", "v2.4.3"), {"v2.4.2": {}})
    one, other = chosen("v2.4.2", "v2.4.3")
    asked.judge("v2.4.2", monkeypatch)
    assert not asked.contracts.share(other, one, HERE)
