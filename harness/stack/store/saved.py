"""What an S3 server of a run's own held, as files, and a server that has it again.

``save`` writes down all of a server when its run ends; ``copy`` goes on writing down what lies in
one place, and ``load`` puts it into a server that took the place of a dead one.

Below the folder each object is the file ``BUCKET/KEY``, or ``_unnamed/BUCKET-NUMBER`` where its key
cannot be a path. ``_index.json`` tells which is which, with each object's headers and the endpoint
the server had. It is written last: a folder without it was not saved to the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from harness.catalog import records
from harness.machine.errors import InfraError, UsageError
from harness.machine.processes import HOST, is_free
from harness.stack.store.objects import ObjectStore, ObjectStoreError, S3Root, Saved
from harness.stack.store.server import CREDENTIALS, S3Server

INDEX = "_index.json"
FILE_SCHEMA = 2
"""The version of the index's format: its field ``schema``."""


def save(store: ObjectStore, buckets: Iterable[str], folder: Path) -> None:
    """Write all objects of some buckets to files below a folder that is not there yet.

    Raises:
        ObjectStoreError: when the store refuses or does not answer.
        InfraError: when a file cannot be written.
    """
    try:
        folder.mkdir(parents=True)
        names = sorted(buckets)
        objects = [saved for bucket in names for saved in store.save(S3Root(bucket), folder)]
        _write_index(store, names, objects, folder)
    except OSError as error:
        raise InfraError(f"{folder} cannot be written: {error.strerror}") from error


def copy(store: ObjectStore, root: S3Root, folder: Path) -> None:
    """Write the objects under a place to files below a folder, which may have earlier ones.

    Args:
        store: that has them.
        root: the place.
        folder: where to; what it has already is not read again.

    Raises:
        ObjectStoreError: when the store refuses or does not answer.
        InfraError: when a file cannot be written.
    """
    try:
        before = _read_index(folder).objects if is_copied(folder) else ()
        folder.mkdir(parents=True, exist_ok=True)
        _write_index(store, [root.bucket], store.save(root, folder, before), folder)
    except OSError as error:
        raise InfraError(f"{folder} cannot be written: {error.strerror}") from error


def is_copied(folder: Path) -> bool:
    """Tell whether a folder has objects that were written there."""
    return (folder / INDEX).is_file()


def load(store: ObjectStore, folder: Path) -> None:
    """Put what was written to a folder into a store that has its buckets.

    Raises:
        ObjectStoreError: when the store refuses or does not answer.
        UsageError: when nothing was saved there, or it is not what was written.
        InfraError: when a file is gone.
    """
    # Saved bucket by bucket, so those of one follow each other.
    for bucket, objects in groupby(_read_index(folder).objects, key=itemgetter("bucket")):
        store.load(bucket, folder, list(objects))


def _write_index(
    store: ObjectStore, buckets: Sequence[str], objects: Sequence[Saved], folder: Path
) -> None:
    index = {
        "schema": FILE_SCHEMA,
        "endpoint": store.endpoint,
        "buckets": buckets,
        "objects": objects,
    }
    unfinished = folder / f"{INDEX}.unfinished"
    unfinished.write_text(json.dumps(index, indent=1, ensure_ascii=False), encoding="utf-8")
    unfinished.replace(folder / INDEX)


def serve(
    folder: Path, mark: str, log: Path, host: str = HOST, *, outlives: bool = False
) -> S3Server:
    """Start an S3 server with everything that ``save`` wrote, and return it when all is there.

    It has the port that the saved one had where that is free on ``host``. Nothing of what clients
    record names an endpoint, so another does as well. Its variables are ``server.CREDENTIALS``.

    Args:
        folder: what ``save`` was given.
        mark: what the server's process belongs to.
        log: what it prints.
        host: the address of this machine to listen on; containers reach no 127.0.0.1.
        outlives: whether it may run on when this process has ended.

    Raises:
        UsageError: when nothing was saved there, or it is not what ``save`` wrote.
        InfraError: when the server does not start, or a file is gone.
    """
    index = _read_index(folder)
    port = urlsplit(index.endpoint).port
    known = port if port and is_free(port, host) else None
    server = S3Server(mark, log, host, known, outlives=outlives)
    try:
        server.start()
        store = ObjectStore(server.endpoint, CREDENTIALS)
        for bucket in index.buckets:
            store.make_bucket(bucket)
        load(store, folder)
    except ObjectStoreError as error:
        server.stop()
        raise InfraError(f"the objects in {folder} could not be loaded: {error}") from error
    except BaseException:
        server.stop()
        raise
    return server


class _Index(NamedTuple):
    schema: int
    endpoint: str
    buckets: tuple[str, ...]
    objects: tuple[Saved, ...]


def _read_index(folder: Path) -> _Index:
    path = folder / INDEX
    if not path.is_file():
        raise UsageError(
            f"{folder} holds no saved objects: {INDEX} is missing; a run saves them with --keep"
        )

    def objects(raw: object) -> tuple[Saved, ...]:
        # A run may have stored nothing, and records() refuses an empty list.
        return records.records(f"{path}: objects", raw, _OBJECT, "file", dict) if raw else ()

    fields: records.Fields = {
        "schema": records.schema(FILE_SCHEMA),
        "endpoint": records.text,
        "buckets": records.several(records.text),
        "objects": objects,
    }
    return records.record(str(path), records.read_json(path), fields, _Index)


def _string(raw: object) -> str:
    """Parse a text that may be blank, as keys are."""
    if not isinstance(raw, str):
        raise ValueError("expected a text")  # noqa: TRY004 - Parser
    return raw


_OBJECT: records.Fields = {
    "bucket": records.text,
    "key": _string,
    "etag": records.text,
    "size": records.integer,
    "file": records.text,
    "headers": records.mapping(records.text, lambda raw: raw),
}
