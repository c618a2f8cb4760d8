"""Options as words of a command line, and the line that runs just one cell again. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from harness.cli.declared import options_of
from harness.cli.option import Role
from harness.core.axes import AXES
from harness.core.plan import Cell
from harness.run.options import Options

_SERVICE = "--service"
_UPGRADE = "--postgres-upgrade"
CLIENTS = "--metaflow"
PAIRS = "--pairs"


def carried(
    session: str,
    options: object,
    references: Mapping[str, str],
    *,
    backend: str,
    datastore: str,
) -> list[str]:
    """Return what a line of a session has to hold beside what its cell and the selection say.

    Args:
        session: of the line.
        options: the validated options, which hold each one by its ``attribute``.
        references: what is written in place of a secret, by the name of its option.
        backend: of the run; what only another heeds is refused there.
        datastore: of the cell; what is about another is refused without it.
    """
    words: list[str] = []
    for option in options_of(session):
        heeded = option.backend in {"", backend} and option.datastore in {"", datastore}
        if option.role is not Role.CARRIED or not heeded:
            continue
        value = getattr(options, option.attribute)
        if value != option.default:
            words += option.words(references.get(option.name) or option.write(value))
    return words


def rerun_flags(options: Options, datastore: str) -> list[str]:
    """Return the options beside the selection that a rerun of a cell needs to be the same.

    Args:
        options: of the run.
        datastore: of the cell; options of S3 are refused where there is none.
    """
    return carried(
        options.session, options, options.references, backend=options.backend, datastore=datastore
    )


def rerun_line(cell: Cell, options: Options) -> str:
    """Return the command that runs just this cell again; a cell of a walk needs its stages."""
    flags: list[str] = []
    for axis in AXES:
        if axis.option == CLIENTS and cell.writer is not None:
            roles = filter(None, (cell.writer, cell.client, cell.resumer))
            names = [client.name for client in roles]
            flags += [CLIENTS, ",".join(dict.fromkeys(names)), PAIRS, ":".join(names)]
        elif axis.option == _SERVICE:
            flags += [*_service_flags(cell, options), "--probe", cell.probe.name]
        elif axis.name == "deps" and cell.deps:
            # A file is known by its name, and found by its path; nox may have named a word.
            given = {one.name: one.given for one in options.deps}
            flags += [axis.option, given.get(cell.deps, cell.deps)]
        elif axis.name == "service_deps" and cell.service and cell.service.deps.name:
            flags += [axis.option, cell.service.deps.given]
        elif axis.option and axis.of(cell.point) and (axis.chosen or axis.name in cell.asked):
            moves = axis.name == "postgres" and options.postgres_upgrade
            flags += [_UPGRADE if moves else axis.option, axis.of(cell.point)]
    flags += rerun_flags(options, cell.datastore)
    return f"nox -s {cell.session} -- {shlex.join(flags)}"


def _service_flags(cell: Cell, options: Options) -> list[str]:
    """Return what brings a cell's service up: in a walk, all stages that lead to it."""
    if options.seed is not None:
        chosen = [_SERVICE, options.selection] if options.selection is not None else []
        return ["--seed", str(options.seed), *chosen]
    if options.path:
        # Where the database moves is told by what is named again: a line holds every move.
        last = max([cell.stage, *(step.number for step in options.path if step.moved)])
        upto = [step.service.name for step in options.path[:last]]
        return ["--path", ",".join(upto)]
    if options.service_url is not None:
        # It has the flows of the run whose cell this is.
        return ["--service-url", options.service_url, "--allow-existing"]
    return [_SERVICE, cell.service.name] if cell.service is not None else []
