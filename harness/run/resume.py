"""Whether a run that was cut short can go on: its journal beside its plan, made anew."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from harness.core.axes import CIRCUMSTANCES
from harness.core.entries import PlannedCell
from harness.core.journal import read
from harness.core.outcome import Status
from harness.core.plan import Plan
from harness.core.view import View, key_of
from harness.machine.errors import UsageError
from harness.machine.locks import is_alive, lock_path
from harness.report.text import counted
from harness.run.folder import RunFolder
from harness.run.options import Options
from harness.run.saved_stage import saved_numbers, why_unsaved
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
    if plan.path and why_unsaved(options):
        raise UsageError(f"--resume {run}: {why_unsaved(options)}: walk again")
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


def left_of(options: Options, plan: Plan, view: View, folder: RunFolder) -> Plan:
    """Return what a run has still to do.

    Args:
        options: of the run.
        plan: of all of it.
        view: of its journal.
        folder: of the run.
    """
    if plan.path:
        # The cells of a walk are what its database is made of: none is done by itself.
        return plan.after(stages_done(plan, view, folder))
    return plan.minus(view.attempts, options.repeat)


def stages_done(plan: Plan, view: View, folder: RunFolder) -> Mapping[str, int]:
    """Return the number of the stage that each walk goes on behind; that of its last if none.

    It is the last that came to its end, and is saved.
    """
    return {walk: _done(plan, view, folder, walk) for walk in plan.walks}


def _done(plan: Plan, view: View, folder: RunFolder, walk: str) -> int:
    ends = {
        one.stage: one.status
        for one in view.stages
        if (one.run, one.walk) == (folder.run, walk) and one.status is not Status.NOT_RUN
    }
    status = {cell.id: cell.status for cell in view.finished}
    later = [cell for cell in plan.cells if cell.walk == walk and cell.stage > max(ends, default=0)]
    # A walk may end before its path does: what was to come is told as not run then.
    over = all(status.get(cell.id) is Status.NOT_RUN for cell in later)
    if ends and over and Status.INFRA not in ends.values():
        return plan.path[-1].number
    done = (number for number, end in ends.items() if end is not Status.INFRA)
    return max({*done} & {*saved_numbers(folder, walk)}, default=0)


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
