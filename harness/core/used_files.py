"""What a probe's flow uses of the files beside it, so that a change of one of them is seen.

They are read, never run. A file counts that lies beside the flow, anywhere in ``included``, or in
folders whose names all stand in the text, and

- is a module that an import statement names, anywhere in a file: by its whole path, so that
  ``from metaflow import card`` is nothing of a ``card.py``;
- or has a name that stands in the text;
- or lies below ``metaflow_extensions``, which Metaflow looks through by itself: beside the flow
  always, and elsewhere where the text has that word.

The text is the flow's, and that of every file that counts.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.core.declarations import statements, tree_of
from harness.machine.errors import UsageError

_INCLUDED = "included"
_EXTENSIONS = "metaflow_extensions"
_MODULES = {".py", ".so"}
_DOTTED = re.compile(r"\w+(?:\.\w+)*")


def digest_of(path: Path, content: bytes) -> str:
    """Return the SHA-256 of a flow and of all that it uses of what lies beside it, in hex.

    Args:
        path: of the flow.
        content: of it.

    Raises:
        UsageError: for what lies there and cannot be read.
    """
    digest = hashlib.sha256(content)
    for name, used in sorted(used_files(path, content).items()):
        # NULs keep names and contents apart: no other files come to the same bytes.
        digest.update(b"\0" + os.fsencode(name) + b"\0" + used)
    return digest.hexdigest()


def used_files(path: Path, content: bytes) -> dict[str, bytes]:
    """Return the content of what a flow uses, by the path from the flow's folder.

    Args:
        path: of the flow.
        content: of it.

    Raises:
        UsageError: for what lies there and cannot be read.
    """
    used: dict[str, bytes] = {}
    modules, texts = set(_imported(path, content)), [content]
    at = path.parent
    try:
        # What is found names further ones.
        while new := [
            file
            for file in _entered(path.parent, (), texts, frozenset({path.parent.resolve()}))
            if "/".join(file) not in used and file != (path.name,) and _counts(file, modules, texts)
        ]:
            for file in new:
                name, at = "/".join(file), path.parent.joinpath(*file)
                used[name] = at.read_bytes()
                texts.append(used[name])
                modules |= _imported(at, used[name])
    except OSError as error:
        # What is open already is not named by the error.
        where = error.filename or at
        raise UsageError(
            f"{path}: {where} lies beside it and cannot be read: {error.strerror}"
        ) from error
    return used


def _entered(
    folder: Path, parts: tuple[str, ...], texts: Sequence[bytes], above: frozenset[Path]
) -> Iterator[tuple[str, ...]]:
    """Yield the files of a folder, and of those in it that may count, as the parts of their paths.

    Args:
        folder: the folder.
        parts: of its path.
        texts: what may name the folders in it.
        above: the folders it is in, itself among them: a link to one of them has no end.
    """
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        here = (*parts, entry.name)
        if entry.is_file():
            yield here
            continue
        inner = Path(entry.path).resolve() if entry.is_dir() else None
        wanted = here[0] in (_INCLUDED, _EXTENSIONS) or _named(entry.name, texts)
        if inner and inner not in above and wanted and entry.name != "__pycache__":
            yield from _entered(inner, here, texts, above | {inner})


def _counts(file: Sequence[str], modules: set[str], texts: Sequence[bytes]) -> bool:
    """Tell whether a file is used, by the parts of its path."""
    *folders, name = file
    if _EXTENSIONS in folders and (folders[0] == _EXTENSIONS or _named(_EXTENSIONS, texts)):
        return True
    stem, suffix = name.partition(".")[0], Path(name).suffix
    dotted = folders if stem == "__init__" else [*folders, stem]
    # Any folder on the way may be one where Python looks for modules.
    paths = (".".join(dotted[at:]) for at in range(len(dotted)))
    return _named(name, texts) or (suffix in _MODULES and not modules.isdisjoint(paths))


def _named(name: str, texts: Sequence[bytes]) -> bool:
    # Other letters may stand there as escapes: then it is taken to be named.
    return not name.isascii() or any(name.encode() in text for text in texts)


@functools.cache
def _imported(path: Path, content: bytes) -> frozenset[str]:
    """Return the modules that import statements of a file may mean, packages on the way, too."""
    if path.suffix != ".py":
        return frozenset()
    found: set[str] = set()
    try:
        for node in statements(tree_of(path, content)):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                # What is imported from a package may be a module of it. The dots of a relative
                # import are left out: one of that path counts, wherever it lies.
                inside = [f"{node.module}." if node.module else ""] * len(node.names)
                pairs = zip(inside, node.names, strict=True)
                found.update(package + alias.name for package, alias in pairs)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # Of another Python's grammar: each of its words may be one.
        found.update(_DOTTED.findall(content.decode(errors="replace")))
    words = (name.split(".") for name in found)
    return frozenset(".".join(name[: at + 1]) for name in words for at in range(len(name)))
