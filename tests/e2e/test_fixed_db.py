"""Walks over one database: a sound one is green, and each planted fault is found and named."""

from __future__ import annotations

import dataclasses
import io
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console

from harness.catalog.interpreters import python_of
from harness.catalog.releases import Catalog, Service
from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.view import View
from harness.machine.errors import UsageError
from harness.machine.processes import kill_marked, marked_processes, wait_until
from harness.report.summary import stage_sentences
from harness.report.terminal import Screen
from harness.run.run import Run
from harness.run.walk import Walk
from harness.stack.database import cluster
from harness.stack.database.binaries import find_binaries
from harness.stack.database.existing import check_existing
from harness.stack.database.external import ExternalPostgres
from harness.stack.database.rows import schema_version
from harness.stack.database.server import Database
from harness.stack.reference.faults import VARIABLE
from harness.stack.service.launcher import Launcher, RunningService
from tests.e2e.nox_runs import declare
from tests.tls import CERTIFIED, Encrypted

pytestmark = pytest.mark.e2e

WalkOver = Callable[..., View]


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load()


def kill_at_the_second_stage(results: Path) -> None:
    """Kill the object store of a walk when a client has stored something at its second stage."""

    def stored() -> int:
        return sum(log.read_text().count("PUT /") for log in results.glob("*/logs/*/s3.log"))

    def copied() -> bool:
        return any(results.glob("*/work/data/s3/.objects/_index.json"))

    wait_until(copied, seconds=240, what="the end of the first stage's cell")
    before = stored()
    wait_until(lambda: stored() > before, seconds=240, what="the second stage's cell")
    run = (results / "latest").resolve().name
    assert kill_marked(lambda mark: mark == f"{run}/s3-server")


@pytest.fixture
def walk_over(
    newest_client: Path, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WalkOver]:
    """Return a function that walks a path with one client and the smallest probe."""
    runs: list[Run] = []

    def walk_over(
        path: str,
        *more: str,
        fault: str = "",
        before_start: str = "",
        place: str = "02-",
    ) -> View:
        if fault:
            monkeypatch.setenv(VARIABLE, fault)
        arguments = ["--metaflow", "2.19.39", "--path", path, "--probe", "hello", *more]
        options = parse("fixed_db", [*arguments, "--results", str(tmp_path)], catalog)
        plan = make_plan(
            options, [OnPython(one, python_of(newest_client)) for one in options.clients]
        )
        run = Run(options, plan, Screen(Console(file=io.StringIO())))
        runs.append(run)
        backend, stacks = run.services()
        if before_start:
            meddler = Meddler(backend.launcher, before_start, place)
            backend = dataclasses.replace(backend, launcher=meddler)
        pythons = dict.fromkeys(plan.clients, newest_client)
        Walk(run, backend, stacks, pythons, plan.walks[0]).go(plan.path)
        run.end()
        return run.record.view

    yield walk_over
    for run in runs:
        run.end()
        left = [mark for _, mark in marked_processes() if mark.startswith(run.folder.run)]
        assert not left, f"processes are left: {left}"


class Meddler:
    """A launcher before one of whose starts, told by its log, somebody changes the database."""

    def __init__(self, launcher: Launcher, statement: str, place: str) -> None:
        self._launcher = launcher
        self._statement = statement
        self._place = place
        self.description = launcher.description
        self.prepare = launcher.prepare

    def start(
        self, service: Service, database: Database, log: Path, scenario: str = ""
    ) -> RunningService:
        if self._place in log.name and self._statement:
            with closing(database.address.connect()) as connection:
                connection.cursor().execute(self._statement)
            self._statement = ""
        return self._launcher.start(service, database, log, scenario)


def said(view: View) -> str:
    return "\n".join(line for stage in view.stages for line in stage_sentences(stage))


def test_a_sound_walk_is_green_and_tells_every_migration(walk_over: WalkOver) -> None:
    view = walk_over("1.0,2.0,2.0.4,2.0.6,2.3,2.5")
    assert said(view) == ""
    assert [stage.status for stage in view.stages] == ["pass"] * 6
    applied = [len(stage.migrations) for stage in view.stages]
    assert applied == [0, 2, 0, 1, 4, 1]
    assert view.stages[-1].schema_after == 20230118020300
    assert view.stages[-1].rereads == 5
    verdicts = [stage.rollback for stage in view.stages]
    assert verdicts == [None, "unsafe", None, "unsafe", "unsafe", "unsafe"]
    assert [cell.status for cell in view.cells] == ["pass"] * 6


def test_an_object_store_that_dies_is_replaced_by_one_with_all_of_it(
    walk_over: WalkOver, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill_at_the_second_stage, tmp_path)
        view = walk_over("2.3,2.5", "--datastore", "s3")
        killed.result()
    first, broken, last = view.attempts
    assert [one.status for one in (first, broken, last)] == ["pass", "infra", "pass"]
    assert "(SIGKILL)" in broken.checks["run"].reason
    # What the first stage stored is read again, values and all.
    stages = [(stage.status, stage.rereads, stage.problems) for stage in view.stages]
    assert stages == [("pass", 0, []), ("pass", 1, [])]


def test_a_row_deleted_between_stages_is_named(walk_over: WalkOver) -> None:
    delete = (
        "DELETE FROM artifact_v3 WHERE ctid = (SELECT ctid FROM artifact_v3"
        " WHERE name = 'greeting' AND step_name = 'start' LIMIT 1)"
    )
    # It is the migration that --on-failure speaks of: what else is wrong stops no walk.
    view = walk_over("2.0.6,2.3,2.5", "--on-failure", "stop", before_start=delete)
    assert "between the stages" in said(view) or "by the migration" in said(view)
    assert "artifact_v3" in said(view)
    assert "row lost" in said(view)
    assert "greeting" in said(view)
    # The third stage misses the row when it reads again.
    assert [stage.status for stage in view.stages] == ["pass", "fail", "fail"]


def test_a_row_lost_while_a_service_is_in_use_is_named(walk_over: WalkOver) -> None:
    view = walk_over(
        "2.0.6,2.3",
        before_start="DELETE FROM artifact_v3 WHERE name = 'greeting'",
        place="-rollback",
    )
    assert [stage.status for stage in view.stages] == ["pass", "fail"]
    assert "while the service was in use: artifact_v3: row lost" in said(view)
    assert "by the migration" not in said(view)


def test_a_database_moves_to_a_newer_postgresql_and_everything_is_asked_again(
    walk_over: WalkOver,
) -> None:
    view = walk_over("2.3", "--postgres-upgrade", "16,18")
    assert said(view) == ""
    found = [(stage.postgres, stage.direction, stage.status) for stage in view.stages]
    assert found == [("16", "upgrade", "pass"), ("18", "move", "pass")]
    first, second = view.stages
    assert first.rows == second.carried > 0
    assert (second.migrations, second.schema_after) == ([], first.schema_after)
    assert (first.rereads, second.rereads) == (0, 1)
    assert second.observed == first.observed != {}
    on = {cell.stage: cell.provenance.database.partition(".")[0] for cell in view.finished}
    assert on == {1: "16", 2: "18"}
    assert [cell.status for cell in view.finished] == ["pass"] * 2


def programs_with(folder: Path, major: str, name: str, script: str) -> Path:
    """Return a copy of the programs of a PostgreSQL, one of which is a script."""
    copy = cluster._copy_installation(find_binaries(major), folder / "pg")
    program = copy / name
    program.unlink()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return copy


def test_rows_that_a_move_loses_are_named(walk_over: WalkOver, tmp_path: Path) -> None:
    of_16 = shlex.quote(str(find_binaries("16")))
    without = "--exclude-table-data=public.metadata_v3"
    losing = programs_with(tmp_path, "16", "pg_dump", f'exec {of_16}/pg_dump {without} "$@"')
    view = walk_over("2.3", "--postgres-upgrade", f"{losing},18")
    assert [stage.status for stage in view.stages] == ["pass", "fail"]
    assert "lost by the move to PostgreSQL 18: metadata_v3: row lost" in said(view)
    assert "by the migration" not in said(view)
    # The client that wrote them misses them when it reads again.
    assert "of client 2.19.39, read by client 2.19.39: metadata start/" in said(view)
    assert "'attempt=0' is gone" in said(view)


def test_a_move_that_is_refused_ends_the_walk(walk_over: WalkOver, tmp_path: Path) -> None:
    script = "echo 'ERROR: no such thing' >&2; exit 1"
    refusing = programs_with(tmp_path, "18", "pg_restore", script)
    view = walk_over("2.0.6,2.3", "--postgres-upgrade", f"16,{refusing}")
    assert [stage.status for stage in view.stages] == ["pass", "fail", "not-run"]
    (problem,) = view.stages[1].problems
    assert problem.startswith(
        f"the database cannot be moved to PostgreSQL {refusing}: pg_restore of"
    )
    assert problem.endswith("ERROR: no such thing")
    assert view.stages[1].lost == []
    assert [cell.status for cell in view.finished] == ["pass", "not-run", "not-run"]


def test_a_changed_metadata_value_is_named(walk_over: WalkOver) -> None:
    change = (
        "UPDATE metadata_v3 SET value = 'forged' WHERE ctid = (SELECT ctid FROM metadata_v3"
        " WHERE flow_id = 'HelloFlow' AND field_name = 'attempt' LIMIT 1)"
    )
    view = walk_over("2.0.6,2.3", before_start=change)
    assert "metadata_v3" in said(view)
    assert "value changed" in said(view)
    assert "forged" in said(view)  # the client that wrote it reads it back changed


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("migration-loses-row@2.3", ["by the migration", "artifact_v3", "row lost"]),
        ("migration-changes-value@2.3", ["by the migration", "metadata_v3", "value changed"]),
        ("migration-drops-column@2.3", ["by the migration", "column dropped"]),
        ("migration-invalid-index@2.3", ["is invalid"]),
        ("drop-at-stop@2.3", ["when the service stopped: artifact_v3: row lost at flow_id=Hello"]),
    ],
)
def test_a_faulty_migration_is_found(walk_over: WalkOver, fault: str, words: list[str]) -> None:
    view = walk_over("2.0.6,2.3", fault=fault)
    assert view.stages[0].status == "pass"
    assert view.stages[1].status == "fail"
    for word in words:
        assert word in said(view)


def test_a_migration_that_stops_half_way_names_where(walk_over: WalkOver) -> None:
    view = walk_over("2.0.6,2.3,2.5", "--on-failure", "stop", fault="migration-half-way@2.3")
    # The third was planned, and never came.
    assert [stage.status for stage in view.stages] == ["pass", "fail", "not-run"]
    for word in ("reference-2.3", "20201002000616", "20220503175500"):
        assert word in said(view)
    cells = {cell.stage: cell for cell in view.finished}
    assert [cells[n].status for n in (1, 2, 3)] == ["pass", "not-run", "not-run"]
    assert cells[3].checks["run"].reason == "the walk ended at stage 2"


def test_after_a_failed_migration_the_next_service_is_tried(walk_over: WalkOver) -> None:
    view = walk_over("2.0.6,2.3,2.5", fault="migration-half-way@2.3")
    assert view.stages[-1].service == "reference-2.5"
    assert view.stages[1].status == "fail"


HALF_WAY = "20201002000616"
"""The migration after which the planted fault ends, which its message names."""


def test_a_migration_that_fails_as_declared_is_green(walk_over: WalkOver, tmp_path: Path) -> None:
    options = ("--expectations", _declared(tmp_path), "--on-failure", "next")
    view = walk_over("2.0.6,2.3", *options, fault="migration-half-way@2.3")
    assert said(view) == ""
    assert [stage.status for stage in view.stages] == ["pass", "expected-fail"]
    (known,) = view.stages[1].known
    assert known.startswith("planted by the test: ")
    assert HALF_WAY in known
    (cell,) = (cell for cell in view.finished if cell.stage == 2)
    assert cell.status == "expected-fail"
    assert "planted by the test" in cell.checks["run"].reason
    assert view.green


def test_a_migration_that_is_declared_to_fail_and_does_not_is_red(
    walk_over: WalkOver, tmp_path: Path
) -> None:
    view = walk_over("2.0.6,2.3,2.5", "--expectations", _declared(tmp_path))
    assert [s.status for s in view.stages] == ["pass", "unexpected-pass", "pass"]
    assert "remove that entry, or narrow its ranges" in said(view)
    assert not view.green


def test_rows_lost_by_a_migration_that_fails_as_declared_are_red(
    walk_over: WalkOver, tmp_path: Path
) -> None:
    view = walk_over(
        *("2.0.6,2.3", "--expectations", _declared(tmp_path)),
        fault="migration-half-way@2.3",
        before_start="DELETE FROM artifact_v3",
    )
    assert [stage.status for stage in view.stages] == ["pass", "fail"]
    assert "by the failed migration" in said(view)


def _declared(folder: Path) -> str:
    """Write a file that declares the migration from 2.0.6 to 2.3 to fail; return its path."""
    return declare(folder, before="reference ==2.0.6", service="reference ==2.3", check="migration")


def test_a_users_database_can_be_walked_again(walk_over: WalkOver, database: Database) -> None:
    walk = ("2.0.6,2.3", "--database-url", database.address.url)
    walk_over(*walk)
    with closing(database.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE theirs (id int)")
        cursor.execute("CREATE INDEX their_index ON runs_v3 (user_name)")
        # As it is in one that was made by PostgreSQL 11.
        cursor.execute(
            "ALTER TABLE steps_v3 RENAME CONSTRAINT steps_v3_flow_id_run_number_fkey"
            " TO steps_v3_flow_id_fkey"
        )
    again = walk_over("2.3,2.5", "--allow-existing", *walk[1:])
    assert said(again) == ""
    assert [stage.status for stage in again.stages] == ["pass", "pass"]
    notes = [note for of_service in again.notes.values() for note in of_service]
    (note,) = (note for note in notes if "no service makes" in note)
    for name in ("table theirs", "column theirs.id", "index their_index on runs_v3"):
        assert name in note


def test_a_write_answered_500_but_committed_is_found(walk_over: WalkOver) -> None:
    view = walk_over("2.0.6", fault="status-500-commits:4")
    assert view.stages[0].status == "fail"
    assert "refused, yet rows were written" in said(view)


def test_a_service_that_cannot_start_on_the_newer_schema_closes_the_gate(
    walk_over: WalkOver,
) -> None:
    # What is no failure without the gate: a sound walk has four that are unsafe.
    view = walk_over("2.0.6,2.3", "--gate", "rollback", fault="no-start-on-newer-schema")
    assert [stage.status for stage in view.stages] == ["pass", "fail"]
    assert view.stages[1].rollback == "unsafe"
    evidence = " ".join(view.stages[1].rollback_evidence)
    assert "reference-2.0.6" in evidence
    assert "start" in evidence
    (problem,) = view.stages[1].problems
    assert problem.startswith("rolling back to reference-2.0.6 is unsafe: Its migration API does")
    assert {cell.status for cell in view.cells} == {"pass"}
    assert all("--gate rollback" in cell.rerun for cell in view.cells)


def test_a_path_that_goes_down_migrates_nothing_and_is_judged_like_any(walk_over: WalkOver) -> None:
    view = walk_over("2.3,2.0.6")
    assert said(view) == ""
    up, down = view.stages
    assert (up.direction, down.direction) == ("upgrade", "downgrade")
    assert (down.schema_before, down.schema_after) == (up.schema_after, up.schema_after)
    assert down.migrations == []
    assert down.rereads


def test_a_service_that_writes_what_it_refuses_is_red_where_a_path_goes_down(
    walk_over: WalkOver,
) -> None:
    _, down = walk_over("2.0,1.0").stages
    assert (down.direction, down.status) == ("downgrade", "fail")
    assert any("refused, yet rows were written" in problem for problem in down.problems)


def test_a_service_that_does_not_start_on_a_newer_schema_is_red_where_a_path_goes_down(
    walk_over: WalkOver,
) -> None:
    view = walk_over("2.3,2.0.6", fault="no-start-on-newer-schema")
    assert [stage.status for stage in view.stages] == ["pass", "fail"]
    assert "reference-2.0.6 does not start on the newer schema: " in said(view)


def test_a_users_database_is_walked_and_kept(walk_over: WalkOver, database: Database) -> None:
    view = walk_over("2.0.6,2.3", "--database-url", database.address.url)
    assert said(view) == ""
    assert schema_version(database.address) == 20220503175500
    with closing(database.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM runs_v3 WHERE flow_id = 'HelloFlow'")
        assert cursor.fetchone()[0] == 2
        cursor.execute("SELECT count(*) FROM pg_database WHERE datname LIKE '%fresh%'")
        assert cursor.fetchone()[0] == 0


def test_a_users_database_is_walked_over_tls(walk_over: WalkOver, encrypted: Encrypted) -> None:
    # It takes nothing that is not encrypted, and nobody without a certificate.
    url = encrypted.url("verify-full", user=CERTIFIED, cert="client")
    server = ExternalPostgres(url)
    walked = server.create("walked over TLS").address
    try:
        view = walk_over("2.5", "--database-url", walked.url)
        assert said(view) == ""
        assert [cell.status for cell in view.cells] == ["pass"]
        assert schema_version(walked) == view.stages[0].schema_after
    finally:
        server.stop()


def test_a_users_database_that_holds_something_needs_leave(
    database: Database, catalog: Catalog
) -> None:
    path = parse("fixed_db", ["--path", "2.0,2.3"], catalog).path
    check_existing(database.address.url, path, allow=False)
    with closing(database.address.connect()) as connection:
        connection.cursor().execute("CREATE TABLE theirs (id int)")
    with pytest.raises(UsageError, match="not empty"):
        check_existing(database.address.url, path, allow=False)
    check_existing(database.address.url, path, allow=True)


def test_a_user_who_may_not_create_databases_is_refused(
    database: Database, catalog: Catalog
) -> None:
    path = parse("fixed_db", ["--path", "2.0,2.3"], catalog).path
    role = f"plain_{database.address.name}"
    with closing(database.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'plain'")
        try:
            plain = dataclasses.replace(database.address, user=role, password="plain")
            with pytest.raises(UsageError, match="may not create databases"):
                check_existing(plain.url, path, allow=True)
        finally:
            cursor.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (20990101000000, "newer than any service of the walk"),
        (20220503175500, "newer than reference-2.0.6 brings"),
    ],
)
def test_a_schema_the_walk_cannot_begin_with_is_refused(
    database: Database, catalog: Catalog, schema: int, words: str
) -> None:
    with closing(database.address.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE goose_db_version (id serial, version_id bigint,"
            " is_applied boolean, tstamp timestamp)"
        )
        cursor.execute(
            "INSERT INTO goose_db_version (version_id, is_applied) VALUES (%s, true)", [schema]
        )
    path = parse("fixed_db", ["--path", "2.0.6,2.3"], catalog).path
    with pytest.raises(UsageError, match=words):
        check_existing(database.address.url, path, allow=True)
