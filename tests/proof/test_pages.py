"""A list that is read page by page must be the list, newest first."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from urllib.parse import parse_qs, urlsplit

import pytest

from harness.proof.lists import read_pages
from harness.proof.requests import Exchange
from tests.proof.standin import Answered, serving

Page = tuple[list[int], str]
"""Ids, and where the next page begins."""

ALL = list(range(7))
STORED = {str(one): 100 - one for one in ALL}
"""When each was stored: the first is the newest."""


def lists(page: Callable[[int, int], Page]) -> AbstractContextManager[str]:
    """Serve a list; ``page`` returns what is answered to a size and the place of a beginning."""

    def answer(_: str, path: str) -> Answered:
        asked = parse_qs(urlsplit(path).query)
        numbers, following = ALL, ""
        if asked:
            size, at = (int(asked.get(name, ["0"])[0]) for name in ("_limit", "_cursor"))
            numbers, following = page(size, at)
        body = json.dumps([{"task_id": one} for one in numbers]).encode()
        return 200, body, {"X-Next-Cursor": following} if following else {}

    return serving(answer)


def good(size: int, at: int) -> Page:
    return ALL[at : at + size], str(at + size) if at + size < len(ALL) else ""


def backwards(size: int, at: int) -> Page:
    return ALL[::-1][at : at + size], good(size, at)[1]


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (good, ""),
        # A release that knows no pages.
        (lambda _size, _at: (ALL, ""), ""),
        (
            lambda size, at: (good(size, at)[0][:-1], good(size, at)[1]),
            "has 4 of 7: it lacks ['2', '5', '6'] and has [] too many",
        ),
        (
            lambda size, at: (ALL[max(at - 1, 0) : at + size], good(size, at)[1]),
            "has 9 of 7: it lacks [] and has ['2', '5'] too many",
        ),
        (lambda size, _at: (ALL[:size], "0"), "pages of 3 do not end"),
        (lambda size, _at: (ALL[:size], ""), "has 3 of 7: it lacks ['3', '4', '5', '6']"),
        (lambda size, at: good(size + 1, at), "a page of 3 has 4"),
        (backwards, "not newest first: entry 2 was stored at 95, the one before it at 94"),
    ],
)
def test_pages_are_held_against_the_list(database, page, said):
    with lists(page) as url, closing(database.address.connect()) as connection:
        exchange = Exchange(url, connection, ["F"])
        read_pages(exchange, "/tasks", "task_id", STORED, 3)
    if not said:
        assert exchange.problems == []
        return
    assert said in exchange.problems[0]
    check = "order" if page is backwards else "pages"
    assert exchange.problems[0].startswith(f"{check}: /tasks")


@pytest.mark.parametrize(("page", "paged"), [(good, True), (lambda _size, _at: (ALL, ""), False)])
def test_who_knows_no_pages_is_told_by_the_whole_list(database, page, paged):
    with lists(page) as url, closing(database.address.connect()) as connection:
        assert read_pages(Exchange(url, connection, ["F"]), "/tasks", "task_id", STORED, 3) == paged


def test_a_list_is_held_against_what_was_written(database):
    with lists(good) as url, closing(database.address.connect()) as connection:
        exchange = Exchange(url, connection, ["F"])
        read_pages(exchange, "/tasks", "task_id", {**STORED, "7": 1}, 3)
    (problem,) = exchange.problems
    assert problem == "pages: /tasks, read at once, has 7 of 8: it lacks ['7'] and has [] too many"
