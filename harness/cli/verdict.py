"""What of a whole run turns its session red, beside what its clients' sessions say themselves."""

from __future__ import annotations

from harness.core.outcome import Status
from harness.core.view import View, green, red
from harness.report.summary import gate_line
from harness.run.run import Run


def what_is_wrong(name: str, run: Run, together: bool) -> str:
    """Return what of a run turns its verdict red; empty for nothing.

    Args:
        name: of its session.
        run: the run.
        together: whether its clients ran in the end, and not each in its own session.
    """
    view = run.record.view
    unexpected = f"{name} has unexpected outcomes"
    if all(cell.status is Status.NOT_RUN for cell in view.finished):
        return f"no cell of {name} ran"
    if together and not _green(view):
        closed = gate_line(view) if run.options.gates else ""
        return "; ".join(filter(None, [unexpected, closed, "see above"]))
    # Of a run that went on, what was red before: its client had nothing left to do, maybe.
    if run.options.resumed is not None and any(map(red, view.finished)):
        return f"{unexpected}; see above"
    # What is wrong with a service by itself turns no client red.
    if not all(map(green, view.stages)):
        return "a service by itself is not as expected; see above"
    return ""


def _green(view: View) -> bool:
    return all(map(green, view.finished)) and all(map(green, view.stages))
