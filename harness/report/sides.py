"""Rows, columns and pages: where the cells of a view stand in its grids, and ranges. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from harness.core.axes import Axis, Side, on
from harness.core.entries import Begun, CellEntry, StageEntry
from harness.core.view import View
from harness.report.summary import column, place

REFERENCE = "reference-"

Page = tuple[str, ...]
"""A variant of each axis that is neither a grid's rows nor its columns, and what ``page`` says."""

_PAGE = on(Side.PAGE)
_PAGE_WORDS = (*(axis.words for axis in _PAGE), "service {}", "{}")
_ROW = on(Side.ROW, but="client")
_COLUMN = on(Side.COLUMN, but="service")


def page(cell: CellEntry) -> Page:
    """Return the page of its session's grids that a cell stands on.

    Where clients are crossed, service and what is done have pages, as writers have the columns.
    """
    crossed = (cell.service or "", _done(cell)) if cell.writer else ("", "")
    return (*(axis.of(cell) for axis in _PAGE), *crossed)


def _done(cell: CellEntry) -> str:
    return "resuming" if cell.resumer else "reading"


@dataclass(frozen=True)
class Session:
    """The rows, columns and pages of one session's cells, in the grid's order.

    Attributes:
        rows: clients; with their Python where one client ran on several.
        columns: services; with what they stood for where one name stood for several things, and
            with the stage where a walk comes back to one.
        pages: what else there are cells of.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    pages: tuple[Page, ...]

    def page_words(self, one: Page) -> list[str]:
        """Return a page in words: the variants of those axes that the session has several of."""
        return [
            words.format(variant or "unasked")
            for place, (words, variant) in enumerate(zip(_PAGE_WORDS, one, strict=True))
            if len({other[place] for other in self.pages}) > 1
        ]


class Sides:
    """Where every cell of a view stands.

    Args:
        view: the journal.
        cells: those that count; all of them unasked.
    """

    def __init__(self, view: View, cells: Iterable[CellEntry] | None = None) -> None:
        by_session: dict[str, list[CellEntry]] = {}
        for cell in view.cells if cells is None else cells:
            by_session.setdefault(cell.session, []).append(cell)
        self._rows = {name: _several(found, "client", _ROW) for name, found in by_session.items()}
        self._columns = {
            # Of crossed clients the columns are writers, which may be called as a service.
            name: {} if _crossed(found) else _several(found, "service", _COLUMN)
            for name, found in by_session.items()
        }
        self._again = {name: _several_stages(found) for name, found in by_session.items()}
        self.sessions = {name: self._session(view, found) for name, found in by_session.items()}

    def _session(self, view: View, found: Sequence[CellEntry]) -> Session:
        runs = view.runs.values()
        clients = ordered(runs, "clients", (one for cell in found for one in _of_row(cell)))
        names = (column(cell) for cell in found)
        services = ordered(runs, "clients" if _crossed(found) else "services", names)
        row_order = {name: place for place, name in enumerate(clients)}
        order = {name: place for place, name in enumerate(services)}
        by_row = sorted(found, key=lambda cell: [row_order[one] for one in _of_row(cell)])
        by_column = sorted(found, key=lambda cell: (cell.stage, order[column(cell)]))
        return Session(
            tuple(dict.fromkeys(map(self.row, by_row))),
            tuple(dict.fromkeys(map(self.service, by_column))),
            tuple(dict.fromkeys(map(page, found))),
        )

    def row(self, cell: CellEntry) -> str:
        """Return the name of a cell's row."""
        reader = _labelled(cell.client, cell, _ROW, self._rows[cell.session])
        resumer, *read_by = _of_row(cell)
        return f"{resumer} (read by {reader})" if read_by else reader

    def column(self, cell: CellEntry) -> str:
        """Return the name of a cell's service, with what tells it from others of that name."""
        return _labelled(column(cell), cell, _COLUMN, self._columns[cell.session])

    def service(self, cell: CellEntry) -> str:
        """Return the name of a cell's service, with its stage where that is one of several."""
        again = column(cell) in self._again[cell.session]
        return f"{self.column(cell)} at stage {cell.stage}" if again else self.column(cell)

    def rectangles(self, chosen: Iterable[CellEntry]) -> list[list[CellEntry]]:
        """Cut cells of one session, page and probe into rectangles that hold no others.

        Clients that are concerned with the same services make one rectangle. Its cells come
        client by client, within a client service by service.
        """
        # Several in a square: one may be read by others than those who resumed it.
        by_row: dict[str, dict[str, list[CellEntry]]] = {}
        for cell in chosen:
            session = self.sessions[cell.session]
            by_row.setdefault(self.row(cell), {}).setdefault(self.service(cell), []).append(cell)
        order = {name: place for place, name in enumerate(session.columns)}
        groups: dict[tuple[str, ...], list[str]] = {}
        for row in session.rows:
            if row in by_row:
                key = tuple(sorted(by_row[row], key=order.__getitem__))
                groups.setdefault(key, []).append(row)
        return [
            [cell for row in rows for name in columns for cell in by_row[row][name]]
            for columns, rows in groups.items()
        ]

    def where(self, inside: Sequence[CellEntry], verb: str, singular: str = "") -> str:
        """Return a rectangle in words: ``clients 2.0.5–2.2.13 fail on services ≥ v2.3.0``.

        The words name the session, and what else the journal has several of.

        Args:
            inside: the cells of the rectangle, of one session and page.
            verb: what they do.
            singular: what one does, where the word is another.
        """
        first = inside[0]
        session = self.sessions[first.session]
        rows = {self.row(cell) for cell in inside}
        words = f"{_clients(session.rows, rows)} {verb if len(rows) > 1 else singular or verb}"
        if first.writer:
            wrote = {self.service(cell) for cell in inside}
            words += f" {_done(first)} what {_clients(session.columns, wrote)} wrote"
        elif first.service is not None:
            words += f" on {_services(session.columns, {self.service(cell) for cell in inside})}"
        others = [one for one in session.page_words(page(first)) if one != _done(first)]
        words += f" with {', '.join(others)}" if others else ""
        return f"{first.session}: {words}" if len(self.sessions) > 1 else words


def _of_row(cell: CellEntry) -> tuple[str, ...]:
    """Return the client that a cell's row is called by, and the one that reads, if it is another.

    Who resumes makes the row, as what is read of it is mostly read by the same client.
    """
    return tuple(dict.fromkeys(filter(None, (cell.resumer, cell.client))))


def _crossed(found: Sequence[CellEntry]) -> bool:
    return bool(found and found[0].writer)


def _several(found: Iterable[CellEntry], name: str, axes: Iterable[Axis]) -> dict[str, list[Axis]]:
    """Return by name of a client or service what else of its side it has several variants of."""
    seen: dict[tuple[str, Axis], set[str]] = {}
    axes = tuple(axes)
    for cell in found:
        for axis in axes:
            seen.setdefault((getattr(cell, name) or "", axis), set()).add(axis.of(cell))
    several: dict[str, list[Axis]] = {}
    for (one, axis), variants in seen.items():
        if len(variants) > 1:
            several.setdefault(one, []).append(axis)
    return several


def _labelled(
    name: str, cell: CellEntry, axes: Iterable[Axis], several: dict[str, list[Axis]]
) -> str:
    told = [axis for axis in axes if axis in several.get(name, ())]
    words = ", ".join(axis.words.format(axis.of(cell) or "none") for axis in told)
    return f"{name} ({words})" if words else name


def ordered(runs: Iterable[Begun], field: str, found: Iterable[str]) -> tuple[str, ...]:
    """Return the names found, once each, in the order their runs planned them.

    Where several runs were put together, they are in the order of versions.

    Args:
        runs: the runs.
        field: of the runs: ``clients`` or ``services``.
        found: the names there are cells for.
    """
    seen = dict.fromkeys(found)
    plans = {tuple(getattr(run, field)) for run in runs}
    planned = [name for plan in plans for name in plan]
    names = [name for name in dict.fromkeys([*planned, *seen]) if name in seen]
    return tuple(sorted(names, key=_version_order) if len(plans) > 1 else names)


def _version_order(name: str) -> tuple[int, str, Version, str]:
    """Released before reference before what has no version (a branch, say)."""
    # reference-2.3 has a dash before its number, v2.4.0 has none.
    kind, dash, number = name.rpartition("-")
    try:
        return (int(bool(dash)), kind, Version(number), name)
    except InvalidVersion:
        return (2, "", Version("0"), name)


def _several_stages(found: Iterable[CellEntry]) -> set[str]:
    """Return the services that a walk comes back to."""
    stages_of: dict[str, set[int]] = {}
    for cell in found:
        stages_of.setdefault(column(cell), set()).add(cell.stage)
    return {service for service, numbers in stages_of.items() if len(numbers) > 1}


def _clients(order: Sequence[str], chosen: Collection[str]) -> str:
    if len(chosen) == len(order) > 1:
        return f"all {len(order)} clients"
    return f"{'clients' if len(chosen) > 1 else 'client'} {span(order, chosen)}"


def _services(order: Sequence[str], chosen: Collection[str]) -> str:
    if len(chosen) == len(order) > 1:
        kind = "reference services" if all(map(_is_reference, order)) else "services"
        return f"all {len(order)} {kind}"
    noun = "services" if len(chosen) > 1 else "service"
    if all(map(_is_reference, order)):
        short = [name.removeprefix(REFERENCE) for name in order]
        return f"reference {noun} {span(short, {n.removeprefix(REFERENCE) for n in chosen})}"
    return f"{noun} {span(order, chosen)}"


def _is_reference(name: str) -> bool:
    return name.startswith(REFERENCE)


def places(order: Sequence[StageEntry], chosen: Sequence[StageEntry]) -> str:
    """Return stages of one walk in words, or services by themselves: ``stages 02–04``.

    Args:
        order: all there are.
        chosen: those that are told of.
    """
    if len(chosen) == 1:
        return place(chosen[0])
    walk = f" ({chosen[0].walk})" if chosen[0].walk else ""
    if chosen[0].stage:
        numbers, told = ([f"{one.stage:02d}" for one in found] for found in (order, chosen))
        return f"stages {span(numbers, told)}{walk}"
    names, told = ([one.service for one in found] for found in (order, chosen))
    return f"services {span(names, told)}{walk}, by themselves"


def blocks(order: Sequence[str], chosen: Collection[str]) -> list[tuple[str, ...]]:
    """Return the chosen names as runs of neighbours: ``[("2.0.5", "2.1.1"), ("2.5.4",)]``."""
    found: list[tuple[str, ...]] = []
    before = False
    for name in order:
        if name in chosen:
            found[-1:] = [(*found[-1], name)] if before else [*found[-1:], (name,)]
        before = name in chosen
    return found


def span(order: Sequence[str], chosen: Collection[str]) -> str:
    """Return the chosen names as ranges: ``2.0.5–2.2.13, ≥ 2.5.4``."""
    words = []
    for block in blocks(order, chosen):
        if len(block) == 1:
            words.append(block[0])
        elif block[-1] == order[-1]:
            words.append(f"≥ {block[0]}")
        else:
            words.append(f"{block[0]}–{block[-1]}")
    return ", ".join(words)
