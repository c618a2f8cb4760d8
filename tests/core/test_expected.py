"""How long a run is going to take, by what earlier runs took."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import msgspec
import pytest

from harness.core.entries import CellEntry, Reused
from harness.core.expected import Expected, Took, expected_by
from tests.report import journals

BEGUN = datetime(2026, 11, 1, 12, 0, tzinfo=timezone.utc)


def at(seconds: float) -> datetime:
    return BEGUN + timedelta(seconds=seconds)


def cell(service: str, seconds: float, end: float, client: str = "2.19.39") -> CellEntry:
    return journals.cell(client, service, seconds=seconds, at=at(end))


# Two at a time for twenty seconds, the ends of the run two more.
RUN = (BEGUN, [cell("a", 10, 10), cell("b", 20, 20), cell("c", 10, 20)], at(22))


Ran = tuple[datetime, list[CellEntry], datetime]


def told_by(*runs: Ran) -> Expected | None:
    """Return what runs tell, of which journals are read as far as that goes."""
    return expected_by(
        [
            (begun, [msgspec.convert(one, Took, from_attributes=True) for one in cells], ended)
            for begun, cells, ended in runs
        ]
    )


def expected(*runs: Ran) -> Expected:
    found = told_by(*runs)
    assert found is not None
    return found


def test_the_same_again_takes_as_long():
    assert expected(RUN).seconds(RUN[1]) == pytest.approx(22)


def test_a_part_of_it_takes_its_part_and_what_nobody_ran_what_the_like_of_it_took():
    known = expected(RUN)
    assert known.seconds(RUN[1][:1]) == pytest.approx(22 / 4)
    assert known.of(cell("d", 0, 0)) == pytest.approx(40 / 3)
    other = journals.cell("2.19.39", "a", probe="card")
    assert known.of(other) == pytest.approx(40 / 3)


def test_the_newest_run_tells_where_several_do():
    before = (BEGUN, [cell("a", 99, 99)], at(99))
    assert expected(RUN, before).took[cell("a", 0, 0).id] == 10
    assert expected(before, RUN).took[cell("a", 0, 0).id] == 99


def test_what_went_into_installing_a_client_is_left_out():
    cells = [cell("a", 10, 10, "2.2.13"), cell("a", 10, 80)]
    assert expected((BEGUN, cells, at(80))).seconds(cells) == pytest.approx(21)


def test_while_a_client_is_installed_others_may_run():
    cells = [cell("a", 60, 70, "2.2.13"), cell("a", 5, 25, "2.3.0"), cell("a", 5, 85)]
    # Of 90 s nothing ran from 70 to 80, and what is between two clients stays.
    assert expected((BEGUN, cells, at(90))).seconds(cells) == pytest.approx(81)


def test_what_was_reused_or_broken_tells_no_time():
    reused = msgspec.structs.replace(cell("a", 10, 1), reused=Reused(run="r", at=BEGUN))
    assert told_by((BEGUN, [reused], at(1))) is None
    partly = (BEGUN, [reused, cell("b", 5, 6)], at(7))
    assert told_by(partly) is None, "its pace is that of another kind of run"
    assert expected(partly, RUN).took[reused.id] == 10
    broken = journals.cell("2.19.39", "a", {"run": "infra"}, seconds=300)
    assert told_by((BEGUN, [broken], at(300))) is None


def test_what_is_left_follows_what_has_been_seen():
    known = expected(RUN)
    planned = RUN[1]
    assert known.left(planned, []) == pytest.approx(22)
    assert known.left(planned, [cell("a", 10, 10)]) == pytest.approx(22 * 3 / 4)
    assert known.left(planned, [cell("a", 20, 20)]) == pytest.approx(2 * 22 * 3 / 4), "half as fast"
    assert known.left(planned, planned) == 0
    reused = msgspec.structs.replace(planned[1], reused=Reused(run="r", at=BEGUN))
    assert known.left(planned, [reused]) == pytest.approx(22 / 2)
