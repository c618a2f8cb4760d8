"""Reading a clone of a repository, of the service's or of Metaflow's, which is never changed.

What is taken from it is laid out once, in a cache of the project's own (``.nox/checkouts``).
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from harness.machine.errors import UsageError
from harness.machine.tools import ROOT

CHECKOUTS = ROOT / ".nox" / "checkouts"
"""Where refs are laid out, one folder each, and where repositories given as URL are kept."""

HEAD = "HEAD"

_SHORT = 7
# scp's way of naming a repository: user@host:path. A path with a colon is ./host:path.
_SCP_LIKE = re.compile(r"[\w.-]+@[\w.-]+:.+")
# Set by git for its own hooks, these would point git at another repository.
_MISLEADING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")


class Source(Protocol):
    """One state of the repository's files."""

    @property
    def commit(self) -> str:
        """The full id of the commit that it is, or is based on."""

    @property
    def files(self) -> frozenset[str]:
        """The paths of all files, from the top folder."""

    def read(self, path: str) -> str | None:
        """Return the text of one file; None when there is no such file."""

    def blobs(self) -> dict[str, str]:
        """Return git's id of the content of each file, by path."""

    def lay_out(self) -> Path:
        """Return a folder that holds the files, made now if it is not there yet."""


@dataclass(frozen=True)
class Clone:
    """A clone of a git repository, bare or with a work tree.

    Attributes:
        given: what the user named it by, without a password or token.
        folder: where git is run.
        work_tree: the top folder of its files; None for a bare one.
        secret: a password or token that was part of the URL; empty for none.
        option: what it was given by, for errors.
    """

    given: str
    folder: Path
    work_tree: Path | None
    secret: str = ""
    option: str = "--checkout"

    def git(self, *arguments: str) -> bytes:
        """Run git in the clone and return its output.

        Raises:
            GitError: when git ends with a failure.
        """
        return _git("-C", str(self.folder), *arguments)

    @functools.cached_property
    def tags(self) -> dict[str, str]:
        """The commit id of each tag."""
        # An annotated tag is an object of its own, and what it stands for comes last.
        fields = "%(refname:strip=2) %(objectname) %(*objectname)"
        listed = self.git("for-each-ref", f"--format={fields}", "refs/tags").decode()
        return {line.split()[0]: line.split()[-1] for line in listed.splitlines()}

    @functools.cached_property
    def branches(self) -> frozenset[str]:
        """The names of all branches, those of remotes as ``origin/NAME``."""
        patterns = ("refs/heads", "refs/remotes")
        listed = self.git("for-each-ref", "--format=%(refname:strip=2)", *patterns)
        return frozenset(listed.decode().split())

    def day(self, commit: str) -> date:
        """Return the day on which a commit was made."""
        return date.fromisoformat(self.git("show", "-s", "--format=%cs", commit).decode().strip())

    def resolve(self, ref: str) -> str | None:
        """Return the commit id of a branch, tag or commit; None when there is none.

        As for ``git switch``, a branch that only ``origin`` has goes by its bare name too.
        """
        for name in (ref, f"origin/{ref}"):
            try:
                commit = self.git(
                    # A ref that begins with a dash is no option, and an annotated tag is followed.
                    *("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
                )
            except GitError:
                continue
            return commit.decode().strip()
        return None

    def at(self, ref: str) -> Source | None:
        """Return the files at a ref; at ``HEAD`` as they lie in the work tree, where there is one.

        Returns:
            None when there is no such ref.
        """
        # To its id at once: a branch may move between two questions.
        commit = self.resolve(ref)
        if commit is None:
            return None
        if ref == HEAD and self.work_tree is not None and self._is_changed():
            return WorkTree(commit, self, self.work_tree)
        return Commit(commit, self)

    def describe_head(self) -> str:
        """Return what HEAD is, in words: ``branch master at 91e44f0, with uncommitted changes``."""
        source = self.at(HEAD)
        assert source is not None
        branch = self.git("rev-parse", "--abbrev-ref", HEAD).decode().strip()
        where = "no branch" if branch == HEAD else f"branch {branch}"
        changes = ", with uncommitted changes" if isinstance(source, WorkTree) else ""
        return f"{where} at {short(source.commit)}{changes}"

    def _is_changed(self) -> bool:
        # With optional locks even asking would rewrite the index.
        return bool(self.git("--no-optional-locks", "status", "--porcelain"))


@dataclass(frozen=True)
class Commit:
    """The files of one commit."""

    commit: str
    clone: Clone

    @functools.cached_property
    def files(self) -> frozenset[str]:
        """The paths of all files, from the top folder."""
        # -z: unasked git quotes names that are not ASCII.
        return _paths(self.clone.git("ls-tree", "-r", "-z", "--name-only", self.commit))

    def blobs(self) -> dict[str, str]:
        """Return git's id of the content of each file, by path."""
        listed = self.clone.git("ls-tree", "-r", "-z", self.commit).split(b"\0")
        lines = (os.fsdecode(line).partition("\t") for line in listed if line)
        return {path: about.split()[2] for about, _, path in lines}

    def read(self, path: str) -> str | None:
        """Return the text of one file; None when there is no such file."""
        if path not in self.files:
            return None
        return self.clone.git("cat-file", "blob", f"{self.commit}:{path}").decode()

    def lay_out(self) -> Path:
        """Return a folder that holds the files, made now if it is not there yet."""

        def fill(folder: Path) -> None:
            # Neither checkout nor worktree: both would write into the clone.
            archive = self.clone.git("archive", "--format=tar", self.commit)
            with tarfile.open(fileobj=io.BytesIO(archive)) as files:
                # The filter lets no name lead out of the folder.
                files.extractall(folder, filter="data")

        return lay_out(self.commit, fill)


@dataclass(frozen=True)
class WorkTree:
    """The files as they lie in the work tree: changed and new ones too, ignored ones not."""

    commit: str
    clone: Clone
    top: Path

    @functools.cached_property
    def files(self) -> frozenset[str]:
        """The paths of all files, from the top folder."""
        listed = self.clone.git(
            # From the top: in a folder further down git lists only what is below it.
            *("-C", str(self.top), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        )
        # A file that was deleted but not committed is listed still.
        return frozenset(path for path in _paths(listed) if (self.top / path).is_file())

    def blobs(self) -> dict[str, str]:
        """Return git's id of the content of each file, by path, as a commit would have it."""
        return {path: _blob((self.top / path).read_bytes()) for path in self.files}

    def read(self, path: str) -> str | None:
        """Return the text of one file; None when there is no such file."""
        if path not in self.files:
            return None
        return (self.top / path).read_text(encoding="utf-8")

    def lay_out(self) -> Path:
        """Return a folder that holds a copy of the files as they are now."""
        digest = hashlib.sha256()
        for path in sorted(self.files):
            # By content, not by time: the same changes are laid out once.
            digest.update(f"{path}\0".encode() + (self.top / path).read_bytes() + b"\0")

        def fill(folder: Path) -> None:
            for path in self.files:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.top / path, folder / path)

        return lay_out(f"{self.commit}-{digest.hexdigest()[:12]}", fill)


def _blob(content: bytes) -> str:
    head = f"blob {len(content)}\0".encode()
    # No secret rests on it: it is how git names contents.
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()


class GitError(Exception):
    """git ended with a failure; the message is its own."""


def open_clone(given: str, option: str = "--checkout") -> Clone:
    """Return the clone at a path, or of a URL, whose repository is fetched into the cache.

    Args:
        given: the path or URL.
        option: what it was given by.

    Raises:
        UsageError: no such folder, no git repository, a URL that cannot be read, no git.
    """
    if "://" in given or _SCP_LIKE.fullmatch(given):
        return _fetch(given, option)
    path = Path(given).expanduser().resolve()
    if not path.is_dir():
        raise UsageError(f"{option} {given}: there is no such folder")
    try:
        bare = _git("-C", str(path), "rev-parse", "--is-bare-repository").decode().strip()
        if bare == "true":
            return Clone(given, path, None, option=option)
        top = _git("-C", str(path), "rev-parse", "--show-toplevel").decode().rstrip("\n")
    except GitError as error:
        raise UsageError(f"{option} {given}: not a git repository: {error}") from error
    return Clone(given, path, Path(top), option=option)


def _fetch(url: str, option: str) -> Clone:
    """Bring a bare repository in the cache up to date with a URL; its URL is stored nowhere."""
    shown, secret = _without_secret(url)
    # A digest, because the URL may hold a token.
    name = hashlib.sha256(url.encode()).hexdigest()[:12]
    folder = CHECKOUTS / "clones" / f"{name}.git"
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        # A fetch does not tell which branch HEAD is.
        head = _git("ls-remote", "--symref", "--", url, HEAD).decode()
        # Two runs side by side may want the same URL at the same time.
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _git("init", "--quiet", "--bare", str(folder))
            refs = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
            # The refspec names the tags; without FETCH_HEAD the URL is written down nowhere.
            fetch = ("fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head")
            _git("-C", str(folder), *fetch, "--", url, *refs)
            if head.startswith("ref: "):
                _git("-C", str(folder), "symbolic-ref", HEAD, head.split()[1])
    except GitError as error:
        # git may repeat the URL in its errors.
        reason = str(error).replace(url, shown)
        if secret:
            reason = reason.replace(secret, "***")
        raise UsageError(f"{option} {shown}: the repository cannot be read: {reason}") from error
    return Clone(shown, folder, None, secret, option)


def holds_secret(given: str) -> bool:
    """Tell whether a URL that names a repository holds a password or token."""
    return bool(_without_secret(given)[1])


def _without_secret(url: str) -> tuple[str, str]:
    """Return the URL as it may be shown, and the password or token it held."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"the URL of a checkout cannot be read: {error}") from error
    place = parts.netloc.rpartition("@")[2]
    if parts.password:
        return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{place}")), parts.password
    # Hosts take a token as the name of the user, with no password or an empty one.
    if parts.username and parts.scheme in {"http", "https"}:
        return urlunsplit(parts._replace(netloc=f"***@{place}")), parts.username
    return url, ""


def short(commit: str) -> str:
    """Return a commit id as people write it."""
    return commit[:_SHORT]


def _git(*arguments: str) -> bytes:
    environment = {name: os.environ[name] for name in os.environ if name not in _MISLEADING}
    # Nobody is there to answer: a password or an unknown host is an error.
    environment |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    # GIT_TERMINAL_PROMPT is git's alone: ssh asks on the terminal by itself.
    environment.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
    try:
        finished = subprocess.run(
            ["git", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise UsageError("a checkout needs git, which is not on PATH") from error
    if finished.returncode:
        said = finished.stderr.decode(errors="replace").strip()
        raise GitError(" / ".join(said.splitlines()[:3]) or f"exit code {finished.returncode}")
    return finished.stdout


def _paths(listed: bytes) -> frozenset[str]:
    return frozenset(os.fsdecode(path) for path in listed.split(b"\0") if path)


def lay_out(name: str, fill: Callable[[Path], None]) -> Path:
    """Return the folder ``name`` of the cache; it appears whole or not at all."""
    folder = CHECKOUTS / name
    if folder.is_dir():
        return folder
    CHECKOUTS.mkdir(parents=True, exist_ok=True)
    # In the cache itself, because a rename is one step only within a file system.
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=CHECKOUTS))
    try:
        fill(unfinished)
        # mkdtemp() makes a folder that only its owner may enter.
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another run was faster
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder
