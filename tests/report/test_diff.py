"""Two journals with known differences give the known difference and exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.cli.commands import diff_main
from harness.core.view import View
from harness.machine.errors import UsageError
from harness.report.diff import compare
from tests.report import journals

SERVICES = ("v2.2.0", "v2.3.0", "v2.4.0")
BAD_TAGS = {"run": "pass", "tags": ("fail", "HTTP 404"), "logs": "pass"}
NO_RUN = {"run": ("fail", "exit code 1"), "tags": ("not-run", "the run did not end well")}


def _journal(
    folder: Path,
    changes: Mapping[tuple[str, str], journals.Checks] | None = None,
    clients: Sequence[str] = journals.CLIENTS,
    services: Sequence[str] = SERVICES,
) -> View:
    cells = [
        journals.cell(client, service, (changes or {}).get((client, service)))
        for client in clients
        for service in services
    ]
    return journals.write(folder, cells)


def test_the_same_twice_is_no_difference(tmp_path: Path):
    changes = {("2.0.5", "v2.3.0"): BAD_TAGS}
    found = compare(_journal(tmp_path / "a", changes), _journal(tmp_path / "b", changes))
    assert found.render() == "no difference"
    assert not found.worse


def test_cells_on_the_pythons_that_were_asked_for_are_compared_each_with_its_own(tmp_path: Path):
    def on_pythons(folder: Path, checks: journals.Checks | None) -> View:
        name = "compat/2.8.5/v2.3.0/local/basics/python="
        one = partial(journals.cell, "2.8.5", "v2.3.0")
        cells = [
            one(None, python="3.11", id=f"{name}3.11"),
            one(checks, python="3.12", id=f"{name}3.12"),
        ]
        return journals.write(folder, cells)

    found = compare(on_pythons(tmp_path / "a", None), on_pythons(tmp_path / "b", NO_RUN))
    assert found.became_red == (
        "client 2.8.5 (Python 3.12) fails on service v2.3.0: basics: run: exit code 1",
    )
    assert not found.new
    assert not found.gone


def test_everything_at_once(tmp_path: Path):
    old = _journal(tmp_path / "old", {("2.7.23", "v2.2.0"): NO_RUN}, clients=journals.CLIENTS[:3])
    new = _journal(
        tmp_path / "new",
        {
            ("2.0.5", "v2.3.0"): BAD_TAGS,
            ("2.2.13", "v2.3.0"): BAD_TAGS,
            ("2.19.39", "v2.3.0"): BAD_TAGS,
        },
        services=SERVICES[:2],
    )
    found = compare(old, new)
    assert found.became_red == (
        "clients 2.0.5–2.2.13 fail on service v2.3.0: basics: tags: HTTP 404",
    )
    assert found.became_green == (
        "client 2.7.23 went from fail to pass on service v2.2.0: basics: run",
    )
    assert found.new_red == ("client 2.19.39 ended as fail on service v2.3.0: basics (1 cell)",)
    assert found.new == ("client 2.19.39 ended as pass on service v2.2.0: basics (1 cell)",)
    assert found.gone == ("all 3 clients ended as pass on service v2.4.0: basics (3 cells)",)
    assert found.worse
    assert [line.partition(":")[0] for line in found.render().splitlines()] == [
        "became red",
        "new and red",
        "became green",
        "new",
        "gone",
    ]


@pytest.mark.parametrize(
    ("cells", "lost", "said"),
    [
        ("pass", "run_v3: 2 rows", "new and red: stage 02, v2.4.0: lost run_v3: 2 rows"),
        ("not-run", "", "new and red: stage 02, v2.4.0: fail"),
    ],
)
def test_a_new_stage_that_is_not_green_closes_the_gate(
    tmp_path: Path, cells: str, lost: str, said: str
):
    def walk(name: str, services: Sequence[str]) -> View:
        last = {"status": "fail", "lost": [lost] if lost else []}
        return journals.write(
            tmp_path / name,
            [
                journals.cell(
                    "2.0.5",
                    service,
                    {"run": cells if number == 2 else "pass"},
                    session="fixed_db",
                    stage=number,
                )
                for number, service in enumerate(services, start=1)
            ],
            stages=[
                journals.stage(number, service, **(last if number == 2 else {}))
                for number, service in enumerate(services, start=1)
            ],
        )

    found = compare(walk("old", ("v2.3.0",)), walk("new", ("v2.3.0", "v2.4.0")))
    assert found.worse
    assert said in found.render().splitlines()


def test_a_new_cell_that_did_not_run_closes_the_gate(tmp_path: Path):
    old = journals.write(tmp_path / "a", [journals.cell("2.0.5", "v2.3.0")])
    cells = [journals.cell("2.0.5", "v2.3.0"), journals.cell("2.0.5", "HEAD", {"run": "not-run"})]
    found = compare(old, journals.write(tmp_path / "b", cells))
    assert found.new_red == ("client 2.0.5 ended as not-run on service HEAD: basics (1 cell)",)
    assert found.worse


def test_a_run_cut_short_closes_the_gate_and_is_said(tmp_path: Path):
    old = _journal(tmp_path / "a")
    cells = [journals.cell("2.0.5", "v2.3.0")]
    new = journals.write(tmp_path / "b", cells, planned=4, ended=False)
    found = compare(old, new)
    assert found.worse
    assert "unknown: run 20261101-120000-compat-1a2b has 1 of 4 planned cells" in found.render()


@pytest.mark.parametrize(("old", "new"), [((1, 0), (0, 0)), ((0, 0), (1, 0)), ((0, 0), (0, 1))])
def test_each_rollback_to_a_service_is_compared_with_the_same_one(
    tmp_path: Path, old: tuple[int, int], new: tuple[int, int]
):
    def walk(name: str, red: tuple[int, int]) -> View:
        return journals.write(
            tmp_path / name,
            [],
            stages=[
                journals.stage(
                    number, "v2.3.0", direction="rollback", status="fail" if bad else "pass"
                )
                for number, bad in zip((3, 5), red, strict=True)
            ],
        )

    found = compare(walk("old", old), walk("new", new))
    assert found.worse is (new > old)
    assert len(found.became_red) == sum(new)
    assert len(found.became_green) == sum(old)


UNSAFE = {"rollback": "unsafe", "rollback_evidence": ["v2.3.0: It does not start: no column."]}
SAID = "stage 02, v2.4.0: rolling back to v2.3.0 is unsafe: It does not start: no column."
GATED = UNSAFE | {"status": "fail", "problems": [SAID.removeprefix("stage 02, v2.4.0: ")]}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({}, UNSAFE, "became red"),
        ({"rollback": None}, UNSAFE, "became red"),
        ({"status": "fail"}, UNSAFE | {"status": "fail"}, "became red"),
        (None, UNSAFE, "new and red"),
        (UNSAFE, UNSAFE, ""),
        (UNSAFE, {}, ""),
        ({}, GATED, "became red"),
        (GATED, UNSAFE | {"status": "fail"}, ""),
    ],
)
def test_a_gate_closes_for_a_step_that_cannot_be_taken_back_any_more(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    old: dict[str, Any] | None,
    new: dict[str, Any],
    said: str,
):
    for name, fields in (("old", old), ("new", new)):
        more = [] if fields is None else [journals.stage(2, "v2.4.0", **fields)]
        journals.write(tmp_path / name, [], stages=[journals.stage(1, "v2.3.0"), *more])
    both = [str(tmp_path / name) for name in ("old", "new")]
    assert diff_main(["--gate", "rollback", *both]) == bool(said)
    printed = capsys.readouterr().out
    assert printed == (f"{said}: {SAID}\n" if said else "no difference\n")
    diff_main(both)
    assert ("is unsafe" in capsys.readouterr().out) is (new is GATED)


def test_checks_that_did_not_run_are_left_to_the_one_that_failed(tmp_path: Path):
    new = _journal(tmp_path / "b", {("2.0.5", "v2.3.0"): NO_RUN})
    found = compare(_journal(tmp_path / "a"), new)
    assert found.became_red == ("client 2.0.5 fails on service v2.3.0: basics: run: exit code 1",)


def test_what_became_red_alike_in_all_probes_is_said_once(tmp_path: Path):
    def run(name: str, check: str | tuple[str, str]) -> View:
        probes = ("basics", "card", "hello", "logs")
        cells = [journals.cell("2.0.5", "v2.3.0", {"run": check}, probe=one) for one in probes]
        return journals.write(tmp_path / name, cells)

    (line,) = compare(run("old", "pass"), run("new", ("fail", "ImportError: Sequence"))).became_red
    assert line == (
        "client 2.0.5 fails on service v2.3.0: basics, card and 2 more probes: run:"
        " ImportError: Sequence"
    )


def test_red_for_another_reason_did_not_become_red(tmp_path: Path):
    old = _journal(tmp_path / "a", {("2.0.5", "v2.3.0"): BAD_TAGS})
    new = _journal(
        tmp_path / "b",
        {("2.0.5", "v2.3.0"): {"run": "pass", "tags": ("timeout", "slow"), "logs": "pass"}},
    )
    assert not compare(old, new).worse


@pytest.mark.parametrize(
    ("before", "after", "worse"),
    [
        ("pass", "unexpected-pass", True),
        ("expected-fail", "fail", True),
        ("pass", "infra", True),
        ("pass", "not-run", True),
        ("pass", "expected-fail", False),
        ("fail", "pass", False),
        ("not-run", "fail", False),
        ("pass", "unsupported", False),
    ],
)
def test_what_became_red_is_what_was_as_expected(
    tmp_path: Path, before: str, after: str, worse: bool
):
    journals_of = [
        journals.write(tmp_path / name, [journals.cell("2.0.5", "v2.3.0", {"run": status})])
        for name, status in (("old", before), ("new", after))
    ]
    assert compare(*journals_of).worse is worse


def test_a_walk_with_one_more_stage_is_compared_by_service(tmp_path: Path):
    def walk(name: str, services: Sequence[str], status: str) -> View:
        return journals.write(
            tmp_path / name,
            [
                journals.cell("2.0.5", service, session="fixed_db", stage=number)
                for number, service in enumerate(services, start=1)
            ],
            stages=[
                journals.stage(number, service, status=status if service == "v2.4.0" else "pass")
                for number, service in enumerate(services, start=1)
            ],
        )

    found = compare(
        walk("old", ("v2.2.0", "v2.4.0"), "pass"),
        walk("new", ("v2.2.0", "v2.3.0", "v2.4.0"), "fail"),
    )
    assert found.new == ("client 2.0.5 ended as pass on service v2.3.0: basics (1 cell)",)
    assert found.gone == ()
    assert found.became_red == ("stage 03, v2.4.0: fail",)


@pytest.mark.parametrize(("order", "code"), [(("old", "new"), 1), (("new", "old"), 0)])
def test_the_exit_code_closes_the_gate(tmp_path: Path, capsys, order, code: int):
    _journal(tmp_path / "old")
    _journal(tmp_path / "new", {("2.0.5", "v2.3.0"): BAD_TAGS})
    assert diff_main([str(tmp_path / name) for name in order]) == code
    words = {
        1: "became red: client 2.0.5 fails",
        0: "became green: client 2.0.5 went from fail to pass",
    }
    assert capsys.readouterr().out.startswith(words[code])


@pytest.mark.parametrize(
    "arguments",
    [[], ["one"], ["one", "two", "three"], ["no", "where"], ["--gate", "way", "one", "two"]],
)
def test_two_journals_are_needed(arguments: list[str]):
    with pytest.raises(UsageError):
        diff_main(arguments)
