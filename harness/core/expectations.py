"""Expectations: declared known failures, read from expectations.json. Strict both ways.

A declared check that fails is ``expected-fail``; one that passes is ``unexpected-pass``, and red.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import NamedTuple

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from harness.catalog import records
from harness.catalog.releases import Catalog, Service
from harness.core.axes import AXES, Point
from harness.core.probes import STORED, Probe
from harness.core.scenarios import CHAOS, lost_checks, may_show, wrong_with
from harness.core.told import MODES
from harness.machine.dependencies import PINNED
from harness.machine.errors import UsageError, nearest
from harness.machine.tools import ROOT

FILE = ROOT / "expectations.json"
FILE_SCHEMA = 1
"""The version of the file format that this module reads: field ``schema`` of the file."""

ALL = "all"
NONE = "none"
KINDS = ("released", "reference", "checkout", "external")

MIGRATION = "migration"
"""The check of a stage of a walk: that the service migrated the database to its schema."""

CONTRACT = "contract/"
"""What the names of the checks of a service itself begin with."""

_OTHERS = [axis.name for axis in AXES if axis.name not in {"client", "writer", "service", "ui"}]
"""The axes whose variants are told by name; an entry may name some of them."""
_UNASKED = dict.fromkeys(("deps", "service_deps"), PINNED.given)
"""What is said of axes whose variant without a name has one on the command line."""


@dataclass(frozen=True)
class Range:
    """A range of versions, of services perhaps of one kind only.

    Attributes:
        kind: one of ``KINDS``; empty for every kind.
        versions: None for every version.
        nothing: the range is that of cells without a service.
    """

    kind: str = ""
    versions: SpecifierSet | None = None
    nothing: bool = False

    def holds(self, version: Version, kind: str = "") -> bool:
        """Tell whether a release is in the range."""
        if self.nothing or (self.kind and self.kind != kind):
            return False
        # packaging leaves pre-releases out of a range unless it is asked for them.
        return self.versions is None or self.versions.contains(version, prereleases=True)


@dataclass(frozen=True)
class Judged:
    """The cell whose checks were judged.

    Attributes:
        client: its release.
        writer: that of the client that wrote what was judged, where it is another.
        doers: that of the client that did something, by the name of the check of that, where it
            may be another.
        service: None where clients run alone, or where nobody knows it.
        probe: the name of the probe.
        ui: the release of the UI backend that showed it; None where no UI is asked.
        point: its variants on the other axes.
    """

    client: Version
    service: Service | None
    probe: str
    ui: Version | None = None
    writer: Version | None = None
    point: Point | None = None
    doers: Mapping[str, Version] = field(default_factory=dict)


@dataclass(frozen=True)
class Expectation:
    """One declared failure.

    Attributes:
        where: file and entry, for messages.
        service: which services, by their own version, not by the one they report.
        check: name of the check; ``PROBE/CHECK`` for that of one probe.
        reason: why it fails.
        link: where that is told; None when nowhere.
        until: the last day it is expected; None for always.
        client: which clients, of several in a cell the one that reads; for what a run, a resume
            or a command did, the one that did it. No client has a part in a migration.
        writer: which clients wrote what it is about.
        ui: which UI backends show it so; None for a failure of clients with services.
        before: for a migration, the services that used the database last; None for a cell's check.
        others: by name of another axis, its variant; where it has another, nothing is declared.
    """

    where: str
    service: Range
    check: str
    reason: str
    link: str | None
    until: date | None
    client: Range = Range()
    writer: Range = Range()
    ui: Range | None = None
    before: Range | None = None
    others: Mapping[str, str] = field(default_factory=dict)

    def concerns(self, cell: Judged, check: str) -> bool:
        """Tell whether a check of a cell is declared by this."""
        # What is declared of a UI says nothing of clients with services, nor the other way round.
        if self.before is not None or (self.ui is None) != (cell.ui is None):
            return False
        if self.check not in {check, f"{cell.probe}/{check}"} or not self._elsewhere(cell, check):
            return False
        writer = cell.writer or cell.client
        if not self.client.holds(cell.doers.get(check, cell.client)) or not self.writer.holds(
            writer
        ):
            return False
        service = cell.service
        # A git ref that this machine does not know stands in the rows of a UI's database, too.
        if service is None:
            return self.service.nothing or self.service == Range()
        return self.service.holds(service.version, service.kind)

    def fails_always(self, cell: Judged) -> bool:
        """Tell whether a cell's check always fails as declared; with a seed it may be chance."""
        return "scenario" not in self.others or not (cell.point and "=" in cell.point.scenario)

    def _elsewhere(self, cell: Judged, check: str) -> bool:
        """Tell whether a cell is on the UI, and on the variants of other axes, that it names."""
        if self.ui is not None and cell.ui is not None and not self.ui.holds(cell.ui):
            return False
        return self._at(cell.point, check)

    def _at(self, point: Point | None, check: str) -> bool:
        if point is None:
            return not self.others
        return all(
            (getattr(point, name) or _UNASKED.get(name)) == variant
            or (name == "scenario" and may_show(variant, point.scenario, check))
            for name, variant in self.others.items()
        )

    def concerns_migration(self, service: Service, before: Service | None) -> bool:
        """Tell whether the migration of a database by a service is declared by this.

        Args:
            service: the one that migrates.
            before: the one that used the database last; None where nobody knows.
        """
        if self.before is None or before is None:
            return False
        return self.before.holds(before.version, before.kind) and self.service.holds(
            service.version, service.kind
        )

    def concerns_contract(self, service: Service, point: Point | None) -> bool:
        """Tell whether a check of the service itself, at a point, is declared by this."""
        return (
            self.check.startswith(CONTRACT)
            and self.service.holds(service.version, service.kind)
            and self._at(point, self.check)
        )

    @property
    def why(self) -> str:
        """The reason with its link."""
        return f"{self.reason} ({self.link})" if self.link else self.reason


def load(
    catalog: Catalog,
    probes: Iterable[Probe],
    path: Path = FILE,
    ui_checks: Iterable[str] = (),
    *,
    contract_checks: Iterable[str] = (),
    of_ui_only: bool = False,
) -> tuple[Expectation, ...]:
    """Read and check the file; nothing is expected where the project's own is missing.

    Args:
        catalog: the known clients and services.
        probes: whose checks can be declared.
        path: the file.
        ui_checks: names of the checks that can be declared of a UI.
        contract_checks: of those that can be declared of a service itself.
        of_ui_only: pass over what is declared of cells and stages: it may be of probes that are
            not among these.

    Raises:
        UsageError: for a file of somebody's own that is not there; for the first fault, with the
            entry and the field: also for a range that matches no known release, and a check that
            no probe has.
    """
    if path != FILE and not path.is_file():
        raise UsageError(f"--expectations {path}: no such file")
    raw = read_file(path)
    return parse(
        raw,
        path.name,
        catalog,
        probes,
        ui_checks,
        contract_checks=contract_checks,
        of_ui_only=of_ui_only,
    )


class _File(NamedTuple):
    schema: int
    expectations: list[object]


def read_file(path: Path) -> list[object]:
    """Return the entries of the file as they are written.

    Raises:
        UsageError: when it is no such file.
    """
    if not path.exists():
        return []
    fields: records.Fields = {"schema": records.schema(FILE_SCHEMA), "expectations": _list}
    return records.record(path.name, records.read_json(path), fields, _File).expectations


def parse(
    raw: Sequence[object],
    file: str,
    catalog: Catalog,
    probes: Iterable[Probe],
    ui_checks: Iterable[str] = (),
    *,
    contract_checks: Iterable[str] = (),
    of_ui_only: bool = False,
) -> tuple[Expectation, ...]:
    """Return the checked expectations of a list of entries; raises as ``load`` does."""
    probes, ui_checks = tuple(probes), tuple(ui_checks)
    struck = {check.name: check for name in CHAOS for check in lost_checks(name)}.values()
    checks = {
        name
        for probe in probes
        for check in (*probe.checks, STORED, *struck)
        for name in (check.name, f"{probe.name}/{check.name}")
    }
    of_ui = {*ui_checks, *(f"{probe.name}/{name}" for probe in probes for name in ui_checks)}
    every: records.Fields = {
        "service": _service_range(catalog),
        "reason": records.text,
        "link": records.optional(records.link),
        "until": records.optional(records.day),
    }
    of_cells = {**every, "client": _client_range(catalog), "check": _known(checks)}
    about_ui = {**of_cells, "ui": _ui_range(catalog), "check": _known(of_ui)}
    of_stages = {**every, "before": _service_range(catalog), "check": _known({MIGRATION})}
    of_services = {**every, "check": _known(CONTRACT + name for name in contract_checks)}
    found = []
    for index, entry in enumerate(raw):
        where = f"{file}: expectations[{index}]"
        named = entry if isinstance(entry, dict) else {}
        if of_ui_only and named and "ui" not in named:
            continue
        fields = of_stages if "before" in named else about_ui if "ui" in named else of_cells
        if str(named.get("check")).startswith(CONTRACT):
            fields = of_services
        if "writer" in named and "before" not in named:
            fields = {**fields, "writer": _client_range(catalog)}
        others = {name: named[name] for name in _OTHERS if name in named and "before" not in named}
        told: dict[str, str] = records.record(
            where, others, {name: _VARIANTS.get(name, records.text) for name in others}, dict
        )
        rest = {name: raw for name, raw in named.items() if name not in others} if named else entry
        found.append(records.record(where, rest, fields, partial(Expectation, where, others=told)))
    return tuple(found)


def _list(raw: object) -> list[object]:
    if not isinstance(raw, list):
        raise ValueError("expected a list")  # noqa: TRY004 - records.Parser
    return raw


def _scenario(raw: object) -> str:
    scenario = records.text(raw)
    if wrong := wrong_with(scenario):
        raise ValueError(wrong)
    return scenario


def _mode(raw: object) -> str:
    mode = records.text(raw)
    if mode not in MODES:
        raise ValueError(f"nothing has the variant {mode!r}{nearest(mode, MODES)}")
    return mode


_VARIANTS = {"scenario": _scenario, "database_tls": _mode}
"""What parses the variants of axes that have no others than those known."""


def _known(checks: Iterable[str]) -> records.Parser[str]:
    known = sorted(checks)

    def parse_check(raw: object) -> str:
        check = records.text(raw)
        if check not in known:
            raise ValueError(f"nothing has the check {raw!r}{nearest(check, known)}")
        return check

    return parse_check


def _client_range(catalog: Catalog) -> records.Parser[Range]:
    versions = [client.version for client in catalog.clients]
    first, last = catalog.clients[0].name, catalog.clients[-1].name
    return _range_of(versions, f"no known client: they go from {first} to {last}")


def _ui_range(catalog: Catalog) -> records.Parser[Range]:
    backends = [s for s in catalog.services if s.layout is not None and s.layout.ui is not None]
    versions = [service.version for service in backends]
    return _range_of(versions, "no service that comes with a UI backend")


def _range_of(versions: Sequence[Version], nothing: str) -> records.Parser[Range]:
    def parse_range(raw: object) -> Range:
        found = _range(records.text(raw))
        if not any(map(found.holds, versions)):
            raise ValueError(f"{raw!r} matches {nothing}")
        return found

    return parse_range


def _service_range(catalog: Catalog) -> records.Parser[Range]:
    def parse_range(raw: object) -> Range:
        text = records.text(raw)
        if text == NONE:
            return Range(nothing=True)
        word, _, rest = text.partition(" ")
        found = _range(rest.strip() or ALL, word) if word in KINDS else _range(text)
        anything = found.kind in {"checkout", "external"}  # any version may lie at a path
        if not anything and not any(found.holds(s.version, s.kind) for s in catalog.services):
            raise ValueError(f"{raw!r} matches no known service")
        return found

    return parse_range


def _range(text: str, kind: str = "") -> Range:
    return Range(kind, None if text == ALL else SpecifierSet(records.specifier(text)))
