"""Which versions of what a release requires it gets: resolved by uv before any is installed."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from packaging.requirements import Requirement

from harness.machine.errors import InfraError, UsageError, nearest, one_line
from harness.machine.installer import index_trouble
from harness.machine.tools import find_uv, tool_python

RELEASE_DAY = "release-day"
LATEST = "latest"
WORDS = ("pinned", RELEASE_DAY, LATEST)

# pip's users name files of limits so; anything else is a list of what is installed.
_CONSTRAINTS = "constraint"
_OF_CLIENTS = "--deps"
_INCLUDED = re.compile(r"^\s*(?:-r|-c|--requirements?|--constraints?)[\s=]*(\S+)", re.MULTILINE)
_METAFLOW = re.compile(r"^\s*metaflow\b(?![-.])", re.IGNORECASE)
_POSITION = re.compile(r"`([^`]+)` at position (\d+)")
_REQUIRED = re.compile(r"you require ([A-Za-z0-9][\w.-]*)")


@dataclass(frozen=True)
class Dependencies:
    """One answer to which versions of what it requires a release gets.

    Attributes:
        name: ``release-day``, ``latest``, or the name of a file: what ids and grids tell; empty for
            what versions.json pins.
        given: what it was asked for by.
        file: the user's requirements, or constraints; None without.
        digest: of that file and of those that it includes; empty without.
    """

    name: str = ""
    given: str = WORDS[0]
    file: Path | None = None
    digest: str = ""

    def pins(self, pins: Sequence[str]) -> list[str]:
        """Return what is left of pins.

        Where they do not count the packages stay, without their bounds: releases import a
        setuptools that they do not require, for each environment had one.
        """
        return [Requirement(pin).name for pin in pins] if self.name else list(pins)

    def day(self, released: date | None) -> list[str]:
        """Return the flags by which uv sees no file of an index that came after a release's day."""
        if self.name != RELEASE_DAY or released is None:
            return []
        # A date alone would end by the clock of this machine.
        return ["--exclude-newer", f"{released + timedelta(days=1)}T00:00:00Z"]


PINNED = Dependencies()
"""What versions.json pins, and the newest of everything else that was not there before."""


def parse_dependencies(option: str, text: str) -> tuple[Dependencies, ...]:
    """Return what a comma list names: words, and the files of a user.

    Raises:
        UsageError: for a file that cannot be read, or one whose name means something else; for what
            is given twice; without uv, which resolves all but what is pinned.
    """
    found = [_one(option, part.strip()) for part in text.split(",")]
    for one in found:
        if [other.name for other in found].count(one.name) > 1:
            raise UsageError(f"{option} {text}: {one.name or one.given} is given twice")
    if any(one.name for one in found) and find_uv() is None:
        raise UsageError(f'{option} {text} needs uv: python -m pip install "nox[uv]"')
    return tuple(found)


def _one(option: str, text: str) -> Dependencies:
    if text in WORDS:
        return Dependencies("" if text == WORDS[0] else text, text)
    path = Path(text).expanduser()
    known = f"{', '.join(WORDS)} or a file{nearest(text, WORDS)}"
    if not text or not path.exists():
        raise UsageError(f"{option}: {text!r} is not there: {known}")
    # In the parentheses of a session it would be taken for another thing.
    if path.name in WORDS or re.fullmatch(r"[\d.]+", path.name) or set("(),") & set(path.name):
        raise UsageError(f"{option} {text}: give the file a name that means nothing else")
    content = b"\0".join(_contents(option, path.resolve(), set()))
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        # A UI backend reads with a Metaflow of its own, which its --service-deps may limit.
        if option == _OF_CLIENTS and _METAFLOW.match(line) and _CONSTRAINTS in path.name:
            raise UsageError(
                f"{option} {text}, line {number}: {line.strip()}: --metaflow says which client it"
                " is: leave this line out"
            )
    if not re.search(rb"(?m)^\s*[^\s#]", content):
        raise UsageError(f"{option} {text}: the file names no package")
    digest = hashlib.sha256(content).hexdigest()[:12]
    return Dependencies(path.name, text, path.resolve(), digest)


def _contents(option: str, path: Path, seen: set[Path]) -> Iterator[bytes]:
    """Yield what a file holds, and the files that it includes, each once."""
    if path in seen:
        return
    seen.add(path)
    try:
        content = path.read_bytes()
        text = content.decode()
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageError(f"{option} {path}, line {line}: this is no text in UTF-8") from error
    yield content
    for included in _INCLUDED.findall(text):
        if "://" not in included:
            yield from _contents(option, path.parent / included, seen)


def check_file(option: str, deps: Dependencies, interpreters: Sequence[str]) -> None:
    """Resolve a user's file by itself.

    Args:
        option: that names it.
        deps: the file.
        interpreters: the Pythons, of which one has to be able to have it, preferred first.

    Raises:
        UsageError: when it does not parse or resolve for any of them, with the line; why not for
            the first.
        InfraError: when the index cannot be reached.
    """
    refused: list[subprocess.CompletedProcess[str]] = []
    for interpreter in interpreters:
        finished = _compile((), Path(interpreter), deps, None, ())
        if not finished.returncode:
            return
        if trouble := index_trouble(finished.stderr):
            raise InfraError(f"{option} {deps.given}: {trouble}")
        refused.append(finished)
    finished = refused[0]
    assert deps.file is not None
    raise UsageError(
        f"{option} {deps.given}{_where(deps.file, finished.stderr)}: {_said(finished)}"
    )


def resolve(
    requirements: Sequence[str],
    interpreter: Path,
    deps: Dependencies,
    released: date | None,
    *,
    fixed: Sequence[str] = (),
) -> list[str]:
    """Return what is to be installed as the lines of a requirements file; the same for the same.

    Each package has its version. Where a file of the user names an index, the lines do, too.

    Args:
        requirements: what is asked for, as pip takes it.
        interpreter: the Python it is for.
        deps: which versions.
        released: when the release that needs them was published.
        fixed: those of the requirements that a user's file does not replace.

    Raises:
        InfraError: when there is no such set, in uv's words.
    """
    finished = _compile(requirements, interpreter, deps, released, fixed)
    if finished.returncode:
        why = index_trouble(finished.stderr) or _said(finished)
        raise InfraError(f"{deps.given}: {why}")
    return [line for line in finished.stdout.splitlines() if line.strip()]


def resolved_tool(
    name: str,
    requirements: Sequence[str],
    interpreters: Sequence[str],
    deps: Dependencies,
    released: date | None,
    *,
    fixed: Sequence[str] = (),
) -> Path:
    """Return the Python of a tool environment with what is resolved.

    Args:
        name: a word for its folder.
        requirements: what is asked for.
        interpreters: to base it on, preferred first: what was released long ago may have nothing
            for a new one.
        deps: which versions.
        released: when the release that needs them was published.
        fixed: those of the requirements that a user's file does not replace.

    Raises:
        InfraError: when it can be made with none of them; why not with the first.
    """
    why: list[InfraError] = []
    for interpreter in interpreters:
        try:
            lines = resolve(requirements, Path(interpreter), deps, released, fixed=fixed)
            packages = packages_in(lines)
            others = [word for line in lines if line not in packages for word in line.split(" ", 1)]
            flags = [*deps.day(released), *others]
            return tool_python(name, packages, interpreter, flags)
        except InfraError as error:
            why.append(error)
    raise why[0]


def packages_in(lines: Iterable[str]) -> list[str]:
    """Return the lines that name packages; others name an index, which may hold a secret."""
    return [line for line in lines if not line.startswith("-")]


def _compile(
    requirements: Sequence[str],
    interpreter: Path,
    deps: Dependencies,
    released: date | None,
    fixed: Sequence[str],
) -> subprocess.CompletedProcess[str]:
    uv = find_uv()
    assert uv is not None, "looked for when the option was read"
    own: list[str] = []
    if deps.file is not None:
        constrains = ["--constraints"] if _CONSTRAINTS in deps.file.name else []
        own = [*constrains, str(deps.file), "--emit-index-url", "--emit-find-links"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as overrides:
        overrides.write("\n".join(fixed))
        overrides.flush()
        return subprocess.run(
            [
                *(uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate"),
                *("--python", str(interpreter), "--overrides", overrides.name),
                *(*deps.day(released), "-", *own),
            ],
            input="\n".join(requirements),
            capture_output=True,
            text=True,
            check=False,
        )


def _said(finished: subprocess.CompletedProcess[str]) -> str:
    """Return uv's words in one line, without what points at a place below another line."""
    lines = [line for line in finished.stderr.splitlines() if not re.fullmatch(r"\s*[\^~]+", line)]
    text = re.sub(r"^error: ", "", "\n".join(lines))
    return one_line(re.sub(r"\n *cause: ", ": ", text))


def _where(path: Path, said: str) -> str:
    """Return the lines that uv speaks of, as the rest of a name; empty where none is known."""
    # uv breaks its lines where a terminal would end.
    said, text = one_line(said), path.read_text("utf-8")
    # Of files that include each other the last is where it is.
    for name, position in reversed(_POSITION.findall(said)):
        # uv names what is below the folder it runs in by its place there.
        file = Path(name).resolve()
        if file.is_file():
            line = file.read_bytes()[: int(position)].count(b"\n") + 1
            return f"{'' if file == path else f', {name}'}, line {line}"
    if match := re.search(r":(\d+):\d+$", said):
        return f", line {match[1]}"
    named = {name.lower() for name in _REQUIRED.findall(said)}
    lines = [
        str(number)
        for number, line in enumerate(text.splitlines(), 1)
        if (match := re.match(r"\s*([A-Za-z0-9][\w.-]*)", line)) and match[1].lower() in named
    ]
    return f", line{'s' if len(lines) > 1 else ''} {' and '.join(lines)}" if lines else ""
