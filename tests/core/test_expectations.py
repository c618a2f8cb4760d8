"""Declared failures: strict both ways, and every entry means something."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from harness.catalog.selectors import select_clients, select_services
from harness.catalog.versions import load as load_versions
from harness.core import expectations
from harness.core.axes import Point
from harness.core.expectations import load, parse
from harness.core.judging import apply, judge_contract, judge_migration
from harness.core.outcome import CheckOutcome, Status, cell_status
from harness.core.probes import FLOWS, find_probes
from harness.core.scenarios import losses
from harness.machine.errors import UsageError
from harness.machine.tools import ROOT
from harness.proof.declared import CHECKS as CONTRACT_CHECKS
from harness.proof.ui.checks import UI_CHECKS

CATALOG = load_versions()
PROBES = tuple(find_probes(FLOWS).values())
TODAY = date(2026, 11, 1)
GOOD: dict[str, Any] = {
    "client": ">=2.0.5,<=2.2.13",
    "service": ">=2.3",
    "check": "run",
    "reason": "heartbeats are refused",
    "link": "https://example.org/1",
    "until": None,
}


def _declared(**fields: Any) -> tuple[expectations.Expectation, ...]:
    entry = [{**GOOD, **fields}]
    return parse(entry, "expectations.json", CATALOG, PROBES, ["logs", "data_kept"])


def _applied(
    found: tuple[expectations.Expectation, ...],
    checks: dict[str, CheckOutcome],
    client: str = "2.2.13",
    service: str | None = "v2.3.0",
    *,
    today: date = TODAY,
    ui: str = "",
) -> dict[str, CheckOutcome]:
    kind = "reference" if service and service.startswith("reference") else "released"
    return apply(
        found,
        checks,
        expectations.Judged(
            select_clients(CATALOG, client)[0].version,
            select_services(CATALOG, service, kind)[0] if service else None,
            "basics",
            Version(ui) if ui else None,
        ),
        today,
    )


FAILED = {"run": CheckOutcome(Status.FAIL, "HTTP 400")}
PASSED = {"run": CheckOutcome(Status.PASS)}


def test_declared_and_failing_is_expected_and_says_why():
    (outcome,) = _applied(_declared(), FAILED).values()
    assert outcome.status is Status.EXPECTED_FAIL
    assert outcome.reason == "heartbeats are refused (https://example.org/1): HTTP 400"


def test_declared_and_timing_out_is_expected():
    checks = {"run": CheckOutcome(Status.TIMEOUT, "slow")}
    assert _applied(_declared(), checks)["run"].status is Status.EXPECTED_FAIL


def test_declared_and_passing_is_red_and_says_which_entry():
    (outcome,) = _applied(_declared(), PASSED).values()
    assert outcome.status is Status.UNEXPECTED_PASS
    assert outcome.reason.startswith("expectations.json: expectations[0] declares it to fail")


@pytest.mark.parametrize("status", [Status.INFRA, Status.NOT_RUN, Status.UNSUPPORTED])
def test_what_was_not_judged_stays_as_it_is(status: Status):
    checks = {"run": CheckOutcome(status, "why")}
    assert _applied(_declared(), checks) == checks


@pytest.mark.parametrize(
    ("client", "service"),
    [("2.2.13", "v2.2.4"), ("2.3.0", "v2.3.0"), ("2.0.4", "v2.3.0"), ("2.2.13", None)],
)
def test_outside_of_the_ranges_nothing_changes(client: str, service: str | None):
    assert _applied(_declared(), FAILED, client, service) == FAILED


def test_another_check_is_left_alone():
    checks = {"other": CheckOutcome(Status.FAIL, "x")}
    assert _applied(_declared(), checks) == checks


@pytest.mark.parametrize(
    ("declared", "service", "changed"),
    [
        ("all", "v2.3.0", True),
        ("all", "reference-2.3", True),
        ("all", None, True),
        (">=2.3", "reference-2.3", True),
        ("reference >=2.3", "reference-2.3", True),
        ("reference >=2.3", "v2.3.0", False),
        ("released", "v2.3.0", True),
        ("released", "reference-2.3", False),
        ("none", None, True),
        ("none", "v2.3.0", False),
    ],
)
def test_services_by_kind_and_range(declared: str, service: str | None, changed: bool):
    outcome = _applied(_declared(service=declared), FAILED, service=service)["run"]
    assert (outcome.status is Status.EXPECTED_FAIL) is changed


def test_ranges_are_about_the_release_and_not_about_what_it_reports():
    assert _applied(_declared(service="==2.2.4"), FAILED, service="v2.2.4")["run"].status is (
        Status.EXPECTED_FAIL
    )


@pytest.mark.parametrize("check", ["stored", "basics/stored"])
def test_what_every_cell_with_s3_data_is_asked_can_be_declared(check: str):
    outcome = CheckOutcome(Status.FAIL, "no such object")
    found = _applied(_declared(check=check), {"stored": outcome})
    assert found["stored"].status is Status.EXPECTED_FAIL


def test_a_check_of_one_probe_only():
    assert _applied(_declared(check="basics/run"), FAILED)["run"].status is Status.EXPECTED_FAIL
    assert _applied(_declared(check="hello/run"), FAILED) == FAILED


@pytest.mark.parametrize(
    ("today", "status"),
    [(date(2026, 11, 1), Status.EXPECTED_FAIL), (date(2026, 11, 2), Status.FAIL)],
)
def test_an_expectation_ends_after_its_last_day_and_is_named_then(today: date, status: Status):
    outcome = _applied(_declared(until="2026-11-01"), FAILED, today=today)["run"]
    assert outcome.status is status
    assert ("expected it until 2026-11-01" in outcome.reason) is (status is Status.FAIL)


def test_after_its_last_day_a_pass_is_a_pass():
    assert _applied(_declared(until="2026-10-31"), PASSED) == PASSED


def test_checks_that_a_declared_failure_of_the_run_kept_back_do_not_turn_the_cell_red():
    checks = {
        "run": CheckOutcome(Status.FAIL, "HTTP 400"),
        "tags": CheckOutcome(Status.NOT_RUN, "the run did not end well"),
    }
    assert cell_status(_applied(_declared(), checks)) is Status.EXPECTED_FAIL


def test_what_fails_for_want_of_a_service_is_expected_with_the_run():
    checks = {name: CheckOutcome(Status.FAIL, "no service") for name in ("tags", "run", "logs")}
    found = _applied(_declared(), checks)
    assert {one.status for one in found.values()} == {Status.EXPECTED_FAIL}
    assert len({one.reason for one in found.values()}) == 1
    # What fails by itself is not declared with it.
    other = _applied(_declared(), {**checks, "logs": CheckOutcome(Status.FAIL, "empty")})
    assert other["logs"].status is Status.FAIL


def test_checks_that_a_declared_failure_of_an_action_kept_back_are_expected_with_it():
    checks = {
        "resume": CheckOutcome(Status.PASS),
        "run": CheckOutcome(Status.FAIL, "HTTP 400"),
        "again": CheckOutcome(Status.NOT_RUN, "it did not end", because="run"),
        "other": CheckOutcome(Status.NOT_RUN, "it did not end", because="resume"),
    }
    found = _applied(_declared(), checks)
    assert found["again"].status is Status.EXPECTED_FAIL
    assert found["other"].status is Status.NOT_RUN


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"client": ">=99"}, r"expectations\[0\]: field 'client': '>=99' matches no known client"),
        ({"service": ">=99"}, "field 'service': '>=99' matches no known service"),
        ({"service": "reference >=2.5.1"}, "matches no known service"),
        ({"client": "2.2.13"}, "field 'client': '2.2.13' is no PEP 440 range"),
        ({"check": "runn"}, r"field 'check': nothing has the check 'runn' \(nearest: run"),
        ({"check": "hello/nothing"}, "nothing has the check"),
        ({"reason": ""}, "field 'reason'"),
        ({"until": "soon"}, "field 'until': expected a date"),
        ({"note": "x"}, "unknown field 'note'"),
    ],
)
def test_an_entry_that_means_nothing_is_an_error(fields: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message):
        _declared(**fields)


def test_a_field_that_is_missing_is_an_error():
    entry = {key: value for key, value in GOOD.items() if key != "reason"}
    with pytest.raises(UsageError, match="field 'reason' is missing"):
        parse([entry], "expectations.json", CATALOG, PROBES)


def test_without_the_project_s_file_nothing_is_declared(tmp_path: Path, monkeypatch):
    missing = tmp_path / "expectations.json"
    with pytest.raises(UsageError, match=r"--expectations .*: no such file"):
        load(CATALOG, PROBES, missing)
    monkeypatch.setattr(expectations, "FILE", missing)
    assert load(CATALOG, PROBES, missing) == ()


def test_a_file_of_another_schema_is_an_error(tmp_path: Path):
    path = tmp_path / "expectations.json"
    path.write_text(json.dumps({"schema": 2, "expectations": []}))
    with pytest.raises(UsageError, match="this harness reads 1, not 2"):
        load(CATALOG, PROBES, path)


def test_the_file_of_this_project_can_be_read():
    file = ROOT / "expectations.json"
    found = load(CATALOG, PROBES, file, UI_CHECKS, contract_checks=CONTRACT_CHECKS)
    (migration,) = (one for one in found if one.before is not None)
    assert migration.check == "migration"
    assert {one.check.partition("/")[0] for one in found if one.ui is None} >= {"basics", "graph"}


TIMES = "times: told 7, stored is 5"


@pytest.mark.parametrize(
    ("service", "problems", "wrong", "known"),
    [
        ("1.0.1", [TIMES], [], [f"they move (http://x): {TIMES}"]),
        ("1.0.1", [TIMES, "run: lost"], ["run: lost"], [f"they move (http://x): {TIMES}"]),
        ("v2.5.1", [TIMES], [TIMES], []),
        ("v2.5.1", [], [], []),
        ("1.0.1", [], ["contract/times: ", "and it passes"], []),
    ],
)
def test_a_failure_of_a_service_itself_is_declared_strictly(
    service: str, problems: list[str], wrong: list[str], known: list[str]
):
    entry = {
        "service": "released <2.0",
        "check": "contract/times",
        "reason": "they move",
        "link": "http://x",
        "until": None,
    }
    declared = parse([entry], "file", CATALOG, PROBES, contract_checks=CONTRACT_CHECKS)
    asked = next(one for one in CATALOG.services if one.name == service)
    found = judge_contract(declared, problems, asked, TODAY, asked=CONTRACT_CHECKS)
    assert found[1] == known
    assert len(found[0]) == min(len(wrong), 1)
    assert all(part in text for text in found[0] for part in wrong)


def test_what_was_not_asked_for_does_not_pass_against_its_declaration():
    entry = {
        "service": "all",
        "check": "contract/times",
        "reason": "r",
        "link": None,
        "until": None,
    }
    declared = parse([entry], "file", CATALOG, PROBES, contract_checks=CONTRACT_CHECKS)
    service = CATALOG.services[0]
    told = (["run: refused"], [])
    assert judge_contract(declared, ["run: refused"], service, TODAY) == told
    assert judge_contract(declared, ["run: refused"], service, TODAY, asked=["run"]) == told
    wrong, _ = judge_contract(declared, ["run: refused"], service, TODAY, asked=["run", "times"])
    assert len(wrong) == len(["run: refused", "times passes"])


def test_a_failure_of_a_service_itself_names_a_check_there_is():
    entry = {
        "service": "all",
        "check": "contract/time",
        "reason": "r",
        "link": None,
        "until": None,
    }
    with pytest.raises(UsageError, match="nearest: contract/times"):
        parse([entry], "file", CATALOG, PROBES, contract_checks=CONTRACT_CHECKS)


def test_a_failure_of_a_ui_is_declared_by_the_ui_s_release():
    declared = _declared(ui=">=2.4.11", check="basics/logs", client="all", service="all")
    failed = {"logs": CheckOutcome(Status.FAIL, "no line")}
    assert _applied(declared, failed, ui="2.5.1")["logs"].status is Status.EXPECTED_FAIL
    assert _applied(declared, failed, ui="2.4.10") == failed
    assert _applied(declared, failed) == failed
    assert _applied(_declared(), FAILED, ui="2.5.1") == FAILED
    without_service = _applied(declared, failed, service=None, ui="2.5.1")
    assert without_service["logs"].status is Status.EXPECTED_FAIL


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ui": ">=9", "check": "logs"}, "field 'ui': '>=9' matches no service that comes with"),
        ({"ui": "2.5.1", "check": "logs"}, "field 'ui'"),
        ({"ui": ">=2.5", "check": "run"}, r"field 'check': nothing has the check 'run'"),
        ({"scenario": "wrong-ordr"}, r"field 'scenario': no such scenario \(nearest: wrong-order"),
        ({"database_tls": "verify"}, r"field 'database_tls': nothing has the variant 'verify'"),
        ({"check": "data_kept"}, "field 'check': nothing has the check 'data_kept'"),
    ],
)
def test_bad_declarations_of_a_ui(fields, message):
    with pytest.raises(UsageError, match=message):
        _declared(**fields)


MIGRATION: dict[str, Any] = {
    "before": "released <2.0",
    "service": "released ==2.0.0",
    "check": "migration",
    "reason": "tables are made twice",
    "link": None,
    "until": "2026-12-31",
}


def _migrated(
    outcome: CheckOutcome, before: str | None, service: str = "2.0.0", today: date = TODAY
) -> CheckOutcome:
    declared = parse([{**GOOD, "service": "all"}, MIGRATION], "a.json", CATALOG, PROBES)
    (after,) = select_services(CATALOG, service, "released")
    earlier = select_services(CATALOG, before, "released")[0] if before else None
    return judge_migration(declared, outcome, after, earlier, today)


def test_a_failure_of_a_migration_is_declared_by_both_services():
    failed = CheckOutcome(Status.FAIL, "HTTP 500")
    judged = _migrated(failed, "1.0.1")
    assert judged == CheckOutcome(Status.EXPECTED_FAIL, "tables are made twice: HTTP 500")
    assert _migrated(failed, "2.0.1") == failed
    assert _migrated(failed, "1.0.1", "2.0.1") == failed
    assert _migrated(failed, None) == failed


def test_a_declared_migration_that_goes_well_is_red():
    judged = _migrated(CheckOutcome(Status.PASS), "1.0.1")
    assert judged.status is Status.UNEXPECTED_PASS
    assert judged.reason.startswith("a.json: expectations[1] declares it to fail")
    assert _migrated(CheckOutcome(Status.PASS), "2.0.1").status is Status.PASS


def test_after_its_last_day_a_declared_migration_is_red_and_says_so():
    failed = CheckOutcome(Status.FAIL, "HTTP 500")
    judged = _migrated(failed, "1.0.1", today=date(2027, 1, 1))
    assert judged.status is Status.FAIL
    assert "a.json: expectations[1] expected it until 2026-12-31" in judged.reason


def test_no_cell_is_concerned_by_a_declared_migration():
    declared = parse([{**MIGRATION, "service": "all"}], "a.json", CATALOG, PROBES)
    failed = {"migration": CheckOutcome(Status.FAIL, "x")}
    assert _applied(declared, failed) == failed


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"before": ">=9"}, "field 'before': '>=9' matches no known service"),
        ({"check": "run"}, "field 'check': nothing has the check 'run'"),
        ({"client": "all"}, "unknown field 'client'"),
    ],
)
def test_bad_declarations_of_a_migration(fields, message):
    with pytest.raises(UsageError, match=message):
        parse([{**MIGRATION, **fields}], "a.json", CATALOG, PROBES)


@pytest.mark.parametrize(
    ("more", "concerned"),
    [
        ({}, True),
        ({"datastore": "s3"}, True),
        ({"datastore": "local"}, False),
        ({"backend": "docker", "python": "3.11"}, True),
        ({"backend": "docker", "python": "3.12"}, False),
    ],
)
def test_any_other_axis_narrows_what_is_declared(more: dict[str, str], concerned: bool):
    (declared,) = _declared(**more)
    point = Point(client="2.2.13", datastore="s3", backend="docker", python="3.11")
    service = select_services(CATALOG, "v2.3.0", "released")[0]
    cell = expectations.Judged(Version("2.2.13"), service, "basics", point=point)
    assert declared.concerns(cell, "run") is concerned
    assert declared.concerns(replace(cell, point=None), "run") is (not more)


@pytest.mark.parametrize(
    ("writer", "reader", "concerned"),
    [
        ("2.2.13", "2.19.39", True),
        ("2.19.39", "2.2.13", False),
        ("2.2.13", "2.2.13", False),
        ("2.19.39", "2.19.39", False),
    ],
)
def test_who_wrote_and_who_reads_are_declared_apart(writer: str, reader: str, concerned: bool):
    (declared,) = _declared(client=">=2.17.4", writer="<2.17.4")
    service = select_services(CATALOG, "v2.3.0", "released")[0]
    cell = expectations.Judged(Version(reader), service, "basics", writer=Version(writer))
    assert declared.concerns(cell, "run") is concerned


@pytest.mark.parametrize(
    ("reader", "resumer", "concerned"),
    [
        ("2.19.39", "2.17.4", {"resume"}),
        ("2.17.4", "2.19.39", {"order"}),
        ("2.17.4", "2.17.4", {"resume", "order"}),
    ],
)
def test_what_was_done_is_of_the_client_that_did_it(reader: str, resumer: str, concerned: set[str]):
    service = select_services(CATALOG, "v2.3.0", "released")[0]
    cell = expectations.Judged(
        Version(reader),
        service,
        "resume",
        writer=Version("2.17.3"),
        doers={"resume": Version(resumer)},
    )
    for check in ("resume", "order"):
        entry = {"client": "==2.17.4", "service": "all", "check": check, "writer": "<2.17.4"}
        (declared,) = _declared(**entry)
        assert declared.concerns(cell, check) is (check in concerned)


def test_who_wrote_is_the_client_itself_where_there_is_no_other():
    (declared,) = _declared(client="all", writer="<2.17.4")
    for name, concerned in (("2.2.13", True), ("2.19.39", False)):
        cell = expectations.Judged(Version(name), None, "basics")
        assert replace(declared, service=expectations.Range()).concerns(cell, "run") is concerned


def test_a_failure_may_be_that_of_dependencies():
    for variant, pinned, newest in (("pinned", True, False), ("latest", False, True)):
        for axis in ("deps", "service_deps"):
            (declared,) = _declared(client="all", **{axis: variant})
            declared = replace(declared, service=expectations.Range())
            for name, concerned in (("", pinned), ("latest", newest)):
                point = Point(client="2.19.39", **{axis: name})
                cell = expectations.Judged(Version("2.19.39"), None, "basics", point=point)
                assert declared.concerns(cell, "run") is concerned


def test_a_failure_of_a_service_itself_may_be_that_of_a_scenario():
    entry = {
        "service": "reference ==2.5",
        "check": "contract/times",
        "scenario": "wrong-order",
        "reason": "known",
        "link": None,
        "until": None,
    }
    declared = parse([entry], "e.json", CATALOG, PROBES, contract_checks=["times"])
    service = select_services(CATALOG, "2.5", "reference")[0]
    there = Point(client="2.19.39", scenario="wrong-order")
    for problems in ([], ["times: moved"]):
        at = Point(client="2.19.39")
        elsewhere = judge_contract(declared, problems, service, TODAY, at, asked=["times"])
        assert elsewhere == (problems, [])
    wrong, known = judge_contract(declared, ["times: moved"], service, TODAY, there)
    assert (wrong, known) == ([], ["known: times: moved"])
    wrong, known = judge_contract(declared, [], service, TODAY, there, asked=["times"])
    assert (len(wrong), known) == (1, [])


def _at_seed(seed: str, status: Status, **fields: Any) -> CheckOutcome:
    entry = {"client": "all", "service": "all", "check": "lost_create_task", **fields}
    declared = _declared(**{"scenario": "lost-answer", **entry})
    point = Point(client="2.19.39", scenario=f"lost-answer{seed}")
    cell = expectations.Judged(Version("2.19.39"), None, "hello", point=point)
    found = {
        "lost_create_task": CheckOutcome(status, "there are two" if status is Status.FAIL else "")
    }
    return apply(declared, found, cell, TODAY)["lost_create_task"]


def test_what_is_declared_of_lost_answers_is_declared_at_every_seed_that_loses_the_answer():
    lost = {seed: losses(seed)["create_task"].way.loses for seed in range(30)}
    assert set(lost.values()) == {True, False}
    for seed, loses in lost.items():
        expected = Status.EXPECTED_FAIL if loses else Status.FAIL
        assert _at_seed(f"={seed}", Status.FAIL).status is expected
    assert _at_seed("", Status.FAIL).status is Status.EXPECTED_FAIL


def test_only_where_no_seed_is_given_a_declared_loss_that_does_no_harm_is_red():
    assert _at_seed("", Status.PASS).status is Status.UNEXPECTED_PASS
    assert {_at_seed(f"={seed}", Status.PASS).status for seed in range(30)} == {Status.PASS}


def test_what_is_declared_of_one_seed_is_of_no_other_and_may_be_chance():
    there = {"scenario": "lost-answer=7"}
    assert _at_seed("=7", Status.FAIL, **there).status is Status.EXPECTED_FAIL
    assert _at_seed("=7", Status.PASS, **there).status is Status.PASS
    assert {_at_seed(seed, Status.FAIL, **there).status for seed in ("=8", "")} == {Status.FAIL}
