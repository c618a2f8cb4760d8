"""Which datastores a run has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.catalog.versions import load
from harness.stack.options import StackOptions
from harness.stack.store.datastore import Datastore, LocalDatastore
from harness.stack.store.s3 import GivenS3, OwnS3
from harness.stack.store.server import OwnServer, S3Server


def choose_datastores(
    options: StackOptions,
    folder: Path,
    environ: Mapping[str, str],
    own: OwnServer | None = None,
) -> dict[str, Datastore]:
    """Return the datastores the options ask for, by name; nothing is started.

    Args:
        options: of the run.
        folder: the run's folder; its name is the run's id.
        environ: holds the user's AWS variables.
        own: the S3 server of the run's own; None for moto, as a process.
    """
    datastores: dict[str, Datastore] = {}
    if "local" in options.datastores:
        datastores["local"] = LocalDatastore()
    if "s3" in options.datastores:
        datastores["s3"] = _s3(options, folder, environ, own)
    return datastores


def _s3(
    options: StackOptions, folder: Path, environ: Mapping[str, str], own: OwnServer | None
) -> OwnS3 | GivenS3:
    catalog = load()
    work, logs = folder / "work", folder / "logs"
    listing = logs / "s3-objects.txt"
    if options.s3_root is None:
        server = own or S3Server(folder.name, logs / "services" / "s3.log")
        return OwnS3(server, needs=catalog.s3_needs, work=work, listing=listing, keep=options.keep)
    return GivenS3(
        options.s3_root,
        folder.name,
        options.s3_endpoint,
        environ,
        needs=catalog.s3_needs,
        work=work,
        listing=listing,
        keep=options.keep,
    )
