"""The paths of the metadata API, and the columns that the parts of a path stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.stack.reference.levels import Level

if TYPE_CHECKING:
    from aiohttp import web

FLOWS = "/flows"
FLOW = "/flows/{flow_id}"
RUNS = FLOW + "/runs"
RUN = RUNS + "/{run}"
STEPS = RUN + "/steps"
STEP = STEPS + "/{step_name}"
TASKS = STEP + "/tasks"
TASK = TASKS + "/{task}"
ARTIFACTS = TASK + "/artifacts"
ARTIFACT = ARTIFACTS + "/{name}"

Columns = dict[str, object]


def columns_of(level: Level, request: web.Request) -> Columns:
    """Return the columns a path fixes; a run or task that is no number is a name from 2.0 on."""
    columns: Columns = {}
    for part, value in request.match_info.items():
        # As translate_run_key() and translate_task_key() of the service do.
        named = level.has_string_ids and not value.isnumeric()
        if part == "run":
            columns["run_id" if named else "run_number"] = value
        elif part == "task":
            columns["task_name" if named else "task_id"] = value
        else:
            columns[part] = value
    return columns


def run_of(columns: Columns) -> Columns:
    """Return of a path's columns those that tell its run."""
    return {key: columns[key] for key in ("flow_id", "run_number", "run_id") if key in columns}
