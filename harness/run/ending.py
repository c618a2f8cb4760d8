"""What is told of a run when it ends: what stays behind, and what is kept to go on with."""

from __future__ import annotations

from functools import partial

from harness.core.plan import Plan
from harness.machine.errors import refusal
from harness.run.folder import RunFolder
from harness.run.options import Options
from harness.run.record import Record
from harness.run.resume import left_of
from harness.run.saved_stage import remove_saved


def name_what_stays(options: Options, record: Record, flow: str) -> list[str]:
    """Note what was written into a service that somebody else runs; return it as lines.

    Args:
        options: of the run.
        record: of the run.
        flow: name of the one by which services are asked for their contract.
    """
    if options.service_url is None:
        return []
    runs = [run for attempt in record.view.attempts for run in attempt.ended]
    asked = [f"{flow}*"] if record.view.stages else []
    left = ", ".join(dict.fromkeys([*asked, *runs]))
    if not left:
        return []
    told = f"left in it, for no API of a metadata service removes anything: {left}"
    record.note(options.services[0].name, told)
    return [f"{options.service_url}: {told}"]


def keep_saved(options: Options, plan: Plan, record: Record, folder: RunFolder) -> list[str]:
    """Remove what nothing is left to go on with; return a line on what is kept.

    Args:
        options: of the run.
        plan: all of it.
        record: of the run.
        folder: of the run.
    """
    if left_of(options, plan, record.view, folder).cells:
        return [f"kept for --resume: {folder.saved}"] if folder.saved.exists() else []
    return refusal(partial(remove_saved, folder.run, folder.saved))
