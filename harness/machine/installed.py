"""What a virtual environment really is: what is installed in it, and which Python runs there."""

from __future__ import annotations

import email
import functools
import hashlib
import json
import subprocess
from importlib import metadata
from importlib.metadata import PackageMetadata
from pathlib import Path, PurePosixPath
from typing import Any, cast
from uuid import uuid4

from packaging.utils import canonicalize_name

from harness.machine.errors import InfraError

_NOW = uuid4().hex[:8]
"""Stands for what may change without a trace: it is that of no other process."""

_OF_INSTALLERS = {
    *("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"),
    *("uv_cache.json", "uv_build.json"),
}
"""What tells where a package came from, and when, and is none of its contents."""


class Installed(metadata.PathDistribution):
    """A package whose description is not read, and all else once.

    Of importlib's own, whatever is asked has all of it read and taken apart again: for the
    environments of a run that was a tenth of what the harness takes of the processor.
    """

    @property
    def metadata(self) -> PackageMetadata:
        """What stands above the description."""
        return self._head

    @functools.cached_property
    def _head(self) -> PackageMetadata:
        text = self.read_text("METADATA") or self.read_text("PKG-INFO") or ""
        head, _, _ = text.partition("\n\n")
        return cast("PackageMetadata", email.message_from_string(head))


def distributions_in(interpreter: Path) -> list[Installed]:
    """Return what is installed in an environment, read from outside.

    Old Pythons of old clients have no importlib.metadata of their own.
    """
    # Not resolved: the interpreter of an environment is a link to the one it was made from.
    folder = interpreter.parent.parent / "lib"
    kinds = ("dist-info", "egg-info")
    paths = (path for kind in kinds for path in folder.glob(f"python3.*/site-packages/*.{kind}"))
    return [dist for dist in map(Installed, paths) if dist.metadata["Name"]]


def versions_in(interpreter: Path) -> dict[str, str]:
    """Return the versions of what is installed in an environment, by name, in order of names.

    Of what came from elsewhere than an index: ``1.0 (mylib, 1a2b3c4d5e6f)``, with the last part of
    its address and a digest of its contents, for its version may stay when they change.
    """
    found = {
        str(canonicalize_name(dist.metadata["Name"])): _told_version(dist)
        for dist in distributions_in(interpreter)
    }
    # The order of files in a folder is not that of another machine; that of a digest must be.
    return dict(sorted(found.items()))


def url_of(dist: metadata.Distribution) -> str:
    """Return where a package was installed from; empty for an index."""
    return str(_origin(dist).get("url", ""))


# It takes 20 ms, and every cell asks.
@functools.cache
def whole_version(interpreter: Path) -> str:
    """Return all that a Python says of its version: ``3.11.2 (main, May 2 2024, …) [GCC 12.2.0]``.

    Asked, not read: an environment tells the version that it was made with, and runs what has
    been put in its place since; and two builds of one version are not the same.

    Raises:
        InfraError: when it does not run.
    """
    command = [str(interpreter), "-IS", "-c", "import sys; print(sys.version)"]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or ""
        raise InfraError(f"{interpreter} does not run: {error} {said}".strip()) from error
    return " ".join(finished.stdout.split())


def _origin(dist: metadata.Distribution) -> dict[str, Any]:
    """Return what an installer wrote down of where a package came from; nothing for an index."""
    found: dict[str, Any] = json.loads(dist.read_text("direct_url.json") or "{}")
    return found


def _told_version(dist: metadata.Distribution) -> str:
    origin = _origin(dist)
    if not origin:
        return dist.version
    # That of a checkout of ours tells its commit and what was changed.
    folder = PurePosixPath(origin["url"].removesuffix(".whl")).name
    editable = origin.get("dir_info", {}).get("editable", False)
    told = f"editable, as of {_NOW}" if editable else _digest_of(dist)
    return f"{dist.version} ({folder}, {told})"


def _digest_of(dist: metadata.Distribution) -> str:
    """Return a digest of a package's files, as its installer noted them: 12 digits."""
    found = sorted(
        # Those that wheels have no hash of are few.
        f"{path} {path.hash.value if path.hash else _hash(Path(str(dist.locate_file(path))))}"
        for path in dist.files or ()
        # Scripts name the environment they are in; what was compiled follows from the rest.
        if path.parts[0] != ".." and path.suffix != ".pyc" and path.name not in _OF_INSTALLERS
    )
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:12]


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
