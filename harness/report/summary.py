"""What a journal says, counted and put in a grid. Pure; every report is drawn from this."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from packaging.version import InvalidVersion, Version

from harness.journal import Entry
from harness.outcome import Status, worst
from harness.report.text import counted


def cells(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries of cells, the last one of each id, in the order they first finished.

    Two fields are added where they say something: ``earlier``, what earlier entries of the same
    id came to, as ``{"run", "at", "status"}``, oldest first; and ``flaky``, true for a cell that
    was red once and green when the same was run again.
    """
    entries = list(entries)
    reruns = {run for entry in entries if entry["kind"] == "rerun" for run in entry["runs"]}
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry["kind"] == "cell":
            found.setdefault(entry["id"], []).append(entry)
    return [_last(same, reruns) for same in found.values()]


def _last(same: Sequence[Entry], reruns: set[str]) -> Entry:
    *before, last = same
    if not before:
        return last
    earlier = [{key: entry[key] for key in ("run", "at", "status")} for entry in before]
    return {**last, "earlier": earlier, **({"flaky": True} if _flaky(same, reruns) else {})}


def _flaky(same: Sequence[Entry], reruns: set[str]) -> bool:
    """A later run that is green may be a repaired one: only a rerun of the same says flaky."""
    *before, last = same
    again = last["run"] in reruns or any(entry["run"] == last["run"] for entry in before)
    return again and green(last) and any(red(entry) for entry in before)


def green(entry: Entry) -> bool:
    """Whether a cell, a stage or a check of one is as expected."""
    return Status(entry["status"]).expected


def red(entry: Entry) -> bool:
    """Whether it ran and is not as expected; what did not run is neither green nor red."""
    return not green(entry) and entry["status"] != Status.NOT_RUN.value


def totals(entries: Iterable[Entry]) -> dict[str, int]:
    """Return how many cells have each status, worst first, without the statuses nobody has."""
    counts = Counter(Status(entry["status"]) for entry in cells(entries))
    order = sorted(counts, key=lambda status: (status.expected, status.value))
    return {status.value: counts[status] for status in order}


def flaky_count(entries: Iterable[Entry]) -> int:
    """Return how many cells are flaky; each is also counted under its status."""
    return sum("flaky" in cell for cell in cells(entries))


def totals_line(entries: Sequence[Entry]) -> str:
    """Return the counts in one line: ``2 fail, 118 pass (1 flaky): 120 cells``."""
    counts = totals(entries)
    words = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none ran"
    flaky = flaky_count(entries)
    note = f" ({flaky} flaky)" if flaky else ""
    return f"{words}{note}: {counted(sum(counts.values()), 'cell')}"


def runs(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries that begin a run, each run once."""
    return list({entry["run"]: entry for entry in entries if entry["kind"] == "run"}.values())


def stages(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries of stages, run by run, by number; the last one of each.

    A stage of one run is never replaced by that of another: each walk has a database of its own,
    and what was lost in one is not found again in the next.
    """
    latest = {
        (entry["run"], entry["stage"]): entry for entry in entries if entry["kind"] == "stage"
    }
    order = list(dict.fromkeys(run for run, _ in latest))
    return sorted(latest.values(), key=lambda stage: (order.index(stage["run"]), stage["stage"]))


def incomplete(entries: Sequence[Entry]) -> list[str]:
    """Return a sentence for each run that has fewer cells than it planned, or no end."""
    done: dict[str, set[str]] = {}
    for entry in entries:
        if entry["kind"] == "cell":
            done.setdefault(entry["run"], set()).add(entry["id"])
    ended = {entry["run"] for entry in entries if entry["kind"] == "end"}
    sentences = []
    for run in runs(entries):
        count, planned = len(done.get(run["run"], ())), run.get("planned", 0)
        if count < planned:
            sentences.append(f"run {run['run']} has {count} of {planned} planned cells")
        elif run["run"] not in ended:
            sentences.append(f"run {run['run']} did not come to its end")
    return sentences


def all_green(entries: Sequence[Entry]) -> bool:
    """Whether the journal shows that everything planned ran and is as expected."""
    found = cells(entries)
    judged = any(cell["status"] != Status.UNSUPPORTED.value for cell in found)
    return judged and all(map(green, [*found, *stages(entries)])) and not incomplete(entries)


@dataclass(frozen=True)
class Grid:
    """Clients × services; a square stands for every cell with this client and service.

    Attributes:
        squares: status by (client, service); nothing for what is not in the journal.
        notes: by service what is worth knowing of it and is no failure.
    """

    clients: tuple[str, ...]
    services: tuple[str, ...]
    squares: dict[tuple[str, str], Status]
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)


def grid(entries: Sequence[Entry]) -> Grid:
    """Return the grid of the journal's cells, in the order the run planned them.

    Where several runs were put together, clients and services are in the order of versions.
    """
    found = cells(entries)
    clients = ordered(entries, "clients", (cell["client"] for cell in found))
    services = ordered(entries, "services", (column(cell) for cell in found))
    squares: dict[tuple[str, str], list[Status]] = {}
    for cell in found:
        squares.setdefault((cell["client"], column(cell)), []).append(Status(cell["status"]))
    worst_of = {key: worst(statuses) for key, statuses in squares.items()}
    return Grid(clients, services, worst_of, notes(entries))


def notes(entries: Iterable[Entry]) -> dict[str, tuple[str, ...]]:
    """Return by service what was noted of it, each once."""
    found: dict[str, dict[str, None]] = {}
    for entry in entries:
        if entry["kind"] == "note":
            found.setdefault(entry["service"], {})[entry["text"]] = None
    return {service: tuple(texts) for service, texts in found.items()}


def column(cell: Entry) -> str:
    """Return the name of the grid column a cell belongs to."""
    return cell["service"] or "no service"


def ordered(entries: Iterable[Entry], field: str, found: Iterable[str]) -> tuple[str, ...]:
    """Return the names found, once each, in the order their runs planned them.

    Args:
        entries: the journal.
        field: of the runs' entries: ``clients`` or ``services``.
        found: the names there are cells for.
    """
    seen = dict.fromkeys(found)
    plans = {tuple(run.get(field, ())) for run in runs(entries)}
    planned = [name for plan in plans for name in plan]
    names = [name for name in dict.fromkeys([*planned, *seen]) if name in seen]
    return tuple(sorted(names, key=_version_order) if len(plans) > 1 else names)


def _version_order(name: str) -> tuple[int, str, Version, str]:
    """Released before reference before what has no version (a branch, say)."""
    kind, dash, number = name.rpartition("-")
    try:
        return (int(bool(dash)), kind, Version(number), name)
    except InvalidVersion:
        return (2, "", Version("0"), name)


def causes(cell: Entry) -> dict[str, Entry]:
    """Return the checks of a cell that are not as expected, with their status and reason.

    Checks that did not run because another failed are left to the one that failed.
    """
    wrong = {name: check for name, check in cell["checks"].items() if not green(check)}
    return {name: check for name, check in wrong.items() if red(check)} or wrong


def sentence(cell: Entry) -> list[str]:
    """Return what is wrong with a cell, one sentence for each reason why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, check in causes(cell).items():
        reasons.setdefault((check["status"], check["reason"]), []).append(name)
    return [
        f"client {cell['client']} × {column(cell)}, {cell['datastore']} data, probe"
        f" {cell['probe']}: {', '.join(names)}: {status}: {reason}"
        for (status, reason), names in reasons.items()
    ]


def stage_sentences(stage: Entry) -> list[str]:
    """Return what is wrong with a stage of a walk, in words."""
    where = f"stage {stage['stage']:02d}, {stage['service']}"
    lost = [f"{where}: lost {line}" for line in stage["lost"]]
    return lost + [f"{where}: {line}" for line in stage["problems"]]


def known_sentences(stage: Entry) -> list[str]:
    """Return what fails in a stage of a walk as it is declared to, in words."""
    where = f"stage {stage['stage']:02d}, {stage['service']}"
    # Journals written before stages could be declared have none.
    return [f"{where}: fails as declared: {line}" for line in stage.get("known", ())]


def rollback_lines(stage: Entry) -> list[str]:
    """Return the verdict on rolling back from a stage in a line; below it what makes it unsafe."""
    if stage["rollback"] is None:
        return []
    # Each piece of evidence begins with the service that was asked.
    evidence = [line.partition(": ") for line in stage["rollback_evidence"]]
    to = f" to {evidence[0][0]}" if evidence else ""
    verdict = f"stage {stage['stage']:02d}: rolling back{to} is {stage['rollback']}"
    shown = evidence if stage["rollback"] == "unsafe" else []
    return [verdict, *(f"  {said}" for _, _, said in shown)]
