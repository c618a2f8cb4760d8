"""Boundaries and islands of a grid are found from few of its cells, and the rest is inferred."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.boundaries import WIDTH, Boundaries, Place, Words, chance_missed, lines

ROWS, COLUMNS = 60, 20
Area = tuple[int, int, int, int]


def failing(*areas: Area) -> Callable[[Place], Words]:
    """Return what comes of cells whose one check fails in these areas, first and last included."""

    def words(place: Place) -> Words:
        row, column = place
        inside = (
            top <= row <= bottom and left <= column <= right for top, bottom, left, right in areas
        )
        return ("fail" if any(inside) else "pass",)

    return words


def search(
    words: Callable[[Place], Words], rows: int = ROWS, columns: int = COLUMNS, **hints: list
) -> tuple[dict[Place, Words], dict[Place, Words]]:
    """Return what ran, and what is inferred."""
    grid = Boundaries(rows, columns, **hints)
    told: dict[Place, Words] = {}
    while needed := grid.read(told).needed:
        assert not needed & told.keys(), "nothing is asked for twice"
        told |= {place: words(place) for place in needed}
    inferred = grid.read(told).inferred
    assert len(told) + len(inferred) == rows * columns
    return told, inferred


def assert_exact(words: Callable[[Place], Words]) -> None:
    _, inferred = search(words)
    assert {place: one for place, one in inferred.items() if words(place) != one} == {}


def places(last: int, least: int) -> st.SearchStrategy[tuple[int, int]]:
    """Return first and last place of stretches at least so long."""
    return st.integers(0, last + 1 - least).flatmap(
        lambda first: st.integers(first + least - 1, last).map(lambda end: (first, end))
    )


@given(rows=places(ROWS - 1, 1), columns=places(COLUMNS - 1, 1), which=st.booleans())
@settings(max_examples=60, deadline=None)
def test_an_island_over_a_whole_axis_is_found_however_narrow_it_is(rows, columns, which):
    whole = (0, ROWS - 1), (0, COLUMNS - 1)
    area = (*rows, *whole[1]) if which else (*whole[0], *columns)
    assert_exact(failing(area))


@pytest.mark.parametrize("rows", [True, False])
@given(stretch=places(ROWS - 1, WIDTH))
@settings(max_examples=40, deadline=None)
def test_of_one_line_every_third_place_runs_and_what_lies_around_a_change(rows, stretch):
    one = failing((*stretch, 0, 0) if rows else (0, 0, *stretch))
    ran, inferred = search(one, *((ROWS, 1) if rows else (1, ROWS)))
    assert {place: words for place, words in inferred.items() if one(place) != words} == {}
    # Both ends of the island are found by halves of what is between two that ran.
    assert len(ran) <= ROWS // WIDTH + 2 + 2 * 2


@given(
    rows=st.one_of(places(ROWS - 1, ROWS // 2 + 1), places(ROWS - 1, WIDTH)),
    columns=places(COLUMNS - 1, COLUMNS // 2 + 1),
)
@settings(max_examples=60, deadline=None)
def test_an_island_of_three_clients_over_half_of_the_services_is_found(rows, columns):
    assert_exact(failing((*rows, *columns)))


@given(rows=places(ROWS - 1, ROWS // 2 + 1), columns=places(COLUMNS - 1, WIDTH))
@settings(max_examples=60, deadline=None)
def test_an_island_of_three_services_over_half_of_the_clients_is_found(rows, columns):
    assert_exact(failing((*rows, *columns)))


@given(
    row=st.integers(0, ROWS - 1),
    column=st.integers(0, COLUMNS - 1),
    older=st.booleans(),
    newer=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_corner_of_both_axes_is_found_however_small_it_is(row, column, older, newer):
    rows = (0, row) if older else (row, ROWS - 1)
    columns = (0, column) if newer else (column, COLUMNS - 1)
    assert_exact(failing((*rows, *columns)))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3), (4, 7)])
def test_grids_of_every_size_are_searched(rows, columns):
    told, inferred = search(failing((0, 0, 0, 0)), rows, columns)
    assert told[0, 0] == ("fail",)
    assert set(inferred.values()) <= {("pass",)}


def test_a_grid_without_a_boundary_takes_one_cell_a_client_and_few_more():
    told, _ = search(failing(), 267, 45)
    assert len({row for row, _ in told}) == 267
    assert len({column for _, column in told}) == 45
    assert len(told) == 315


def test_checks_are_told_apart():
    one, other = failing((10, 59, 0, 19)), failing((0, 59, 0, 6))

    def words(place: Place) -> Words:
        return (*one(place), *other(place))

    told, inferred = search(words)
    assert all(words(place) == found for place, found in inferred.items())
    assert len(told) < 200


def test_what_is_known_before_saves_cells():
    words = failing((50, 70, 5, 30))
    without, _ = search(words, 267, 45)
    told, inferred = search(words, 267, 45, row_hints=[50, 71], column_hints=[5, 31])
    assert all(words(place) == found for place, found in inferred.items())
    assert len(told) < len(without)


def test_an_island_between_lines_is_found_where_a_cell_in_it_ran():
    words = failing((10, 14, 3, 7))
    _, inferred = search(words)
    assert any(words(place) != found for place, found in inferred.items()), "it cannot be seen"
    told, inferred = search(words, early=[(12, 5)])
    assert told[12, 5] == ("fail",)
    assert all(words(place) == found for place, found in inferred.items())


def test_a_row_and_a_column_that_ran_are_lines_like_others():
    words = failing((10, 14, 3, 7))
    told, _ = search(words)
    told |= {(12, column): words((12, column)) for column in range(COLUMNS)}
    told |= {(row, 5): words((row, 5)) for row in range(ROWS)}
    grid = Boundaries(ROWS, COLUMNS)
    while needed := grid.read(told, [(12, 5)]).needed:
        told |= {place: words(place) for place in needed}
    inferred = grid.read(told, [(12, 5)]).inferred
    assert all(words(place) == found for place, found in inferred.items())


def test_lines_are_at_both_ends_and_in_the_middle():
    assert [lines(count) for count in (1, 2, 3, 45)] == [(0,), (0, 1), (0, 1, 2), (0, 22, 44)]


def test_the_chance_to_miss_an_island_is_counted():
    assert chance_missed([(0, 0)], 2, 2, 1, 1) == 3 / 4
    assert chance_missed([(1, 1)], 3, 3, 2, 2) == 0
    assert chance_missed([(0, 0)], 3, 3, 2, 2) == 3 / 4
    assert chance_missed([], 2, 2, 5, 5) == 1
