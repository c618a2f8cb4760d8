"""What is run again, with which commands, and what two runs come to."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from harness.catalog.versions import load
from harness.cli import rerun
from harness.cli.lines import rerun_line
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.cli.rerun import (
    bad_stages,
    cells_of,
    commands,
    failed_cells,
    named_cells,
    refuse_databases,
    refuse_unset,
    rerun_main,
)
from harness.core.entries import CellEntry, Ended, StageEntry
from harness.core.journal import read
from harness.core.outcome import Status
from harness.core.plan import Cell
from harness.core.view import View
from harness.machine.errors import UsageError
from harness.report.summary import totals
from harness.run.options import Options
from tests.report import journals


def _planned(options: Options) -> tuple[Cell, ...]:
    return make_plan(options, [OnPython(one, "3.11") for one in options.clients]).cells


def _red(*statuses: str) -> list[CellEntry]:
    return [
        journals.cell(f"2.{number}.0", "v2.3.0", {"run": status})
        for number, status in enumerate(statuses)
    ]


def test_failed_timed_out_and_infra_cells_are_run_again(tmp_path: Path):
    entries = journals.write(
        tmp_path,
        _red(*("fail", "timeout", "infra", "pass", "not-run", "expected-fail", "unexpected-pass")),
    )
    assert [cell.client for cell in failed_cells(entries)] == ["2.0.0", "2.1.0", "2.2.0"]


def test_a_cell_is_found_by_its_id_and_an_unknown_one_names_the_nearest(tmp_path: Path):
    entries = journals.write(tmp_path, _red("pass", "fail"))
    name = "compat/2.0.0/v2.3.0/local/basics"
    assert [cell.id for cell in named_cells(entries, [name])] == [name]
    with pytest.raises(UsageError, match=f"nearest: {name}"):
        named_cells(entries, ["compat/2.0.0/v2.3.0/local/basic"])


def test_commands_run_the_cells_and_no_others():
    chosen = [
        journals.cell("2.0.5", "v2.3.0"),
        journals.cell("2.0.5", "v2.4.0"),
        journals.cell("2.2.13", "v2.3.0"),
        journals.cell("2.2.13", "v2.4.0"),
        journals.cell("2.7.23", "v2.4.0"),
        journals.cell("2.7.23", "v2.4.0", probe="hello"),
    ]
    asked = [
        (client, service, words[words.index("--probe") + 1])
        for words in commands(chosen)
        for client in words[words.index("--metaflow") + 1].split(",")
        for service in words[words.index("--service") + 1].split(",")
    ]
    assert sorted(asked) == sorted((c.client, c.service, c.probe) for c in chosen)
    assert len(commands(chosen)) == 3


def test_runs_in_a_ui_are_asked_for_again_by_client():
    line = "nox -s ui -- --check --ui-version v2.5.1 --metaflow 2.19.39 --from RUN"
    chosen = [
        journals.cell("2.19.39", service, session="ui v2.5.1", rerun=line)
        for service in ("v2.3.0", "v2.5.0")
    ]
    assert commands(chosen) == [shlex.split(line)]


def test_a_path_with_spaces_stays_one_word():
    line = "nox -s compat -- --metaflow 2.0.5 --service v2.3.0 --flow-dir 'my flows'"
    (words,) = commands([journals.cell("2.0.5", "v2.3.0", rerun=line)])
    assert words == shlex.split(line)


def test_pairs_of_clients_share_a_run_with_all_who_have_a_role():
    chosen = [
        journals.cell(
            "2.19.39",
            "v2.5.1",
            session="cross",
            writer=writer,
            rerun=f"nox -s cross -- --metaflow {writer},2.19.39 --pairs {writer}:2.19.39"
            " --service v2.5.1 --probe resume --datastore local",
        )
        for writer in ("2.7.23", "2.12.39")
    ]
    assert [shlex.join(words) for words in commands(chosen)] == [
        (
            "nox -s cross -- --metaflow 2.7.23,2.19.39,2.12.39"
            " --pairs 2.7.23:2.19.39,2.12.39:2.19.39"
            " --service v2.5.1 --probe resume --datastore local"
        )
    ]


def test_cells_of_a_walk_and_clients_alone_are_run_by_their_own_lines():
    walk = "nox -s fixed_db -- --metaflow 2.0.5 --path v2.2.0,v2.3.0"
    chosen = [
        journals.cell("2.0.5", "v2.3.0", session="fixed_db", stage=2, rerun=walk),
        journals.cell("2.0.5", "v2.3.0", session="fixed_db", stage=2, probe="hello", rerun=walk),
        journals.cell("2.0.5", None, session="local"),
    ]
    assert [shlex.join(words) for words in commands(chosen)] == [
        walk,
        "nox -s local -- --metaflow 2.0.5 --probe basics --datastore local",
    ]


def test_results_beside_which_nothing_can_be_written_are_an_error(tmp_path: Path, monkeypatch):
    journals.write(tmp_path, _red("fail"))

    def refuse(_folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    # As root all can be written.
    monkeypatch.setattr("harness.cli.nested.make_private", refuse)
    monkeypatch.setattr(rerun, "run_nox", lambda _: pytest.fail("nothing may begin"))
    with pytest.raises(UsageError, match=r"cannot be written there: Permission denied$"):
        rerun_main(["--from", str(tmp_path)])


def test_no_results_is_an_error(tmp_path: Path):
    with pytest.raises(UsageError, match="no journal"):
        rerun_main(["--from", str(tmp_path)])


def test_nothing_failed_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    journals.write(tmp_path, _red("pass"))
    assert rerun_main(["--from", str(tmp_path)]) == 0
    assert "nothing to run again" in capsys.readouterr().out


@pytest.mark.parametrize(("again", "code", "flaky"), [("pass", 0, 1), ("fail", 1, 0)])
def test_both_runs_are_put_together_and_flaky_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str, code: int, flaky: int
):
    results = tmp_path / "results"
    journals.write(results / "first", _red("fail", "pass"), run="first")

    def run(words: list[str]) -> None:
        folder = Path(words[words.index("--results") + 1]) / "second"
        journals.write(folder, _red(again), run="second")

    monkeypatch.setattr(rerun, "run_nox", run)
    assert rerun_main(["--from", str(results / "first")]) == code
    body = json.loads((results / "latest" / "results.json").read_text(encoding="utf-8"))
    assert body["flaky"] == flaky
    assert sum(body["totals"].values()) == 2
    assert {run["run"] for run in body["runs"]} == {"first", "second"}


def test_a_rerun_that_ran_nothing_is_red_and_leaves_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    results = tmp_path / "results"
    journals.write(results / "first", _red("fail", "pass"), run="first")
    monkeypatch.setattr(rerun, "run_nox", lambda _: None)
    assert rerun_main(["--from", str(results / "first")]) == 1
    assert "nothing was run again: see above" in capsys.readouterr().out
    assert [path.name for path in results.iterdir()] == ["first"]


def test_a_rerun_that_left_cells_out_is_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    results = tmp_path / "results"
    first, second = _red("fail", "fail")
    journals.write(results / "first", [first, second], run="first")

    def run(words: list[str]) -> None:
        folder = Path(words[words.index("--results") + 1]) / "second"
        journals.write(folder, _red("pass"), run="second")

    monkeypatch.setattr(rerun, "run_nox", run)
    assert rerun_main(["--from", str(results / "first")]) == 1
    said = capsys.readouterr().out
    assert "run again: 1 pass (1 flaky): 1 cell" in said
    assert "not run again: 1 cell; see above" in said


def _walk(status: str, lost: tuple[str, ...] = (), **cell: str) -> dict[str, list[Any]]:
    """Return cells of two clients and stages of a walk whose second stage has this status."""
    services = ["v2.2.0", "v2.3.0"]
    return {
        "cells": [
            journals.cell(
                client,
                service,
                {"run": "not-run" if number == 2 and status == "fail" and not lost else "pass"},
                session="fixed_db",
                stage=number,
                rerun=f"nox -s fixed_db -- --metaflow {client}"
                f" --path {','.join(services[:number])} --probe basics",
                **cell,
            )
            for client in ("2.0.5", "2.19.39")
            for number, service in enumerate(services, start=1)
        ],
        "stages": [
            journals.stage(1, services[0]),
            journals.stage(2, services[1], status=status, lost=list(lost)),
        ],
    }


@pytest.mark.parametrize("lost", [(), ("by the migration: run_v3: 2 rows",)])
@pytest.mark.parametrize("again", ["fail", "pass"])
def test_the_walk_to_a_stage_that_is_not_green_is_run_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lost: tuple[str, ...],
    again: str,
):
    results = tmp_path / "results"
    journals.write(results / "first", run="first", **_walk("fail", lost))
    lines = []

    def run(words: list[str]) -> None:
        lines.append(shlex.join(words).partition(" --results")[0])
        folder = Path(words[words.index("--results") + 1]) / "second"
        journals.write(folder, run="second", **_walk(again, lost if again == "fail" else ()))

    monkeypatch.setattr(rerun, "run_nox", run)
    assert rerun_main(["--from", str(results / "first")]) == int(again == "fail")
    assert lines == [
        "nox -s fixed_db -- --metaflow 2.0.5,2.19.39 --path v2.2.0,v2.3.0 --probe basics"
    ]
    said = "run again and not green: stage 02, v2.3.0: fail"
    assert (said in capsys.readouterr().out) is (again == "fail")


def test_a_stage_no_cell_leads_to_is_named_and_red(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    journals.write(tmp_path, [], stages=[journals.stage(1, "v2.2.0", status="infra")])
    assert rerun_main(["--from", str(tmp_path)]) == 1
    said = "not run again: stage 01, v2.2.0: infra: these results have no cell that leads to it"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("given", [["--database-url", "URL"], ["--database-url=URL"]])
@pytest.mark.parametrize("named", [[], ["fixed_db/2.0.5/02-v2.3.0/local/basics"]])
def test_what_ran_over_a_database_of_the_users_is_refused(
    tmp_path: Path, given: list[str], named: list[str]
):
    options = ["--path", "2.2,2.3", *given]
    journals.write(tmp_path, **_walk("fail"), session="fixed_db", options=options)
    with pytest.raises(UsageError, match="restore the copy and walk again") as refused:
        rerun_main([*named, "--from", str(tmp_path)])
    assert str(refused.value).endswith(f"nox -s fixed_db -- {shlex.join(options)}")


def test_what_a_ui_showed_of_a_database_is_asked_for_there_again(tmp_path: Path):
    line = "nox -s ui -- --check --metaflow 2.0.5 --database-url URL"
    cell = journals.cell("2.0.5", "v2.3.0", session="ui v2.5.1", rerun=line)
    entries = journals.write(tmp_path, [cell], session="ui", options=["--database-url", "URL"])
    refuse_databases(entries, entries.cells)


PASSWORD = "--database-password env:COMPAT_DATABASE_PASSWORD"


def _with_password(probe: str) -> CellEntry:
    line = f"nox -s compat -- --metaflow 2.0.5 --service v2.3.0 --probe {probe} {PASSWORD}"
    return journals.cell("2.0.5", "v2.3.0", {"run": "fail"}, probe=probe, rerun=line)


def test_nothing_runs_while_a_secret_of_a_line_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other = journals.cell("2.2.13", "v2.3.0", {"run": "fail"})
    journals.write(tmp_path / "first", [other, *map(_with_password, "abcde")], run="first")
    ran: list[list[str]] = []
    monkeypatch.setattr(rerun, "run_nox", ran.append)
    monkeypatch.delenv("COMPAT_DATABASE_PASSWORD", raising=False)
    with pytest.raises(UsageError) as refused:
        rerun_main(["--from", str(tmp_path / "first")])
    ids = ", ".join(f"compat/2.0.5/v2.3.0/local/{probe}" for probe in "abc")
    assert str(refused.value) == (
        f"nothing was run again: {PASSWORD}: the variable COMPAT_DATABASE_PASSWORD is not set; it"
        f" must hold what --database-password was (for {ids} and 2 more)"
    )
    assert ran == []
    # Of cells that are named, only theirs must be there.
    assert rerun_main([other.id, "--from", str(tmp_path / "first")]) == 1
    assert len(ran) == 1
    monkeypatch.setenv("COMPAT_DATABASE_PASSWORD", "secret1")
    assert rerun_main(["--from", str(tmp_path / "first")]) == 1
    assert len(ran) == 7


def test_the_password_of_a_shown_database_must_be_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    url = "postgresql://me{}@h:1/db"
    line = f"nox -s ui -- --check --metaflow 2.0.5 --database-url {url.format('')}"
    cell = journals.cell("2.0.5", "v2.3.0", {"run": "fail"}, session="ui v2.5.1", rerun=line)
    monkeypatch.delenv("PGPASSWORD", raising=False)
    for password, missing in ((":[secret]", True), ("", False)):
        options = ["--check", "--database-url", url.format(password)]
        folder = tmp_path / f"{missing}"
        entries = journals.write(folder, [cell], session="ui", options=options)
        chosen = failed_cells(entries)
        if missing:
            with pytest.raises(UsageError, match="--database-url: the variable PGPASSWORD is not"):
                refuse_unset(entries, chosen)
            monkeypatch.setenv("PGPASSWORD", "secret1")
        refuse_unset(entries, chosen)
        monkeypatch.delenv("PGPASSWORD", raising=False)


@pytest.mark.parametrize(
    ("asked", "flags"),
    [
        (["--path", "2.0,2.3", "--timeout", "5"], "--path reference-2.0 --timeout 5"),
        (["--seed", "4", "--service", "all"], "--seed 4 --service all"),
        (["--seed", "4"], "--seed 4"),
    ],
)
def test_the_line_of_a_cell_in_a_walk_takes_what_leads_to_it(asked: list[str], flags: str):
    options = parse("fixed_db", ["--metaflow", "2.2.13,2.19.39", *asked], load())
    cell = next(cell for cell in _planned(options) if cell.client == options.clients[1])
    words = shlex.split(rerun_line(cell, options))
    assert words[:5] == ["nox", "-s", "fixed_db", "--", "--metaflow"]
    again = parse("fixed_db", words[4:], load())
    assert [client.name for client in again.clients] == ["2.19.39"]
    assert again.path[:1] == options.path[:1]
    assert (again.seed, again.timeout) == (options.seed, options.timeout)
    assert set(flags.split()) <= set(words)


@pytest.mark.parametrize("root", [["--s3-root", "s3://b/p", "--s3-endpoint", "http://h"], []])
def test_the_line_of_a_cell_is_accepted_where_a_run_has_both_datastores(root: list[str]):
    options = parse("compat", ["--metaflow", "latest", "--datastore", "local,s3", *root], load())
    for cell in _planned(options):
        words = shlex.split(rerun_line(cell, options))
        again = parse("compat", words[4:], load())
        assert _planned(again) == (cell,)
        assert (again.s3_root is not None) is (bool(root) and cell.datastore == "s3")


def test_the_line_of_a_random_walk_of_full_has_its_probes_and_nothing_of_the_ui():
    given = ["--seed", "4", "--metaflow", "2.19.39", "--ui-image", "page"]
    options = parse("full", given, load(), lambda: "Docker Engine 99")
    cells = [cell for cell in _planned(options) if cell.stage == 1]
    for cell in cells:
        words = shlex.split(rerun_line(cell, options))
        again = parse("fixed_db", words[4:], load(), lambda: "Docker Engine 99")
        assert [probe.name for probe in again.probes] == [cell.probe.name]
    assert [cell.probe.name for cell in cells] == ["basics", "card", "failing"]


def test_what_was_planned_and_never_ran_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A killed run with one of three cells is not all well."""
    results = tmp_path / "results"
    done = journals.cell("2.0.5", "v2.3.0")
    killed = journals.write(results / "first", [done], run="first", planned=3, ended=False)
    assert totals(killed.cells) == {"not-run": 2, "pass": 1}
    again = [journals.cell("2.99.0", "v9.9.9", probe=f"missing{number}") for number in (1, 2)]
    assert [cell.id for cell in failed_cells(killed)] == [cell.id for cell in again]

    def run(words: list[str]) -> None:
        probe = words[words.index("--probe") + 1]
        folder = Path(words[words.index("--results") + 1]) / probe
        cells = [cell for cell in again if cell.probe == probe]
        journals.write(folder, cells, run=probe)

    monkeypatch.setattr(rerun, "run_nox", run)
    assert rerun_main(["--from", str(results / "first")]) == 0
    assert "run again: 2 pass: 2 cells" in capsys.readouterr().out
    whole = View(read(results / "latest"))
    assert totals(whole.cells) == {"pass": 3}
    assert whole.green, whole.incomplete


def test_a_stage_that_was_planned_and_never_came_is_walked_to(tmp_path: Path):
    walk = _walk("pass")
    whole = journals.write(tmp_path / "whole", **walk, run="whole")
    assert whole.green
    entries = [
        entry
        for entry in read(tmp_path / "whole")
        if not (isinstance(entry, StageEntry) and entry.stage == 2) and not isinstance(entry, Ended)
    ]
    cut = View(entries)
    (stage,) = bad_stages(cut)
    assert (stage.stage, stage.status) == (2, Status.NOT_RUN)
    assert len(cells_of(stage, cut)) == 2
    assert not cut.green
