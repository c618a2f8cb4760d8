"""Expectations proposed for red cells: they declare those, and no others."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from harness.catalog.versions import load
from harness.core import expectations, judging
from harness.core.outcome import CheckOutcome, Status
from harness.core.probes import FLOWS, find_probes
from harness.core.view import View
from harness.report.proposals import propose, write_proposals
from tests.report import journals

FAILED = {"run": ("fail", "exit code 1"), "tags": ("not-run", "the run did not end well")}
SERVICES = ("v2.3.0", "v2.4.0", "v2.5.0", "reference-2.3", "reference-2.5")


def _entries(tmp_path: Path) -> View:
    red = {("2.0.5", "v2.4.0"), ("2.0.5", "v2.5.0"), ("2.7.23", "v2.3.0"), ("2.7.23", "v2.5.0")}
    red |= {("2.19.39", "reference-2.3"), ("2.19.39", "v2.3.0")}
    return journals.write(
        tmp_path,
        [
            journals.cell(client, service, FAILED if (client, service) in red else {"run": "pass"})
            for client in journals.CLIENTS
            for service in SERVICES
        ],
    )


def test_ranges_are_exact_and_open_only_at_the_newest(tmp_path: Path):
    found = [(one["client"], one["service"]) for one in propose(_entries(tmp_path))]
    assert sorted(found) == [
        ("==2.0.5", "released >=2.4.0"),
        ("==2.19.39", "reference ==2.3"),
        ("==2.19.39", "released ==2.3.0"),
        ("==2.7.23", "released ==2.3.0"),
        ("==2.7.23", "released ==2.5.0"),
    ]


def test_with_what_is_proposed_every_cell_is_as_expected(tmp_path: Path):
    entries = _entries(tmp_path)
    catalog = load()
    declared = expectations.parse(
        propose(entries), "proposed", catalog, find_probes(FLOWS).values()
    )
    clients = {client.name: client for client in catalog.clients}
    services = {service.name: service for service in catalog.services}
    for cell in entries.cells:
        outcomes = {
            name: CheckOutcome(Status(check.status), check.reason)
            for name, check in cell.checks.items()
        }
        changed = judging.apply(
            declared,
            outcomes,
            expectations.Judged(clients[cell.client].version, services[cell.service], cell.probe),
            today=date(2026, 11, 1),
        )
        assert all(outcome.status.expected for outcome in changed.values()), cell.id
        assert (changed == outcomes) is (cell.status is Status.PASS)


def test_what_was_not_judged_is_not_declared(tmp_path: Path):
    entries = journals.write(
        tmp_path,
        [
            journals.cell("2.0.5", "v2.3.0", {"run": ("infra", "no database")}),
            journals.cell("2.2.13", "v2.3.0", {"run": ("not-run", "no Python")}),
        ],
    )
    assert propose(entries) == []


def test_what_is_declared_already_stays_in_the_file(tmp_path: Path):
    declared = tmp_path / "expectations.json"
    entry = {"client": "all"}
    declared.write_text(json.dumps({"schema": 1, "expectations": [entry]}))
    proposed = tmp_path / "proposed.json"
    assert write_proposals(_entries(tmp_path), proposed, declared) == 5
    assert len(json.loads(proposed.read_text(encoding="utf-8"))["expectations"]) == 6
    assert json.loads(proposed.read_text(encoding="utf-8"))["expectations"][0] == entry


def test_clients_alone_are_declared_without_a_service(tmp_path: Path):
    entries = journals.write(
        tmp_path, [journals.cell("2.0.5", None, FAILED, session="local")], session="local"
    )
    assert [one["service"] for one in propose(entries)] == ["none"]
