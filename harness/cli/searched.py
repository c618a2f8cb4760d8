"""What ``bisect`` searches: the releases or commits between two, and the cell of each."""

from __future__ import annotations

import argparse
import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from harness.catalog.interpreters import asked_python, choose_python, find_interpreters
from harness.catalog.releases import Catalog
from harness.cli.declarations.searching import OWN
from harness.cli.option import listed
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.core.bisection import Verdict, line
from harness.core.plan import Cell
from harness.machine.errors import UsageError, nearest
from harness.run.options import Options, value_in
from harness.stack.service.git import Clone, GitError, open_clone, short

CLIENTS, SERVICES = "client", "service"
_OPTION = {CLIENTS: "--metaflow", SERVICES: "--service"}
_CHECKOUT = {CLIENTS: "--metaflow-checkout", SERVICES: "--checkout"}

Parse = Callable[[Sequence[str]], Options]
"""Validates what follows ``--`` of a run of ``compat``."""


@dataclass(frozen=True)
class Searched:
    """What is searched, oldest first.

    Attributes:
        side: ``client`` or ``service``.
        noun: what one of it is called: ``client``, ``service`` or ``commit``.
        history: what each variant came from; see ``Bisection``.
        newer: the verdict of the newer end.
        untestable: by variant, why it is known that it cannot be tested.
        titles: by variant what it is called, where its name does not tell.
        probe: the name of the probe.
        check: the check's name.
        beside: what the other side of each cell is.
        words: what a step is asked for, beside its variant.
    """

    side: str
    noun: str
    history: Mapping[str, tuple[str, ...]]
    newer: Verdict
    untestable: Mapping[str, str]
    titles: Mapping[str, str]
    probe: str
    check: str
    beside: str
    words: tuple[str, ...]

    def command(self, variant: str) -> list[str]:
        """Return the words of the run of a variant's cell."""
        return ["nox", "-s", "compat", "--", _OPTION[self.side], variant, *self.words]

    def title(self, variant: str) -> str:
        """Return what a variant is called."""
        return self.titles.get(variant, variant)


def find_searched(raw: argparse.Namespace, catalog: Catalog, engine: Callable[[], str]) -> Searched:
    """Return what is searched by these options.

    Args:
        raw: the options of ``bisect``, as parsed.
        catalog: what there is to select from.
        engine: describes the Docker engine that answers.

    Raises:
        UsageError: for what cannot be searched: what, where, the nearest valid choice.
    """
    for name, value in (("--check", raw.check), ("--good", raw.good), ("--bad", raw.bad)):
        if value is None:
            raise UsageError(f"{name} is missing; see: nox -s bisect -- --help")
    engine = functools.cache(engine)

    def validate(words: Sequence[str]) -> Options:
        return parse("compat", words, catalog, engine)

    side = _side(raw, catalog)
    other = SERVICES if side == CLIENTS else CLIENTS
    stays = [_OPTION[other], getattr(raw, _OPTION[other].lstrip("-")) or "latest"]
    probe, _ = _asked(raw)
    given = (
        word
        for option in raw.named
        if option.name not in OWN and option.name != "--results"
        for word in option.words(raw.texts[option.name])
    )
    words = [*stays, "--probe", probe, *given]
    ends = _is_release(raw.good, side, catalog) and _is_release(raw.bad, side, catalog)
    find = _releases if ends or getattr(raw, _dest(side)) is None else _commits
    return find(raw, side, words, validate)


def _asked(raw: argparse.Namespace) -> tuple[str, str]:
    """Return the probe and the check."""
    probe, _, check = raw.check.partition("/")
    return probe, check


def _dest(side: str) -> str:
    return _CHECKOUT[side].lstrip("-").replace("-", "_")


def _side(raw: argparse.Namespace, catalog: Catalog) -> str:
    """Return what is searched: what does not stay, or what both ends are."""
    stays = [
        side
        for side, named in ((CLIENTS, raw.metaflow), (SERVICES, raw.service))
        if named is not None
    ]
    if len(stays) > 1:
        raise UsageError("--metaflow and --service both stay: leave out the one that is searched")
    if stays:
        return SERVICES if stays[0] == CLIENTS else CLIENTS
    both = f"{raw.good} and {raw.bad}"
    may_be = [
        side
        for side in (CLIENTS, SERVICES)
        if getattr(raw, _dest(side)) is not None
        or all(_is_release(end, side, catalog) for end in (raw.good, raw.bad))
    ]
    if len(may_be) > 1:
        raise UsageError(
            f"{both} may be clients and services: name what stays, --service or --metaflow"
        )
    if not may_be:
        raise UsageError(
            f"{both} are neither two clients nor two services that are known; commits need"
            " --metaflow-checkout or --checkout"
        )
    return may_be[0]


def _is_release(name: str, side: str, catalog: Catalog) -> bool:
    """Tell whether a name is that of a release, or of a level of the reference service."""
    try:
        wanted = Version(name.removeprefix("reference-"))
    except InvalidVersion:
        return False
    releases = catalog.clients if side == CLIENTS else catalog.services
    return wanted in {one.version for one in releases}


def _releases(raw: argparse.Namespace, side: str, words: list[str], validate: Parse) -> Searched:
    """Return the releases from one to another, in the order of their versions."""
    option = _OPTION[side]

    def names(text: str) -> list[str]:
        options = validate([option, text, *words])
        return [one.name for one in (options.clients if side == CLIENTS else options.services)]

    ends = []
    for end in ("good", "bad"):
        try:
            found = names(getattr(raw, end))
        except UsageError as error:
            # It was read as what a step is asked for.
            raise UsageError(str(error).replace(f"{option}: ", f"--{end}: ", 1)) from error
        if len(found) != 1:
            raise UsageError(f"--{end} {getattr(raw, end)}: {len(found)} {side}s; name one")
        ends += found
    every = names("all")
    good, bad = map(every.index, ends)
    _check_differ(raw, good, bad)
    between = every[min(good, bad) : max(good, bad) + 1]
    cells, untestable = _cells(validate([option, ",".join(between), *words]), side, _asked(raw)[1])
    for end, name in zip(("good", "bad"), ends, strict=True):
        if name in untestable:
            raise UsageError(f"--{end} {name} cannot be tested here: {untestable[name]}")
    return Searched(
        side,
        side,
        line(between),
        Verdict.BAD if good < bad else Verdict.GOOD,
        untestable,
        {},
        *_asked(raw),
        _beside(cells[0], side),
        tuple(words),
    )


def _commits(raw: argparse.Namespace, side: str, words: list[str], validate: Parse) -> Searched:
    """Return the commits of a checkout that lead from one to another."""
    clone = open_clone(getattr(raw, _dest(side)), _CHECKOUT[side])
    good, bad = (_commit(clone, f"--{end}", getattr(raw, end)) for end in ("good", "bad"))
    _check_differ(raw, good, bad)
    newer = Verdict.BAD if _leads_to(clone, good, bad) else Verdict.GOOD
    old, new = (good, bad) if newer is Verdict.BAD else (bad, good)
    if not _leads_to(clone, old, new):
        base = clone.git("merge-base", good, bad).decode().strip()
        raise UsageError(
            f"{_CHECKOUT[side]} {clone.given}: neither of {raw.good} and {raw.bad} leads to the"
            f" other: search from {short(base)}, where they part"
        )
    # Just these two are laid out now; each of the others when its turn comes.
    cells, untestable = _cells(
        validate([_OPTION[side], f"{old},{new}", *words]), side, _asked(raw)[1]
    )
    for name, why in untestable.items():
        raise UsageError(f"{short(name)} cannot be tested here: {why}")
    fields = "--format=%H%x00%P%x00%s"
    told = clone.git("log", "--topo-order", "--reverse", fields, f"{old}..{new}").decode()
    history: dict[str, tuple[str, ...]] = {old: ()}
    titles = {old: short(old)}
    for commit, parents, subject in (one.split("\0") for one in told.splitlines()):
        # What lies before the range was so when the older end was.
        history[commit] = tuple(
            dict.fromkeys(one if one in history else old for one in parents.split())
        )
        titles[commit] = f"{short(commit)} ({subject})"
    beside = _beside(cells[0], side)
    return Searched(side, "commit", history, newer, {}, titles, *_asked(raw), beside, tuple(words))


def _check_differ(raw: argparse.Namespace, good: object, bad: object) -> None:
    if good == bad:
        raise UsageError(f"--good {raw.good} and --bad {raw.bad} are the same: nothing turns")


def _commit(clone: Clone, option: str, ref: str) -> str:
    # Services are tagged v2.4.0, and go by 2.4.0, too.
    commit = clone.resolve(ref) or clone.resolve(f"refs/tags/v{ref}")
    if commit is None:
        close = nearest(ref, (*clone.branches, *clone.tags))
        raise UsageError(f"{option} {ref}: {clone.option} {clone.given} has no such ref{close}")
    return commit


def _leads_to(clone: Clone, old: str, new: str) -> bool:
    try:
        clone.git("merge-base", "--is-ancestor", old, new)
    except GitError:
        return False
    return True


def _cells(options: Options, side: str, check: str) -> tuple[tuple[Cell, ...], dict[str, str]]:
    """Return the cells of all variants, and why some cannot be tested, by variant.

    Raises:
        UsageError: when a variant has several cells, or its probe has no such check.
    """
    pythons = listed(value_in(options.given, "--python"))
    found = find_interpreters()
    why: dict[str, str] = {}
    clients = []
    for client in options.clients:
        for python in pythons or ("",):
            its = asked_python(python, found) if python else choose_python(client, found)
            if isinstance(its, str):
                why[client.name] = its
            minor = "" if isinstance(its, str) else its[0]
            clients += [OnPython(client, minor, bool(python), deps) for deps in options.deps]
    cells = make_plan(options, clients).cells
    known = [one.name for one in cells[0].checks]
    if check not in known:
        probe = cells[0].probe.name
        raise UsageError(
            f"--check {probe}/{check}: {probe} has no such check{nearest(check, known)}"
        )
    (name, count), *_ = Counter(_variant(cell, side) for cell in cells).most_common(1)
    if count > 1:
        others = [cell.id for cell in cells if _variant(cell, side) == name]
        raise UsageError(f"each step is one cell, and these are {count}: {', '.join(others[:3])}")
    for cell in cells:
        (asked,) = (one for one in cell.checks if one.name == check)
        if cell.unsupported(asked):
            why.setdefault(_variant(cell, side), cell.unsupported(asked))
    return cells, why


def _variant(cell: Cell, side: str) -> str:
    return cell.client.name if side == CLIENTS else (cell.service.name if cell.service else "")


def _beside(cell: Cell, side: str) -> str:
    """Return what the other side of the cells is, in words."""
    if side == SERVICES:
        return f"with client {cell.client.name}"
    assert cell.service is not None
    return f"over {cell.service.name}"
