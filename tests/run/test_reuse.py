"""Results of earlier runs: found by all that decided them, and by nothing less."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.core.axes import AXES
from harness.core.entries import Answered, CellEntry, Provenance, StageEntry
from harness.core.outcome import CheckOutcome, Status
from harness.core.provenance import with_key, with_key_of_service
from harness.run.reuse import Earlier
from harness.stack.stacks import Served
from tests.report import journals

DECIDED = msgspec.structs.replace(journals.WHOLE, others={"2.2.13": "ab"})
SERVED = Served("sha256:1", "sha256:2", "2.5.1", 1, "16.14")
THEN = datetime(2026, 11, 1, 12, 0, tzinfo=timezone.utc)
RUN = "20261101-120000-compat-1a2b"


def result(checks: journals.Checks | None = None, **fields: Any) -> CellEntry:
    cell = journals.cell("2.19.39", "v2.5.1", checks, at=THEN, run=RUN, **fields)
    return msgspec.structs.replace(cell, provenance=with_key(DECIDED, cell))


KEY = result().provenance.key


def earlier(results: Path, *runs: Sequence[CellEntry], **fields: Any) -> Earlier:
    """Return what some runs left, each with a journal of its own."""
    for number, cells in enumerate(runs):
        folder = results / f"run-{number}"
        folder.mkdir(parents=True)
        journals.write(folder, cells, run=cells[0].run if cells else RUN, at=THEN, **fields)
    return Earlier(results, pytest.fail)


def test_a_result_is_found_by_its_key_and_says_from_when_and_where(tmp_path: Path):
    found = earlier(tmp_path, [result()]).cell(KEY, tmp_path)
    assert found is not None
    assert found.reused is not None
    assert (found.reused.run, found.reused.at) == (RUN, THEN)
    assert found.status is Status.PASS


@pytest.mark.parametrize("part", [name for name in Provenance.__struct_fields__ if name != "key"])
def test_a_cell_whose_provenance_differs_in_any_part_is_run(tmp_path: Path, part: str):
    other = {"others": {}, "db_schema": 2}.get(part, "other")
    now = msgspec.structs.replace(DECIDED, **{part: other})
    assert earlier(tmp_path, [result()]).cell(with_key(now, result()).key, tmp_path) is None


@pytest.mark.parametrize("axis", [*(axis.name for axis in AXES), "probe", "probe_digest"])
def test_so_is_one_at_another_point_or_of_another_probe(tmp_path: Path, axis: str):
    other = msgspec.structs.replace(result(), **{axis: "other"})
    assert earlier(tmp_path, [result()]).cell(with_key(DECIDED, other).key, tmp_path) is None


def test_what_may_change_any_time_gives_no_key_and_is_never_found(tmp_path: Path):
    unknown = with_key(msgspec.structs.replace(DECIDED, settings=""), result())
    assert unknown.key == ""
    there = msgspec.structs.replace(result(), provenance=unknown)
    assert earlier(tmp_path, [there]).cell("", tmp_path) is None


@pytest.mark.parametrize("status", ["infra", "not-run", "timeout"])
def test_only_what_tells_of_the_product_is_taken(tmp_path: Path, status: str):
    checks = {"run": "pass", "tags": status}
    assert earlier(tmp_path, [result(checks)]).cell(KEY, tmp_path) is None


@pytest.mark.parametrize("status", ["pass", "fail", "unsupported"])
def test_that_is_taken_whatever_it_is(tmp_path: Path, status: str):
    checks = {"run": "pass", "tags": status}
    assert earlier(tmp_path, [result(checks)]).cell(KEY, tmp_path) is not None


def test_a_check_that_another_kept_from_running_is_taken_with_it(tmp_path: Path):
    checks: journals.Checks = {"run": "fail", "tags": ("not-run", "the run failed")}
    assert earlier(tmp_path, [result(checks)]).cell(KEY, tmp_path) is not None


def test_results_that_differ_decide_nothing_and_infra_is_no_difference(tmp_path: Path):
    red, broken = result({"run": "fail"}), result({"run": "infra"})
    green = result({"run": "pass"})
    assert earlier(tmp_path / "a", [green], [red]).cell(KEY, tmp_path) is None
    assert earlier(tmp_path / "b", [green], [broken]).cell(KEY, tmp_path) is not None


def test_what_was_declared_then_is_taken_back(tmp_path: Path):
    was = CheckOutcome(Status.FAIL, "no tags")
    known = result({"run": "pass", "tags": ("expected-fail", "known: no tags")})
    found = earlier(tmp_path, [msgspec.structs.replace(known, undeclared={"tags": was})])
    taken = found.cell(KEY, tmp_path)
    assert taken is not None
    assert taken.checks["tags"] == was


def test_a_result_that_was_taken_itself_names_the_run_that_obtained_it(tmp_path: Path):
    first = earlier(tmp_path / "first", [result()]).cell(KEY, tmp_path)
    assert first is not None
    later = msgspec.structs.replace(first, run="20261102-120000-compat-2b3c")
    second = earlier(tmp_path / "second", [later]).cell(KEY, tmp_path)
    assert second is not None
    assert second.reused == first.reused


def test_evidence_is_where_it_was_as_far_as_it_is_still_there(tmp_path: Path):
    log = tmp_path / "results" / "run-0" / "run.txt"
    evidence = {"run": "run.txt", "readback": "gone.txt"}
    found = earlier(tmp_path / "results", [result(evidence=evidence)])
    log.write_text("said", encoding="utf-8")
    taken = found.cell(KEY, tmp_path / "results" / "run-1")
    assert taken is not None
    assert taken.evidence == {"run": "../run-0/run.txt"}


def test_what_code_says_of_itself_is_known_once_it_ran_and_only_if_it_is_one_thing(tmp_path: Path):
    one = earlier(tmp_path / "one", [result()])
    assert one.served("sha256:1", "sha256:2", "") == SERVED
    assert one.served("sha256:1", "sha256:2", "wrong-order") is None
    assert one.served("sha256:9", "sha256:2", "") is None
    other = msgspec.structs.replace(result().provenance, reported="2.5.0")
    both = [result()], [msgspec.structs.replace(result(), provenance=other)]
    assert earlier(tmp_path / "both", *both).served("sha256:1", "sha256:2", "") is None


def test_a_journal_that_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "journal.jsonl").write_text("{not JSON\n", encoding="utf-8")
    (tmp_path / "old").mkdir()
    old = '{"kind":"run","schema":1}\n'
    (tmp_path / "old" / "journal.jsonl").write_text(old, encoding="utf-8")
    journals.write(tmp_path / "whole", [result()], run=RUN)
    said: list[str] = []
    assert Earlier(tmp_path, said.append).cell(KEY, tmp_path) is not None
    broken, of_before = said
    assert broken.startswith(f"{tmp_path / 'broken' / 'journal.jsonl'}:1: nothing more is taken")
    assert of_before.endswith("of an earlier harness (journal schema 1)")


def test_so_is_one_with_a_result_that_cannot_be_read(tmp_path: Path):
    journals.write(tmp_path / "whole", [result()], run=RUN)
    journal = tmp_path / "whole" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"seconds":3.21', b'"seconds":-3.2'))
    said: list[str] = []
    assert Earlier(tmp_path, said.append).cell(KEY, tmp_path) is None
    (sentence,) = said
    assert sentence.startswith(f"{journal}: a result is not taken from it: ")


def service(**fields: Any) -> StageEntry:
    provenance = with_key_of_service(DECIDED, "v2.5.1", result())
    whole: dict[str, Any] = {
        "answered": Answered([]),
        "observed": {"duplicate flow": "409"},
        "provenance": provenance,
        "carried": 0,
        "rereads": 0,
        **fields,
    }
    return journals.stage(0, "v2.5.1", **whole)


def test_a_service_by_itself_is_taken_for_every_client_of_it(tmp_path: Path):
    found = earlier(tmp_path, [], stages=[service()])
    other = msgspec.structs.replace(result(), client="2.2.13", python="3.8")
    key = with_key_of_service(DECIDED, "v2.5.1", other).key
    taken = found.service(key, tmp_path)
    assert taken is not None
    assert taken.reused is not None
    assert taken.reused.run == RUN


@pytest.mark.parametrize(
    "fields",
    [{"answered": None}, {"lost": ["a row"]}, {"status": "infra", "answered": None}],
    ids=["not wholly asked, or dead later", "lost rows", "infra"],
)
def test_one_that_its_answers_do_not_wholly_tell_is_asked_again(
    tmp_path: Path, fields: dict[str, Any]
):
    found = earlier(tmp_path, [], stages=[service(**fields)])
    assert found.service(service().provenance.key, tmp_path) is None
    after = service(**fields)
    if after.status is not Status.INFRA:
        both = earlier(tmp_path / "both", [], stages=[service(), after])
        assert both.service(service().provenance.key, tmp_path) is None
