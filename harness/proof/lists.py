"""Lists of a service against the rows: what is in them, in what order, and what a filter leaves.

An order is held where a release's own query asks for one, and nowhere else: artifacts by attempt,
the latest first (all releases); selected tasks by number (since v2.5.0); what comes in pages newest
first, and the metadata of a task (the default branch after v2.5.1). Other lists come as the
database has their rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from urllib.parse import urlencode

from harness.proof.changes import Row, key_of
from harness.proof.requests import Answer, Exchange, shortened

Identity = tuple[str, tuple[str, ...]]
"""Of an entry: its table and its key."""

_TOLD = 3
"""Entries of one list that are told one by one."""


def hold(
    exchange: Exchange, check: str, what: str, found: Iterable[str], expected: Iterable[str]
) -> None:
    """Note when a list has not each of what is expected as often, in whatever order."""
    # Of a mapping a counter would take the values for counts.
    has, wanted = Counter(iter(found)), Counter(iter(expected))
    missing, double = wanted - has, has - wanted
    if missing or double:
        lacks, more = (shortened(sorted(one.elements())) for one in (missing, double))
        counts = f"{has.total()} of {wanted.total()}"
        exchange.note(check, f"{what} has {counts}: it lacks {lacks} and has {more} too many")


def hold_times(
    exchange: Exchange, lists: Iterable[tuple[str, str]], told: Mapping[Identity, str]
) -> None:
    """Note where an entry is not said to have been registered when its own row says.

    Nor when its registration was answered: a time that moved in the row, too, is told by that.

    Args:
        exchange: what asks.
        lists: table and path of each list, or of one entry.
        told: the time that the registration of an entry was answered with, where it is known.
    """
    rows = exchange.rows()
    for table, path in lists:
        stored = {key_of(table, row): row["ts_epoch"] for row in rows[table]}
        found = exchange.ask("GET", path).objects
        wrong: list[str] = []
        for entry in found:
            key, time = key_of(table, entry), str(entry.get("ts_epoch"))
            if exchange.sees_rows and time != (row := str(stored.get(key))):
                wrong.append(f"{' '.join(key)} tells {time}, stored is {row}")
            elif time != (answered := told.get((table, key), time)):
                wrong.append(f"{' '.join(key)} tells {time}, when registered it told {answered}")
        if not found:
            exchange.note("times", f"GET {path} tells no time")
        elif wrong:
            more = f", and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
            exchange.note("times", f"GET {path}: {'; '.join(wrong[:_TOLD])}{more}")


def hold_attempts(exchange: Exchange, path: str) -> None:
    """Note when in a list of artifacts those of later attempts do not come first."""
    attempts = [one.get("attempt_id") for one in exchange.ask("GET", path).objects]
    if not _falls(attempts):
        told = shortened(list(map(str, dict.fromkeys(attempts))))
        exchange.note("order", f"GET {path}: later attempts do not come first: {told}")


def hold_newest_first(
    exchange: Exchange, what: str, keys: Sequence[str], stored: Mapping[str, int]
) -> None:
    """Note when entries do not come newest first, by the times of their rows.

    Args:
        exchange: what asks.
        what: the list, as a problem tells it.
        keys: of the entries, in the order of the answer.
        stored: the time of each row, by its key.
    """
    times = [stored[key] for key in keys if key in stored]
    for place, (one, following) in enumerate(pairwise(times)):
        if following > one:
            told = f"entry {place + 2} was stored at {following}, the one before it at {one}"
            exchange.note("order", f"{what} is not newest first: {told}")
            return


def read_pages(
    exchange: Exchange,
    path: str,
    key: str,
    stored: Mapping[str, int],
    size: int,
) -> bool:
    """Read a list at once and page by page; note when either is not what its rows are.

    A service that knows no pages answers the whole list, and is told by that.

    Args:
        exchange: what asks.
        path: of the list.
        key: the field that tells its objects apart.
        stored: the time of each row of the list, by its key.
        size: how many objects a page may have; fewer than there are.

    Returns:
        Whether it came in pages.
    """
    whole = [str(one.get(key)) for one in exchange.ask("GET", path).objects]
    if exchange.sees_rows:
        hold(exchange, "pages", f"{path}, read at once,", whole, stored)
    pages: list[list[str]] = []
    cursor = ""
    for _ in range(len(whole) + 1):
        answer = exchange.ask("GET", f"{path}?{urlencode({'_limit': size, **_at(cursor)})}")
        if not answer.ok:
            exchange.note("pages", f"a page cannot be read: {answer}")
            return True
        pages.append([str(one.get(key)) for one in answer.objects])
        cursor = answer.next_page
        if not cursor:
            break
    if cursor:
        exchange.note("pages", f"{path}: its pages of {size} do not end")
    found = [one for page in pages for one in page]
    hold(exchange, "pages", f"{path}, in pages of {size},", found, whole)
    paged = len(pages) > 1
    if paged:
        largest = max(map(len, pages))
        if largest > size:
            exchange.note("pages", f"{path}: a page of {size} has {largest}")
        hold_newest_first(exchange, f"{path}, in pages of {size},", found, stored)
    return paged


def hold_filter(
    exchange: Exchange, path: str, query: Mapping[str, object], key: str, expected: Iterable[object]
) -> None:
    """Note when a filter does not leave exactly the entries it is to leave."""
    asked = f"{path}?{urlencode(query)}"
    answer = exchange.ask("GET", asked)
    found = [str(one.get(key)) for one in answer.objects]
    _hold_left(exchange, asked, answer, found, map(str, expected))


def hold_selected(
    exchange: Exchange, step: str, query: Mapping[str, object], expected: Iterable[int]
) -> None:
    """Note when the tasks selected by their metadata are not exactly these, by number.

    Args:
        exchange: what asks.
        step: path of the step, of a run with a number.
        query: what is asked of the metadata.
        expected: numbers of the tasks.
    """
    asked = f"{step}/filtered_tasks?{urlencode(query)}"
    answer = exchange.ask("GET", asked)
    found = list(map(str, answer.body)) if isinstance(answer.body, list) else []
    _, _, flow, _, run, _, name = step.split("/")
    wanted = [f"{flow}/{run}/{name}/{task}" for task in sorted(expected)]
    _hold_left(exchange, asked, answer, found, wanted)
    if found != wanted and sorted(found) == sorted(wanted):
        exchange.note("order", f"GET {asked}: not by number: {shortened(found)}")


def _hold_left(
    exchange: Exchange, asked: str, answer: Answer, found: Iterable[str], wanted: Iterable[str]
) -> None:
    if answer.ok:
        hold(exchange, "filters", f"GET {asked}", found, wanted)
    else:
        exchange.note("filters", f"a filter is refused: {answer}")


def times_of(rows: Iterable[Row], key: str, **where: object) -> dict[str, int]:
    """Return the time of each row that has these values, by its key."""
    return {
        str(row[key]): int(str(row["ts_epoch"]))
        for row in rows
        if all(str(row[name]) == str(value) for name, value in where.items())
    }


def _falls(values: Sequence[object]) -> bool:
    numbers = [int(str(value)) for value in values if str(value).isdecimal()]
    return len(numbers) == len(values) and all(one >= two for one, two in pairwise(numbers))


def _at(cursor: str) -> dict[str, str]:
    return {"_cursor": cursor} if cursor else {}
