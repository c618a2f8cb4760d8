"""How long a run is going to take, by what earlier runs took."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from harness.core.entries import CellEntry, Inferred, Reused
from harness.core.expected import Expected, Timed, Took, expected_by
from tests.report import journals

BEGUN = datetime(2026, 11, 1, 12, 0, tzinfo=timezone.utc)


def at(seconds: float) -> datetime:
    return BEGUN + timedelta(seconds=seconds)


def cell(service: str, seconds: float, end: float, client: str = "2.19.39") -> CellEntry:
    return journals.cell(client, service, seconds=seconds, at=at(end))


# Two at a time for twenty seconds, the ends of the run two more.
RUN = (BEGUN, [cell("a", 10, 10), cell("b", 20, 20), cell("c", 10, 20)], at(22))


Ran = tuple[datetime, list[CellEntry], datetime]
OTHER = "another-run"


def told_by(*runs: Ran, alike: bool = True, **how: Any) -> Expected | None:
    """Return what runs tell, of which journals are read as far as that goes."""
    return expected_by(
        [
            Timed(
                begun,
                [msgspec.convert(one, Took, from_attributes=True) for one in cells],
                ended,
                alike,
            )
            for begun, cells, ended in runs
        ],
        **how,
    )


def expected(*runs: Ran, **how: Any) -> Expected:
    found = told_by(*runs, **how)
    assert found is not None
    return found


def of_another(entry: CellEntry, run: str = "", service: str = "b") -> CellEntry:
    """Return the entry as it is told with another service of this run, or of another run."""
    taken = Reused(run=run, at=BEGUN, service=service)
    return msgspec.structs.replace(entry, reused=taken)


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
    reused = of_another(cell("a", 10, 1), OTHER, "")
    assert told_by((BEGUN, [reused], at(1))) is None
    partly = (BEGUN, [reused, cell("b", 5, 6)], at(7))
    assert told_by(partly) is None, "its pace is that of another kind of run"
    assert expected(partly, RUN).took[reused.id] == 10
    broken = journals.cell("2.19.39", "a", {"run": "infra"}, seconds=300)
    assert told_by((BEGUN, [broken], at(300))) is None


def test_what_is_told_with_another_service_takes_no_time_and_its_run_tells_the_pace():
    twin = of_another(cell("d", 20, 20))
    run = (BEGUN, [*RUN[1], twin], RUN[2])
    assert expected(run).seconds(run[1]) == pytest.approx(22)
    # Where each is run, it takes as long as the other.
    assert expected(run, shares=False).seconds(run[1]) == pytest.approx(22 / 40 * 60)
    # What was told so in an earlier run, and taken from it, is told by that.
    taken = of_another(cell("d", 20, 1), OTHER)
    assert told_by((BEGUN, [*RUN[1], taken], RUN[2])) is None


def test_what_could_not_run_takes_no_time_unless_it_did_before():
    skipped = journals.cell("2.2.13", "a", {"run": "not-run"}, seconds=0, at=at(0))
    run = (BEGUN, [skipped, *RUN[1]], RUN[2])
    assert expected(run).seconds(run[1]) == pytest.approx(22)
    ran = (BEGUN, [cell("a", 7, 7, "2.2.13")], at(7))
    assert expected(run, ran).of(skipped) == 7


def test_what_is_unsupported_as_a_whole_takes_no_time():
    refused = journals.cell("2.2.13", "a", {"run": "unsupported"}, seconds=0, at=at(0))
    run = (BEGUN, [refused, *RUN[1]], RUN[2])
    known = expected(run)
    assert known.seconds(run[1]) == pytest.approx(22)
    assert known.of(cell("z", 0, 0)) == pytest.approx(40 / 3), "nor does it make the like quicker"


def test_an_attempt_that_the_machine_broke_took_its_time_and_is_not_expected_again():
    broken = journals.cell("2.19.39", "a", {"run": "infra"}, seconds=30, at=at(30))
    run = (BEGUN, [broken, cell("a", 10, 40), cell("b", 10, 50)], at(50))
    assert expected(run).seconds(run[1][1:]) == pytest.approx(20)


def test_who_ran_most_of_the_cells_tells_the_pace():
    one = (BEGUN, [cell("a", 10, 10)], at(15))
    ids = [entry.id for entry in RUN[1]]
    assert expected(one, RUN, planned=ids).pace == pytest.approx(22 / 40)
    assert expected(one, RUN, planned=ids[:1]).pace == pytest.approx(1.5), "the newest of two"


def test_a_run_of_another_kind_tells_durations_and_no_pace():
    assert told_by(RUN, alike=False) is None


def test_what_was_inferred_takes_no_time_where_it_is_inferred_again():
    guessed = journals.cell("2.19.39", "d", seconds=0, inferred=Inferred(beside=[RUN[1][0].id]))
    run = (BEGUN, [*RUN[1], guessed], RUN[2])
    assert expected(run, searches=True).seconds(run[1]) == pytest.approx(22)
    assert guessed.id not in expected(run).took


def test_what_is_left_follows_what_has_been_seen():
    known = expected(RUN)
    planned = RUN[1]
    assert known.left(planned, []) == pytest.approx(22)
    assert known.left(planned, [cell("a", 10, 10)]) == pytest.approx(22 * 3 / 4)
    assert known.left(planned, [cell("a", 20, 20)]) == pytest.approx(2 * 22 * 3 / 4), "half as fast"
    assert known.left(planned, planned) == 0
    reused = of_another(planned[1], OTHER, "")
    assert known.left(planned, [reused]) == pytest.approx(22 / 2)


def test_what_was_not_expected_to_run_or_did_not_makes_no_run_slower():
    twin = of_another(cell("d", 20, 20))
    known = expected((BEGUN, [*RUN[1], twin], RUN[2]))
    planned = [*RUN[1], twin]
    both = [cell("a", 10, 10), cell("d", 20, 20)]
    assert known.left(planned, both) == pytest.approx(22 * 3 / 4)
    skipped = journals.cell("2.19.39", "a", {"run": "not-run"}, seconds=0)
    assert known.left(planned, [skipped]) == pytest.approx(22 * 3 / 4)
