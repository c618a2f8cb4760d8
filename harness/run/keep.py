"""What ``--keep`` leaves of a run's stacks: the last one, and how to find it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace

from harness.run.folder import RunFolder
from harness.run.options import Options
from harness.stack.backend import Backend
from harness.stack.kept_stack import Kept
from harness.stack.stacks import Last, Stacks


def leave_stack(
    backend: Backend, stacks: Stacks, folder: RunFolder, options: Options, *, cancelled: bool
) -> list[str]:
    """Stop what is not kept, and write down what is; return lines on it.

    Args:
        backend: where the parts come from.
        stacks: what was started.
        folder: of the run.
        options: of the run.
        cancelled: whether it was interrupted.

    Raises:
        InfraError: when something could not be stopped.
    """
    last = stacks.last
    running = last.running if last and backend.outlives else None
    # What was interrupted has no parts that run any more; its files are as good as others.
    if backend.outlives and (running is None or cancelled):
        last = None
    said = []
    if last is not None and running is not None:
        stacks.stop_others()
        said.append(f"kept: {running.service.name} at {running.url} (METAFLOW_SERVICE_URL)")
    else:
        stacks.stop(keep=last is not None)
    place = last.server.place() if last else None
    if last is not None and place is not None:
        said.append(_write_down(backend, last, place, folder, options))
    return said


def _write_down(
    backend: Backend, last: Last, place: Mapping[str, str], folder: RunFolder, options: Options
) -> str:
    """Write down where the last stack's database is; say how to use and remove it."""
    run, address = folder.run, last.database.address
    root, endpoint = options.s3_root, options.s3_endpoint
    stores = {"s3": {"root": root.under(run).url, "endpoint": endpoint or ""}} if root else {}
    Kept(run, folder.path, backend.name, last.service.name, address, place, stores).write()
    if options.database_password:  # the user's own secret, and known to the user
        address = replace(address, password="PASSWORD")  # noqa: S106 - stands for it
    reach = f" {address.url}" if backend.outlives else ""
    origin = ""
    if not backend.outlives:  # no engine, so the UI comes from a clone, with a page
        clone = options.clone.given if options.clone else "CLONE"
        page = shlex.quote(str(options.ui_assets or "PAGE"))
        origin = f" --checkout {shlex.quote(clone)} --ui-assets {page}"
    return (
        f"kept: the database{reach} as {last.service.name} left it\n"
        f"  look at it with: nox -s ui -- --from {run}{origin}\n"
        f"  remove it with: nox -s clean -- {run}"
    )
