"""Which PostgreSQL is asked for, and where a walk moves its database from one to the next."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from harness.catalog.releases import Catalog
from harness.catalog.versions import load
from harness.cli.lines import rerun_line
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.plan import Plan
from harness.machine.errors import UsageError
from harness.run.options import Options
from harness.stack.database import binaries

UPGRADE = "--postgres-upgrade"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


@pytest.fixture(autouse=True)
def of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that has PostgreSQL 15, and an older one without its programs."""
    for major in ("14", "15"):
        (tmp_path / "usr" / "lib" / "postgresql" / major / "bin").mkdir(parents=True)
    for program in ("initdb", "postgres"):
        (tmp_path / "usr/lib/postgresql/15/bin" / program).touch(mode=0o755)
    monkeypatch.setattr(binaries, "_ROOT", tmp_path)


def an_engine() -> str:
    return "Docker Engine 99"


def planned(options: Options) -> Plan:
    return make_plan(options, [OnPython(one, "3.11") for one in options.clients])


@pytest.mark.parametrize(
    ("given", "variants"),
    [
        ([], ("",)),
        (["--postgres", "16"], ("16",)),
        (["--postgres", "18, 16"], ("18", "16")),
        (["--postgres", "15,16"], ("15", "16")),
        (["--postgres", "16,/pg/bin"], ("16", "/pg/bin")),
    ],
)
def test_majors_of_wheel_and_system_and_folders_are_taken(catalog, given, variants):
    options = parse("compat", ["--metaflow", "latest", "--service", "2.5", *given], catalog)
    assert options.postgres == variants
    cells = planned(options).cells
    assert [cell.postgres for cell in cells] == list(variants)
    assert len({cell.id for cell in cells}) == len(variants)


def test_tags_are_taken_with_containers(catalog):
    given = ["--postgres", "11,18-alpine", "--backend", "docker"]
    options = parse("compat", given, catalog, an_engine)
    assert (options.backend, options.postgres) == ("docker", ("11", "18-alpine"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["--postgres", "17"],
            "--postgres 17: the wheel has 16 and 18, this machine 15 (nearest: 1",
        ),
        (["--postgres", "14"], "this machine 15"),
        (["--postgres", "16,16"], "--postgres 16,16: '16' is given twice"),
        (["--postgres", "16,,18"], "--postgres 16,,18: '' is no major, tag or folder"),
        (["--postgres", "16 beta"], "'16 beta' is no major, tag or folder"),
        (["--postgres", ""], "--postgres"),
        (["--postgres", "16,18", "--database-port", "5433"], "--database-port 5433: one port"),
        (["--postgres", "16", "--postgres-image", "16"], "--postgres-image"),
    ],
)
def test_what_cannot_be_had_is_refused(catalog, given, message):
    with pytest.raises(UsageError) as refused:
        parse("compat", given, catalog)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([UPGRADE, "16"], "--postgres-upgrade 16: name where the database moves, too"),
        ([UPGRADE, "16,17"], "--postgres-upgrade 17: the wheel has"),
        ([UPGRADE, "16,16"], "--postgres-upgrade 16,16: '16' is given twice"),
        ([UPGRADE, "16,18", "--postgres", "16"], "leave out --postgres"),
        ([UPGRADE, "16,18", "--postgres-image", "16"], "--postgres-image"),
        ([UPGRADE, "16,18", "--database-url", "postgresql://u:p@h/d"], "it cannot move"),
        ([UPGRADE, "16,18", "--database-port", "5433"], "and --postgres-upgrade names 2 servers"),
        (
            [UPGRADE, "16,18", "--path", "2.0.4,2.0.4,2.3,2.3"],
            "again, where the database moves: 2 times in all, and --postgres-upgrade 16,18 has 1",
        ),
    ],
)
def test_an_upgrade_that_cannot_be_is_refused(catalog, given, message):
    with pytest.raises(UsageError) as refused:
        parse("fixed_db", given, catalog)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_image_is_known_of_a_major_that_is_too_old(catalog):
    with pytest.raises(UsageError) as refused:
        parse("compat", ["--postgres", "10", "--backend", "docker"], catalog, an_engine)
    assert str(refused.value).startswith(
        "--postgres 10: the image postgres is taken from 11 to 18 (nearest: 1"
    )


def test_only_a_walk_moves_its_database(catalog):
    with pytest.raises(UsageError, match="--postgres-upgrade: it goes with fixed_db, full"):
        parse("compat", [UPGRADE, "16,18"], catalog)


@pytest.mark.parametrize(
    "path",
    [
        ["--path", "2.0.4,2.0.6,2.3"],
        ["--path", "2.0.4,2.0.6,2.3,2.3"],
        ["--path", "2.3,2.0.6,2.0.6"],
        ["--service", ">=2.0.4"],
        ["--seed", "3"],
    ],
)
def test_the_line_of_each_cell_leads_to_that_very_cell(catalog, path):
    given = ["--metaflow", "latest", "--probe", "hello", UPGRADE, "16,18", *path]
    options = parse("fixed_db", given, catalog)
    assert (options.postgres, options.postgres_upgrade) == (("16", "18"), True)
    plan = planned(options)
    assert plan.walks == ("postgres=16,18",)
    for cell in plan.cells:
        line = shlex.split(rerun_line(cell, options))
        assert line[line.index(UPGRADE) + 1] == "16,18"
        assert cell.id.endswith("/hello/postgres=16,18")
        again = parse("fixed_db", line[4:], catalog)
        assert again.path[: cell.stage] == options.path[: cell.stage]
        assert cell in planned(again).cells
