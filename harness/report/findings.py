"""What is wrong, in words and ranges: cells that fail alike are one finding. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from harness.journal import Entry
from harness.outcome import Status
from harness.report.summary import (
    all_green,
    causes,
    cells,
    column,
    green,
    ordered,
    stage_sentences,
    stages,
)
from harness.report.text import counted, plain, shortened

# What several clients do, and what one does.
VERBS = {
    Status.FAIL: ("fail", "fails"),
    Status.TIMEOUT: ("time out", "times out"),
    Status.INFRA: ("could not be judged", "could not be judged"),
    Status.UNEXPECTED_PASS: ("pass unexpectedly", "passes unexpectedly"),
    Status.NOT_RUN: ("did not run", "did not run"),
}
_REFERENCE = "reference-"

# Parts of a reason that differ between cells which fail alike. Status codes of HTTP stay.
_VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?"), "TIME"),
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"0x[0-9a-f]+"), "ADDRESS"),
    (re.compile(r"\[\d+(?:/\w+)*(?: \(pid \d+\))?\]"), "[TASK]"),
    (re.compile(r"\b(pid|task-id) \d+"), r"\1 N"),
    (re.compile(r"(?:/[\w.+-]+)+/(?=[\w.+-])"), "…/"),
    (re.compile(r"\d{4,}"), "N"),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True)
class Finding:
    """Cells that are red, or did not run, for the same reason, as a rectangle of the grid.

    Attributes:
        session: ``compat``, say.
        checks: the checks concerned; more than one when they share their reason.
        reason: of the first cell, in one line.
        signature: equal for findings that are the same failure in several rectangles.
        clients: names, in the grid's order; every one of them is concerned with every service.
        services: names, in the grid's order.
        where: the rectangle in words: ``clients 2.0.5–2.2.13 fail on services ≥ v2.3.0``.
        cells: ids of the cells.
    """

    session: str
    datastore: str
    probe: str
    status: Status
    checks: tuple[str, ...]
    reason: str
    signature: str
    clients: tuple[str, ...]
    services: tuple[str, ...]
    where: str
    cells: tuple[str, ...]

    @property
    def what(self) -> str:
        """Probe and checks: ``basics: tags, logs``."""
        return f"{self.probe}: {', '.join(self.checks)}"

    @property
    def sentence(self) -> str:
        """The finding in words."""
        return f"{self.where}: {self.what}: {self.reason or self.status.value}"


def signature(reason: str, cell: Entry) -> str:
    """Return the reason without what differs between cells that fail alike."""
    text = plain(reason)
    for name, word in (
        (cell.get("flow_run", ""), "RUN"),
        (cell["id"], "CELL"),
        (cell["service"] or "", "SERVICE"),
        (cell["client"], "CLIENT"),
    ):
        # A version is replaced as a whole, never inside of a longer number.
        text = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", word, text) if name else text
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text.strip()


def findings(entries: Sequence[Entry]) -> list[Finding]:
    """Return what is not as expected, the widest first; what did not run comes last.

    Findings with one signature follow each other.
    """
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for cell in cells(entries):
        for (status, signed), checks in _alike(cell).items():
            key = (cell["session"], cell["datastore"], cell["probe"], status, *checks, signed)
            groups.setdefault(key, []).append(cell)
    axes = Axes(entries)
    order = sorted(groups, key=lambda key: (key[3] == Status.NOT_RUN.value, -len(groups[key])))
    result: list[Finding] = []
    for key in order:
        inside = sorted(axes.rectangles(groups[key]), key=len, reverse=True)
        result += [_finding(axes, key, rectangle) for rectangle in inside]
    return result


def _finding(axes: Axes, key: tuple[str, ...], inside: Sequence[Entry]) -> Finding:
    session, datastore, probe, word, *checks, signed = key
    status = Status(word)
    return Finding(
        session,
        datastore,
        probe,
        status,
        tuple(checks),
        reason=shortened(inside[0]["checks"][checks[0]]["reason"]),
        signature="\n".join((word, probe, *checks, signed)),
        clients=tuple(dict.fromkeys(cell["client"] for cell in inside)),
        services=tuple(dict.fromkeys(axes.service(cell) for cell in inside)),
        where=axes.where(inside, *VERBS[status]),
        cells=tuple(cell["id"] for cell in inside),
    )


def by_signature(found: Iterable[Finding]) -> list[list[Finding]]:
    """Return the findings as groups of one signature, in the order of the first of each."""
    groups: dict[str, list[Finding]] = {}
    for finding in found:
        groups.setdefault(finding.signature, []).append(finding)
    return list(groups.values())


def _alike(cell: Entry) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the checks of a cell that are not as expected, by status and signature."""
    groups: dict[tuple[str, str], tuple[str, ...]] = {}
    for name, check in causes(cell).items():
        key = (check["status"], signature(check["reason"], cell))
        groups[key] = (*groups.get(key, ()), name)
    return groups


@dataclass(frozen=True)
class _Sides:
    """Clients, services and datastores of one session, in the grid's order."""

    clients: tuple[str, ...]
    services: tuple[str, ...]
    datastores: frozenset[str]


class Axes:
    """The clients and services of a journal, which ranges are about.

    In a walk that comes back to a service, its stages are services of their own:
    ``reference-2.3 at stage 4``.

    Args:
        entries: the journal.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        by_session: dict[str, list[Entry]] = {}
        for cell in cells(entries):
            by_session.setdefault(cell["session"], []).append(cell)
        self._again = {session: _several_stages(found) for session, found in by_session.items()}
        self.sides = {
            session: _Sides(
                ordered(entries, "clients", (cell["client"] for cell in found)),
                self._services(entries, found),
                frozenset(cell["datastore"] for cell in found),
            )
            for session, found in by_session.items()
        }

    def _services(self, entries: Sequence[Entry], found: Sequence[Entry]) -> tuple[str, ...]:
        services = ordered(entries, "services", (column(cell) for cell in found))
        by_stage = sorted(found, key=lambda c: (c["stage"], services.index(column(c))))
        return tuple(dict.fromkeys(map(self.service, by_stage)))

    def service(self, cell: Entry) -> str:
        """Return the name of a cell's service, with its stage where that is one of several."""
        again = column(cell) in self._again[cell["session"]]
        return f"{column(cell)} at stage {cell['stage']}" if again else column(cell)

    def rectangles(self, chosen: Iterable[Entry]) -> list[list[Entry]]:
        """Cut cells of one session, datastore and probe into rectangles that hold no others.

        Clients that are concerned with the same services make one rectangle. Its cells come
        client by client, within a client service by service.
        """
        by_client: dict[str, dict[str, Entry]] = {}
        for cell in chosen:
            session = cell["session"]
            by_client.setdefault(cell["client"], {})[self.service(cell)] = cell
        sides = self.sides[session]
        groups: dict[tuple[str, ...], list[str]] = {}
        for client in sides.clients:
            if client in by_client:
                key = tuple(name for name in sides.services if name in by_client[client])
                groups.setdefault(key, []).append(client)
        return [
            [by_client[client][name] for client in clients for name in services]
            for services, clients in groups.items()
        ]

    def where(self, inside: Sequence[Entry], verb: str, singular: str = "") -> str:
        """Return a rectangle in words: ``clients 2.0.5–2.2.13 fail on services ≥ v2.3.0``.

        The words name session and datastore where the journal has several.

        Args:
            inside: the cells of the rectangle, of one session and datastore.
            verb: what they do.
            singular: what one does, where the word is another.
        """
        first = inside[0]
        sides = self.sides[first["session"]]
        clients = {cell["client"] for cell in inside}
        words = (
            f"{_clients(sides.clients, clients)} {verb if len(clients) > 1 else singular or verb}"
        )
        if first["service"] is not None:
            words += f" on {_services(sides.services, {self.service(cell) for cell in inside})}"
        if len(sides.datastores) > 1:
            words += f" with {first['datastore']} data"
        return f"{first['session']}: {words}" if len(self.sides) > 1 else words


def _several_stages(found: Iterable[Entry]) -> set[str]:
    stages_of: dict[str, set[int]] = {}
    for cell in found:
        stages_of.setdefault(column(cell), set()).add(cell["stage"])
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
        short = [name.removeprefix(_REFERENCE) for name in order]
        return f"reference {noun} {span(short, {n.removeprefix(_REFERENCE) for n in chosen})}"
    return f"{noun} {span(order, chosen)}"


def _is_reference(name: str) -> bool:
    return name.startswith(_REFERENCE)


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


def stage_findings(entries: Sequence[Entry]) -> list[str]:
    """Return a sentence for each thing that is wrong with a stage."""
    found = stages(entries)
    several = len({stage["run"] for stage in found}) > 1
    sentences = []
    for stage in found:
        wrong = stage_sentences(stage)
        if not green(stage) and not wrong:
            wrong = [f"stage {stage['stage']:02d}, {stage['service']}: {stage['status']}"]
        note = f"run {stage['run']}, " if several else ""
        sentences += [shortened(f"{note}{line}") for line in wrong]
    return sentences


def headline(entries: Sequence[Entry], wrong: Sequence[Finding]) -> str:
    """Return the verdict in one sentence: what is wrong first, by stage or the widest."""
    count = len(cells(entries))
    sentences = [
        *stage_findings(entries),
        *(f"{one.where}: {shortened(one.what, 60)}" for one, *_ in by_signature(wrong)),
    ]
    if sentences:
        more = len(sentences) - 1
        note = f", and {counted(more, 'more finding')}" if more else ""
        return sentences[0][0].upper() + sentences[0][1:] + note
    if not count:
        return "No cell ran: nothing is known"
    if not all_green(entries):
        return f"What ran is as expected, but not everything was judged: {counted(count, 'cell')}"
    return f"Everything is as expected: {counted(count, 'cell')}"
