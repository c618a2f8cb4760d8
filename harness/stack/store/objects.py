"""Object stores, as the harness asks them: by boto3, which lives in a tool environment."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, TypeVar
from urllib.parse import urlsplit

import msgspec

from harness.core.provenance import digest_of_environment
from harness.machine.errors import InfraError, UsageError
from harness.machine.processes import marked
from harness.machine.tools import tool_python

REQUIREMENTS = ("moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5")
"""A server and boto3. moto's own extra ``server`` brings every AWS service; S3 needs these."""


Saved = dict[str, object]
"""An object that was saved as a file, as ``operations.Saved`` tells of it."""

_OPERATIONS = Path(__file__).with_name("operations.py")

T = TypeVar("T")


class Stored(TypedDict):
    """An object: where it is, ``s3://bucket/key``, and its bytes."""

    url: str
    size: int


@dataclass(frozen=True)
class S3Root:
    """A place in an object store.

    Attributes:
        bucket: the bucket.
        prefix: what keys begin with, without slashes at its ends; may be empty.
    """

    bucket: str
    prefix: str = ""

    @classmethod
    def parse(cls, text: str, option: str) -> S3Root:
        """Read ``s3://bucket/prefix``.

        Raises:
            UsageError: naming ``option``, for anything else.
        """
        scheme, separator, rest = text.partition("://")
        bucket, _, prefix = rest.partition("/")
        if scheme != "s3" or not separator:
            raise UsageError(f"{option} {text}: expected s3://bucket/prefix")
        if not bucket:
            raise UsageError(f"{option} {text}: names no bucket; expected s3://bucket/prefix")
        prefix = prefix.strip("/")
        # Some programs take such names for ways through folders, others for names.
        parts = [bucket, *(prefix.split("/") if prefix else ())]
        if {"", ".", ".."}.intersection(parts):
            raise UsageError(
                f"{option} {text}: expected s3://bucket/prefix without '.', '..', '//'"
            )
        return cls(bucket, prefix)

    def under(self, *names: str) -> S3Root:
        """Return the place ``names`` deeper."""
        return S3Root(self.bucket, "/".join(filter(None, (self.prefix, *names))))

    @property
    def url(self) -> str:
        """``s3://bucket/prefix``, without a slash at the end."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def parse_endpoint(text: str, option: str) -> str:
    """Read the address of an S3-compatible server, ``http://host:port``.

    Raises:
        UsageError: for anything else, and for credentials in it, which are not repeated.
    """
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise UsageError(f"{option}: credentials belong in the AWS variables, not in the address")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"{option} {text}: expected http://host:port or https://host")
    return text.rstrip("/")


class ObjectStoreError(Exception):
    """What an object store, or the way to it, answered instead of what was asked.

    Attributes:
        kind: ``credentials``, ``unreachable``, ``missing``, ``forbidden`` or ``other``.
        detail: a code; holds no credentials.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True)
class ObjectStore:
    """One S3 server and the right to use it.

    Attributes:
        endpoint: its address; None for Amazon's.
        credentials: the AWS variables; kept out of repr.
    """

    endpoint: str | None
    credentials: Mapping[str, str] = field(repr=False)

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket.

        Raises:
            ObjectStoreError: when the store refuses or does not answer, as do the others.
        """
        self._ask("make_bucket", S3Root(bucket), type(None))

    def check_access(self, root: S3Root) -> None:
        """Try to list, write and remove under ``root``."""
        self._ask("check_access", root, type(None))

    def list(self, root: S3Root) -> list[Stored]:
        """Return every object under ``root``."""
        return self._ask("list_objects", root, list[Stored])

    def texts(self, root: S3Root, pattern: str) -> Sequence[str]:
        """Return the texts of the objects under ``root`` whose keys end with a pattern."""
        return self._ask("texts", root, list[str], pattern=pattern)

    def remove(self, root: S3Root) -> int:
        """Remove every object under ``root`` and return how many there were."""
        return self._ask("remove", root, int)

    def save(self, root: S3Root, folder: Path, before: Sequence[Saved] = ()) -> Sequence[Saved]:
        """Write every object under ``root`` to a file below ``folder``.

        Args:
            root: what is saved.
            folder: where to.
            before: what this returned for the same folder the last time: no object that is the
                same still is read again.

        Returns:
            What ``load`` needs.
        """
        return self._ask("save", root, list[Saved], folder=str(folder), before=before)

    def load(self, bucket: str, folder: Path, saved: Sequence[Saved]) -> None:
        """Put into a bucket what ``save`` wrote below ``folder`` and returned."""
        self._ask("load", S3Root(bucket), int, folder=str(folder), saved=saved)

    def _ask(self, operation: str, root: S3Root, result: type[T], **more: object) -> T:
        request = {
            "operation": operation,
            "endpoint": self.endpoint,
            "bucket": root.bucket,
            # With a slash, because another run's prefix may begin like this one.
            "prefix": f"{root.prefix}/" if root.prefix else "",
            "more": more,
        }
        finished = subprocess.run(
            [str(tool_python("s3", REQUIREMENTS)), str(_OPERATIONS)],
            input=json.dumps(request),
            # Nothing else: boto3 heeds many more variables, which clients are not given.
            env=marked(self.credentials),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if finished.returncode:
            last = "\n".join(finished.stderr.splitlines()[-5:])
            raise InfraError(f"the S3 tool broke at {operation}:\n{last}")
        answer = json.loads(finished.stdout)
        if answer.get("error") == "machine":
            raise InfraError(f"the machine: {answer['detail']}")
        if "error" in answer:
            raise ObjectStoreError(answer["error"], answer["detail"])
        return msgspec.convert(answer["result"], result)


# Each cell with data in an object store asks, and it does not change under a run.
@functools.cache
def digest_of_tool() -> str:
    """Return a digest of the tool environment that has the server, and boto3 to list any.

    Raises:
        InfraError: when it cannot be made.
    """
    return digest_of_environment(tool_python("s3", REQUIREMENTS))
