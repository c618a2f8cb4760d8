"""What is asked of an object store, by boto3. Run by the Python of the S3 tool environment.

``python operations.py`` reads one request from standard input, a JSON object with ``operation``
and its arguments, ``endpoint`` (null for Amazon's), ``bucket`` and ``prefix``, and under ``more``
those that not every operation has; it writes one answer to standard output: ``{"result": …}``, or
``{"error": kind, "detail": text}`` with one of the kinds
``credentials``, ``unreachable``, ``missing``, ``forbidden``, ``other``, and ``machine`` where a
file cannot be read or written. Credentials come from where boto3 looks for them, and the detail
never holds what a server or a file said beyond a code.
It imports nothing of the harness.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypedDict

import boto3
from boto3.s3.transfer import TransferConfig
from botocore import exceptions
from botocore.client import BaseClient
from botocore.config import Config

ACCESS_KEY = "metaflow-compat-access-check"

_CHUNK = 1 << 20
# What a client finds at an object beside its bytes; Metaflow's datastore keeps the format there.
_HEADERS = ("ContentType", "ContentEncoding", "Metadata")

# A store that does not answer is found out within seconds; boto3's defaults take minutes.
_PATIENCE = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 2})

_CREDENTIAL_ERRORS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.ProfileNotFound,
    exceptions.TokenRetrievalError,
)
_CONNECTION_ERRORS = (
    exceptions.ConnectionError,
    exceptions.HTTPClientError,
    exceptions.EndpointConnectionError,
)


class Saved(TypedDict):
    """An object that was saved as a file; the file is relative to the folder of all.

    ``etag`` is the store's own mark of what it holds: another one where that was written anew.
    """

    bucket: str
    key: str
    etag: str
    size: int
    file: str
    headers: dict[str, object]


class Request(TypedDict):
    """What is asked, as it comes in."""

    operation: str
    endpoint: str | None
    bucket: str
    prefix: str
    more: dict[str, object]


class Listed(NamedTuple):
    """An object as a store lists it."""

    key: str
    size: int
    etag: str


def objects(s3: BaseClient, bucket: str, prefix: str) -> Iterator[Listed]:
    """Yield every object whose key begins with the prefix."""
    # One answer of S3 lists a thousand objects at most.
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", ()):
            yield Listed(found["Key"], found["Size"], found["ETag"])


def make_bucket(s3: BaseClient, bucket: str, prefix: str) -> None:  # noqa: ARG001 - one signature for all
    """Make the bucket."""
    s3.create_bucket(Bucket=bucket)


def check_access(s3: BaseClient, bucket: str, prefix: str) -> None:
    """List, write and remove under the prefix: a run needs all three.

    Listing comes first: unlike a HEAD of the bucket, its refusal has a code that says why.
    """
    s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    s3.put_object(Bucket=bucket, Key=prefix + ACCESS_KEY, Body=b"")
    s3.delete_object(Bucket=bucket, Key=prefix + ACCESS_KEY)


def list_objects(s3: BaseClient, bucket: str, prefix: str) -> list[dict[str, str | int]]:
    """Return url and size in bytes of every object under the prefix."""
    return [
        {"url": f"s3://{bucket}/{one.key}", "size": one.size} for one in objects(s3, bucket, prefix)
    ]


def texts(s3: BaseClient, bucket: str, prefix: str, pattern: str) -> list[str]:
    """Return the texts of the objects under the prefix whose keys end with a pattern."""
    keys = [one.key for one in objects(s3, bucket, prefix) if fnmatchcase(one.key, f"*/{pattern}")]
    bodies = [s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys]
    return [body.decode("utf-8", "replace") for body in bodies]


def remove(s3: BaseClient, bucket: str, prefix: str) -> int:
    """Remove every object under the prefix, one by one; return how many.

    One by one because the request for many wants a checksum that not every store computes alike.
    """
    keys = [one.key for one in objects(s3, bucket, prefix)]
    for key in keys:
        s3.delete_object(Bucket=bucket, Key=key)
    return len(keys)


def save(s3: BaseClient, bucket: str, prefix: str, folder: str, before: list[Saved]) -> list[Saved]:
    """Write every object under the prefix to a file below the folder, for ``load``.

    What was saved there before, and is the same still, is not read again; nor is it forgotten when
    it is not there: a server may be empty that took the place of another.
    """
    saved = {one["key"]: one for one in before}
    for key, size, etag in objects(s3, bucket, prefix):
        there = saved.get(key)
        if there is not None and there["etag"] == etag:
            continue
        told = s3.get_object(Bucket=bucket, Key=key)
        with _file_of(Path(folder), bucket, key, there) as file:
            shutil.copyfileobj(told["Body"], file, _CHUNK)
            name = str(Path(file.name).relative_to(folder))
        saved[key] = Saved(
            bucket=bucket,
            key=key,
            etag=told["ETag"],
            size=size,
            file=name,
            headers={header: told[header] for header in _HEADERS if told.get(header)},
        )
    return list(saved.values())


def _file_of(folder: Path, bucket: str, key: str, before: Saved | None) -> BinaryIO:
    """Open the file of an object: the one it has already where it was written anew."""
    if before is not None:
        return Path(folder, before["file"]).open("wb")
    return _new_file(folder, bucket, key)


def _new_file(folder: Path, bucket: str, key: str) -> BinaryIO:
    """Make the file of an object: ``BUCKET/KEY`` where that can be, else one with a number.

    A store may have both ``a`` and ``a/b``, and keys that are no path, or a longer one than the
    file system takes. Whether the path can be is found out by making it.
    """
    names = key.split("/")
    if not {"", ".", ".."}.intersection(names):
        path = folder.joinpath(bucket, *names)
        with contextlib.suppress(OSError, ValueError):
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("xb")
    # No bucket's name begins so.
    unnamed = folder / "_unnamed"
    unnamed.mkdir(parents=True, exist_ok=True)
    number = sum(1 for _ in unnamed.iterdir())
    return (unnamed / f"{bucket}-{number}").open("xb")


def load(s3: BaseClient, bucket: str, prefix: str, folder: str, saved: list[Saved]) -> int:  # noqa: ARG001 - prefix: one signature for all
    """Put what ``save`` wrote and returned into the bucket again; return how many there were."""
    in_this_thread = TransferConfig(use_threads=False)
    for one in saved:
        with Path(folder, one["file"]).open("rb") as file:
            s3.upload_fileobj(
                file, bucket, one["key"], ExtraArgs=one["headers"], Config=in_this_thread
            )
    return len(saved)


OPERATIONS: dict[str, Callable[..., object]] = {
    function.__name__: function
    for function in (make_bucket, check_access, list_objects, texts, remove, save, load)
}


def answer(request: Request) -> dict[str, object]:
    """Do what is requested."""
    try:
        s3 = boto3.client("s3", endpoint_url=request["endpoint"], config=_PATIENCE)
        operation = OPERATIONS[request["operation"]]
        more = request["more"]
        return {"result": operation(s3, request["bucket"], request["prefix"], **more)}
    except _CREDENTIAL_ERRORS as error:
        return {"error": "credentials", "detail": type(error).__name__}
    except _CONNECTION_ERRORS as error:
        return {"error": "unreachable", "detail": type(error).__name__}
    except exceptions.ClientError as error:
        return refusal(error)
    except exceptions.BotoCoreError as error:
        return {"error": "other", "detail": type(error).__name__}
    except OSError as error:
        return {"error": "machine", "detail": f"{error.strerror}: {error.filename or 'a file'}"}


def refusal(error: exceptions.ClientError) -> dict[str, object]:
    """Return the answer for what the store itself refused."""
    code = str(error.response.get("Error", {}).get("Code", "no code"))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    kind = {404: "missing", 403: "forbidden", 401: "forbidden"}.get(status, "other")
    return {"error": kind, "detail": f"{error.operation_name} answered {status} {code}"}


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
