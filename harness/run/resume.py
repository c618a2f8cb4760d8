"""Whether a run that was cut short can go on: its journal beside its plan, made anew."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from itertools import islice

from harness.core.axes import CIRCUMSTANCES
from harness.core.entries import PlannedCell
from harness.core.journal import read
from harness.core.plan import Plan
from harness.core.view import View, key_of
from harness.machine.errors import UsageError
from harness.machine.locks import is_alive, lock_path
from harness.report.text import counted
from harness.run.options import Options
from harness.stack.kept_stack import all_kept

_NAMED = 3
"""Cells that a message names, of all it is about."""


def view_before(options: Options, plan: Plan) -> View:
    """Return what the journal of the run says already; nothing for a run that begins.

    Args:
        options: of the run.
        plan: of all of it, made now.

    Raises:
        UsageError: when the run cannot go on, with the reason.
    """
    if options.resumed is None:
        return View()
    run = options.resumed.name
    if is_alive(lock_path(run)):
        raise UsageError(f"--resume {run}: it is still running")
    if any(kept.run == run for kept in all_kept()):
        raise UsageError(
            f"--resume {run}: the stack it kept is in the way: nox -s clean -- {run} removes it"
        )
    view = View(read(options.resumed))
    anew = f"run anew: nox -s {options.session} -- {shlex.join(view.runs[run].options)}"
    planned = view.planned_of(run)
    if not planned:
        raise UsageError(f"--resume {run}: it was cut short before it had a plan; {anew}")
    changes = list(_changes(planned, map(plan.planned, plan.cells)))
    if changes:
        said = "; ".join(islice(changes, _NAMED))
        more = f"; and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
        raise UsageError(
            f"--resume {run}: {counted(len(changes), 'cell')} would not be what was planned:"
            f" {said}{more}; {anew}"
        )
    return view


def _changes(planned: Iterable[PlannedCell], now: Iterable[PlannedCell]) -> Iterator[str]:
    """Yield what is different of each cell that is not what was planned."""
    before, after = ({cell.id: cell for cell in cells} for cells in (planned, now))
    for name in dict.fromkeys([*before, *after]):
        if name not in after:
            yield f"{name} is not there any more"
        elif name not in before:
            yield f"{name} is new"
        elif key_of(before[name]) != key_of(after[name]):
            fields = [*(axis.name for axis in CIRCUMSTANCES), "probe_digest"]
            told = (
                f"{field} was {getattr(before[name], field) or 'none'}"
                f" and is {getattr(after[name], field) or 'none'}"
                for field in fields
                if getattr(before[name], field) != getattr(after[name], field)
            )
            yield f"{name}: {', '.join(told)}"
