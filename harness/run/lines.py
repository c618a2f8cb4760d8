"""The line that runs just one cell again."""

from __future__ import annotations

import shlex

from harness.cli.options import Options
from harness.core.axes import AXES
from harness.plan import Cell

_SERVICE = "--service"


def rerun_line(cell: Cell, options: Options) -> str:
    """Return the command that runs just this cell again; a cell of a walk needs its stages."""
    flags: list[str] = []
    for axis in AXES:
        if axis.option == _SERVICE:
            flags += [*_service_flags(cell, options), "--probe", cell.probe.name]
        elif axis.option and axis.of(cell.point):
            flags += [axis.option, axis.of(cell.point)]
    flags += options.rerun_flags(cell.datastore)
    return f"nox -s {cell.session} -- {shlex.join(flags)}"


def _service_flags(cell: Cell, options: Options) -> list[str]:
    """Return what brings a cell's service up: in a walk, all stages that lead to it."""
    if options.seed is not None:
        chosen = [_SERVICE, options.selection] if options.selection is not None else []
        return ["--seed", str(options.seed), *chosen]
    if options.path:
        upto = [step.service.name for step in options.path[: cell.stage]]
        return ["--path", ",".join(upto)]
    return [_SERVICE, cell.service.name] if cell.service is not None else []
