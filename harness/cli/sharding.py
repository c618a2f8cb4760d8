"""Shards of a plan: the one that runs here, and the matrix of a CI server for all of them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from harness.cli.declared import options_of
from harness.core.entries import CellEntry
from harness.core.journal import read
from harness.core.plan import Plan
from harness.core.sharding import MOST, Shard, split, units
from harness.core.view import View
from harness.machine.errors import UsageError
from harness.report.text import counted
from harness.run.options import Options, value_in

SHARD = "--shard"
_OF_ONE_MACHINE = {SHARD, "--results", "--jobs"}
"""What may be another for each shard of a run."""


def own_part(options: Options, plan: Plan) -> Plan:
    """Return what of a plan is this run's: its shard, or all of it.

    Raises:
        UsageError: when there are more shards than units, or no durations where they should be.
    """
    shard = options.shard
    if shard is None or not shard.number:
        return plan
    return _parts(options, plan)[shard.number - 1]


def _parts(options: Options, plan: Plan) -> list[Plan]:
    assert options.shard is not None
    most = len(units(plan))
    if options.shard.count > most:
        raise UsageError(
            f"{SHARD} {options.shard}: {options.session} has {counted(most, 'unit')} here, so"
            f" {counted(most, 'shard')} at most"
        )
    return split(plan, options.shard.count, _seconds(options))


def _seconds(options: Options) -> dict[str, float]:
    """Return by id how long cells took in the results that durations are taken from."""
    if options.durations is None:
        return {}
    return {
        entry.id: entry.seconds
        for entry in read(options.durations)
        if isinstance(entry, CellEntry) and entry.seconds
    }


def matrix(planned: Iterable[tuple[Options, Plan]]) -> str:
    """Return the matrix of a CI server as one line of JSON, a job for each shard.

    Args:
        planned: the sessions with their whole plans.

    Raises:
        UsageError: for more jobs than a matrix may have; see also ``own_part``.
    """
    jobs = []
    for options, plan in planned:
        if set(plan.clients) != set(options.clients):
            raise UsageError("--plan github: choose clients by --metaflow, not by nox's own flags")
        parts = _parts(options, plan)
        for number, part in enumerate(parts, 1):
            shard = f"{number}/{len(parts)}"
            words = shlex.join([*_given(options), SHARD, shard])
            jobs.append(
                {
                    "shard": shard,
                    "session": options.session,
                    "clients": " ".join(client.name for client in part.clients),
                    "cells": len(part.cells),
                    "run": f"nox -s {options.session} -- {words}",
                }
            )
    if len(jobs) > MOST:
        raise UsageError(f"--plan github: {len(jobs)} jobs, and a matrix has {MOST} at most")
    return json.dumps({"include": jobs})


def _given(options: Options) -> list[str]:
    """Return what was asked for as words of a line without secrets, but for plan and shard."""
    words: list[str] = []
    for option in options_of(options.session):
        given = value_in(options.given, option.name)
        if given is not None and option.name not in {"--plan", SHARD}:
            words += option.words(options.references.get(option.name) or given)
    return words


def wrong_shards(view: View) -> list[str]:
    """Return a sentence on each shard that is not among runs of which others are.

    And one on shards of different plans.
    """
    # By what their lines have in common, and how many there are: the cuts of each shard's runs.
    found: dict[tuple[str, int], dict[int, set[str]]] = {}
    for run, begun in view.runs.items():
        text = value_in(begun.options, SHARD)
        if text is not None:
            shard = Shard.parse(text)
            line = f"nox -s {begun.session} -- {shlex.join([*_same(begun.options), SHARD])}"
            own = found.setdefault((line, shard.count), {})
            own.setdefault(shard.number, set()).add(view.cuts.get(run, ""))
    missing = [
        f"{SHARD} {number}/{count} is missing: {line} {number}/{count}"
        for (line, count), cuts in found.items()
        for number in range(1, count + 1)
        if number not in cuts
    ]
    return missing + [told for (_, count), cuts in found.items() for told in _differ(count, cuts)]


def _differ(count: int, cuts: Mapping[int, set[str]]) -> Iterator[str]:
    """Yield what is to be said where shards are of different plans, or of one cut otherwise."""
    shards_of: dict[str, list[str]] = {}
    for number in sorted(cuts):
        # Of what an older harness left nobody knows it.
        for cut in cuts[number] - {""}:
            shards_of.setdefault(cut, []).append(f"{number}/{count}")
    if len(shards_of) > 1:
        groups = " and ".join(f"{SHARD} {', '.join(shards)}" for shards in shards_of.values())
        yield (
            f"{groups} are of different plans: cells may be in none of them, or in two; all need"
            " the same --durations, versions.json and backend"
        )


def _same(options: Sequence[str]) -> list[str]:
    """Return the words of a command line that are the same for all shards."""
    words, kept = iter(options), []
    for word in words:
        if word in _OF_ONE_MACHINE:
            next(words, None)
        else:
            kept.append(word)
    return kept
