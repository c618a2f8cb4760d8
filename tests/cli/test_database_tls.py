"""TLS to a database of the run's own, as it is asked for: several modes, each a server."""

from __future__ import annotations

import pytest

from harness.catalog.releases import Catalog
from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.told import MODES
from harness.machine.errors import UsageError
from tests.stack.service import upstream

MODE = "--database-tls"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


def test_each_mode_is_a_page_of_cells(catalog):
    given = ["--metaflow", "latest", "--service", "2.5", "--probe", "hello"]
    options = parse("compat", [*given, MODE, "require, client-cert"], catalog)
    assert options.database_tls == ("require", "client-cert")
    plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
    assert [cell.id.rpartition("/")[2] for cell in plan.cells] == [
        "database_tls=require",
        "database_tls=client-cert",
    ]
    assert f"{MODE} client-cert " in plan.rerun[plan.cells[1].id]


def test_each_mode_is_a_walk(catalog):
    given = ["--metaflow", "latest", "--path", "2.3,2.5", "--probe", "hello"]
    options = parse("fixed_db", [*given, MODE, ",".join(MODES)], catalog)
    plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
    assert [cell.walk for cell in plan.cells if cell.stage == 1] == [
        f"database_tls={mode}" for mode in MODES
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([MODE, "verify-ful"], f"{MODE} verify-ful: no such mode (nearest: verify-full"),
        ([MODE, "verify-ful"], "available: require, verify-full, client-cert"),
        ([MODE, ""], f"{MODE} '': it is empty"),
        (
            [MODE, "require,verify-full", "--database-port", "5433"],
            f"--database-port 5433: one port, and {MODE} require,verify-full has several",
        ),
        (
            [MODE, "require", "--database-url", "postgresql://u:p@h/d"],
            "the URL of --database-url says itself how it is reached: sslmode,",
        ),
    ],
)
def test_what_does_not_go_is_refused(catalog, given, message):
    with pytest.raises(UsageError) as refused:
        parse("fixed_db", given, catalog)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_service_of_somebody_else_has_its_database_as_it_is(catalog):
    with pytest.raises(UsageError, match=rf"as it runs: leave out {MODE}"):
        parse("compat", ["--service-url", "http://h", MODE, "require"], catalog)


def test_a_walk_through_services_that_know_no_tls_is_refused(catalog, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.stack.service.git.CHECKOUTS", tmp_path / "checkouts")
    clone = str(upstream.build(tmp_path / "clone", tmp_path / "absent"))
    given = ["--checkout", clone, "--backend", "embedded", MODE, "require"]
    with pytest.raises(UsageError) as refused:
        parse("fixed_db", [*given, "--path", "v2.3.0,v2.5.0"], catalog)
    assert str(refused.value) == (
        f"{MODE} require: a walk needs settings for TLS, which there are since v2.4.4, this is"
        " v2.3.0: --service '>=2.4.4'"
    )
    # There it is a cell's, and costs no other.
    options = parse("compat", [*given, "--service", "v2.3.0,v2.5.0"], catalog)
    plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients[:1]])
    assert [bool(cell.refused) for cell in plan.cells] == [True, False]
