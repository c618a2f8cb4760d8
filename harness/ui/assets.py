"""The UI's built page: a folder, or the zip that is published with the UI's releases."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

from harness.machine.errors import UsageError
from harness.stack.service.git import lay_out

WHERE = (
    "metaflow-ui-VERSION.zip is published with each release of Netflix/metaflow-ui, and `yarn"
    " build` in a clone of it makes the folder build/"
)

_PAGE = "index.html"
_STATIC = "static"


def check_assets(given: Path) -> None:
    """Raise UsageError, saying where to get some, when there are no built assets at a path."""
    if not given.exists():
        raise UsageError(f"--ui-assets {given}: there is no such file or folder; {WHERE}")
    if given.is_dir():
        names = {str(path.relative_to(given)) for path in given.glob("*")}
    else:
        names = _names(given)
    if not {_PAGE, _STATIC} <= {name.split("/")[0] for name in names}:
        inside = given / "build"
        if (inside / _PAGE).exists():
            raise UsageError(f"--ui-assets {given}: the built UI is in its folder: {inside}")
        raise UsageError(
            f"--ui-assets {given}: no built UI: there is no {_PAGE} beside a folder {_STATIC};"
            f" {WHERE}"
        )


def put(given: Path, folder: Path) -> None:
    """Put the assets into a folder that does not exist yet."""
    if given.is_dir():
        shutil.copytree(given, folder)
    else:
        folder.mkdir(parents=True)
        with zipfile.ZipFile(given) as archive:
            archive.extractall(folder)


def with_assets(tree: Path, folder: Path, given: Path) -> Path:
    """Return a copy of a release's files with the assets in it, made once for both.

    The release looks for its page beside its own source, and the tree is shared by runs that want
    other assets, or none.

    Args:
        tree: the release's files, in the cache.
        folder: where in the tree the assets belong.
        given: the assets, checked before.
    """

    def fill(unfinished: Path) -> None:
        shutil.copytree(tree, unfinished, dirs_exist_ok=True)
        target = unfinished / folder
        # The repository has this folder, without a page in it.
        if target.exists():
            shutil.rmtree(target)
        put(given, target)

    return lay_out(f"{tree.name}-ui-{_digest(given)}", fill)


def _names(given: Path) -> set[str]:
    try:
        with zipfile.ZipFile(given) as archive:
            return set(archive.namelist())
    except (zipfile.BadZipFile, OSError) as error:
        raise UsageError(f"--ui-assets {given}: neither a folder nor a zip: {error}") from error


def _digest(given: Path) -> str:
    digest = hashlib.sha256()
    paths = (
        sorted(path for path in given.rglob("*") if path.is_file()) if given.is_dir() else [given]
    )
    for path in paths:
        digest.update(f"{path.relative_to(given)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
