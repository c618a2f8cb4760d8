"""The rounds of ``--strategy boundaries``: which cells come next, by what came of those before.

The first one is run by the sessions of the clients, each of which has a cell in it. nox runs no
session twice: further rounds are run when all of them are through, by the environments they left.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.cli.coming import session_of
from harness.core.gridsearch import GridSearch, is_judged
from harness.core.outcome import Status
from harness.core.plan import Cell, Plan
from harness.core.view import View
from harness.report.text import counted
from harness.run.inferring import Known, record_inferred
from harness.run.options import Options
from harness.run.run import Run

_SEEDS = 1_000_000
_NOT_THERE = "its client has no environment: what became of that is told by its other cells"


class Rounds:
    """Cells of one run, round by round.

    Args:
        options: of the run.
        plan: all of it.
        before: what its journal says already.
    """

    def __init__(self, options: Options, plan: Plan, before: View) -> None:
        self._options = options
        self._plan = plan
        given = options.verify_seed
        self._seed = secrets.randbelow(_SEEDS) if given is None else given
        # A search that came to its end has verified what it was to.
        through = bool(before.runs) and not before.incomplete
        verify = 0 if through else options.verify
        self._search = GridSearch(plan, Known(options).hints, verify, self._seed)
        self._number = 1
        self._first = {cell.id for cell in self._search.next(before)}

    def first(self, cells: Sequence[Cell]) -> tuple[Cell, ...]:
        """Return those of some cells that run in the first round, one or more of each client."""
        return tuple(cell for cell in cells if cell.id in self._first)

    def finish(self, run: Run, pythons: Mapping[str, Path]) -> None:
        """Run round after round, and infer in the end what did not run.

        Args:
            run: whose first round is through.
            pythons: the interpreters of its clients, by what stands in the parentheses of their
                sessions.

        Raises:
            InfraError: when services cannot be had, or the run is being ended.
        """
        while cells := self._search.next(run.record.view):
            self._number += 1
            clients = {cell.client for cell in cells}
            run.screen.say(
                f"boundaries, round {self._number}: {counted(len(cells), 'cell')} of"
                f" {counted(len(clients), 'client')}"
            )
            ready = [cell for cell in cells if session_of(cell, cell.client) in pythons]
            run.skip([cell for cell in cells if cell not in ready], Status.INFRA, _NOT_THERE)
            left = [
                one
                for cell in ready
                for one in run.reuse([cell], {cell.client: pythons[session_of(cell, cell.client)]})
            ]
            with run.watched():
                run.begin(left, lambda cell: pythons[session_of(cell, cell.client)]).outcomes()
        self._infer(run)

    def _infer(self, run: Run) -> None:
        for one in self._search.infer(run.record.view):
            record_inferred(run.record, self._plan, self._options, one)
        run.record.check_written()
        for line in self._told(run.record.view):
            run.record.note("", line)

    def _told(self, view: View) -> list[str]:
        """Return what the search took, what was verified, and what it may have missed."""
        judged = [one for one in view.finished if is_judged(one)]
        inferred = sum(one.inferred is not None for one in judged)
        ran = f"{len(judged) - inferred} of {counted(len(judged), 'cell')}"
        share = inferred / max(1, len(judged))
        took = f"{ran} ran in {counted(self._number, 'round')}"
        broken = _not_judged(len(view.finished) - len(judged))
        lines = [f"boundaries: {took}, {inferred} inferred: {share:.0%} saved{broken}"]
        if self._options.verify:
            lines.append(self._verified(view))
        chances = dict.fromkeys(filter(None, self._search.chances(view)))
        return lines + [f"chance to have missed an island: {one}" for one in chances]

    def _verified(self, view: View) -> str:
        count, broken = self._search.verified(view)
        wrong = ", ".join(cell.id for cell in self._search.wrong)
        found = f", not as inferred: {wrong}" if wrong else ", all as inferred" if count else ""
        ran = f"{counted(count, 'inferred cell')} ran (--verify-seed {self._seed}){found}"
        return f"verified: {ran}{_not_judged(broken)}"


def _not_judged(count: int) -> str:
    return f"; {count} more could not be judged" if count else ""
