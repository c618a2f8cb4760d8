"""Where in a bucket of the user's a run stores, written down for who cleans up after it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from harness.machine import locks
from harness.machine.files import write_whole
from harness.stack.store.objects import ObjectStore, S3Root

_SUFFIX = ".s3"


class Noted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The place of a run's objects.

    Attributes:
        bucket: the user's.
        prefix: the run's own.
        endpoint: address of the server; None for Amazon's.
        kept: whether they stay there on purpose, until the run is named.
    """

    bucket: str
    prefix: str
    endpoint: str | None
    kept: bool = False

    @property
    def root(self) -> S3Root:
        """The place."""
        return S3Root(self.bucket, self.prefix)

    def remove(self, credentials: Mapping[str, str]) -> int:
        """Remove every object there; return how many there were.

        Args:
            credentials: the AWS variables, which are noted nowhere.

        Raises:
            ObjectStoreError: when the store refuses or does not answer.
        """
        return ObjectStore(self.endpoint, credentials).remove(self.root)


def note(run: str, root: S3Root, endpoint: str | None, *, kept: bool = False) -> None:
    """Write down where a run stores, or what it kept."""
    path = _path(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, msgspec.json.encode(Noted(root.bucket, root.prefix, endpoint, kept)))


def forget(run: str) -> None:
    """Remove the note of a run that has nothing there any more. Safe to call twice."""
    _path(run).unlink(missing_ok=True)


def all_noted() -> dict[str, Noted]:
    """Return the places of all runs that have something there, by run."""
    return {
        path.stem: msgspec.json.decode(path.read_bytes(), type=Noted)
        for path in sorted(locks.RUNS.glob(f"*{_SUFFIX}"))
    }


def _path(run: str) -> Path:
    return locks.RUNS / f"{run}{_SUFFIX}"
