"""A clone is read, laid out once, and never changed."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
from pathlib import Path

import pytest

from harness.machine.errors import UsageError
from harness.stack.service import git as git_module
from harness.stack.service.git import HEAD, Clone, Commit, WorkTree, open_clone
from tests.stack.service import upstream

pytestmark = pytest.mark.usefixtures("_cache")

SERVER = "services/metadata_service/server.py"


def fingerprint(folder: Path) -> str:
    """Everything in a folder, git's own files too."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path}{path.stat().st_mtime_ns}".encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def lay_out(clone: Clone, ref: str) -> Path:
    source = clone.at(ref)
    assert source is not None
    return source.lay_out()


@pytest.mark.parametrize("ref", ["2.0.4", "master", HEAD])
def test_a_ref_is_laid_out_once(clone, ref):
    laid_out = lay_out(clone, ref)
    assert (laid_out / SERVER).is_file()
    (laid_out / "mark").touch()
    assert (lay_out(clone, ref) / "mark").exists()


@pytest.mark.parametrize("changed", [False, True])
def test_the_clone_stays_as_it_is(folder, clone, changed):
    if changed:
        (folder / "new").write_text("uncommitted", encoding="utf-8")
    before = fingerprint(folder)
    lay_out(clone, HEAD)
    lay_out(clone, "2.0.0")
    assert clone.describe_head()
    assert fingerprint(folder) == before


def test_head_holds_what_is_not_committed(folder, clone):
    (folder / "new.py").write_text("new", encoding="utf-8")
    (folder / "ignored").write_text("ignored", encoding="utf-8")
    (folder / SERVER).unlink()
    source = clone.at(HEAD)
    assert isinstance(source, WorkTree)
    assert source.read("new.py") == "new"
    assert source.read(SERVER) is None
    laid_out = source.lay_out()
    assert (laid_out / "new.py").read_text(encoding="utf-8") == "new"
    assert not (laid_out / "ignored").exists()
    assert not (laid_out / SERVER).exists()
    assert clone.describe_head().endswith(", with uncommitted changes")


def test_another_change_is_laid_out_anew(folder, clone):
    (folder / SERVER).write_text("one", encoding="utf-8")
    first = lay_out(clone, HEAD)
    (folder / SERVER).write_text("two", encoding="utf-8")
    assert lay_out(clone, HEAD) != first


def test_head_without_changes_is_its_commit(clone):
    assert isinstance(clone.at(HEAD), Commit)
    branch, _, commit = clone.describe_head().rpartition(" at ")
    assert branch == "branch master"
    assert clone.resolve(HEAD).startswith(commit)


def test_head_of_no_branch(folder, clone):
    upstream.git(folder, "checkout", "--quiet", "v2.3.0")
    assert clone.describe_head().startswith("no branch at ")


def test_a_bare_clone(folder, tmp_path):
    bare = tmp_path / "bare.git"
    upstream.git(folder, "clone", "--quiet", "--bare", ".", str(bare))
    clone = open_clone(str(bare))
    assert clone.work_tree is None
    assert isinstance(clone.at(HEAD), Commit)
    assert clone.tags.keys() == {*upstream.TAGS, upstream.BEFORE}
    assert (lay_out(clone, HEAD) / SERVER).is_file()


def test_a_subfolder_stands_for_its_clone(folder):
    clone = open_clone(str(folder / "services"))
    assert clone.work_tree == folder
    (folder / "new").touch()
    source = clone.at(HEAD)
    assert source is not None
    assert {"new", SERVER} <= source.files


def test_a_url_is_fetched_again_each_time(folder):
    first = open_clone(f"file://{folder}")
    before = first.resolve(HEAD)
    (folder / "new").touch()
    upstream.git(folder, "add", "new")
    upstream.git(folder, "commit", "--quiet", "--message", "new")
    upstream.git(folder, "tag", "v9")
    second = open_clone(f"file://{folder}")
    assert first.folder == second.folder
    assert second.resolve(HEAD) not in (None, before)
    assert "v9" in second.tags
    assert second.describe_head().startswith("branch master at ")


def test_one_run_at_a_time_fetches_a_url(folder, monkeypatch, tmp_path):
    real, alone = git_module._git, []

    def look(*arguments: str) -> bytes:
        if "fetch" in arguments:
            (path,) = (tmp_path / "checkouts" / "clones").glob("*.lock")
            with path.open() as lock, pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone.append(path)
        return real(*arguments)

    monkeypatch.setattr(git_module, "_git", look)
    open_clone(f"file://{folder}")
    assert len(alone) == 1


def test_a_remote_branch_goes_by_its_bare_name(folder, tmp_path):
    upstream.git(folder, "branch", "feature/x", "v2.3.0")
    copy = tmp_path / "copy"
    subprocess.run(["git", "clone", "--quiet", str(folder), str(copy)], check=True)
    clone = open_clone(str(copy))
    assert clone.resolve("feature/x") == clone.resolve("v2.3.0")


def test_no_such_ref(clone):
    assert clone.resolve("absent") is None
    assert clone.at("--help") is None


def test_git_variables_of_a_hook_do_not_mislead(clone, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert clone.resolve("v2.3.0") is not None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("TMP/absent", "--checkout TMP/absent: there is no such folder"),
        (
            "file://TMP/absent.git",
            "--checkout file://TMP/absent.git: the repository cannot be read: ",
        ),
        (
            "https://user:hidden@127.0.0.1:1/repo.git",
            "--checkout https://user:***@127.0.0.1:1/repo.git: the repository cannot be read: ",
        ),
        (
            "https://hidden@127.0.0.1:1/repo.git",
            "--checkout https://***@127.0.0.1:1/repo.git: the repository cannot be read: ",
        ),
        (
            "https://hidden:@127.0.0.1:1/repo.git",
            "--checkout https://***@127.0.0.1:1/repo.git: the repository cannot be read: ",
        ),
        (
            "ssh://git@127.0.0.1:1/repo.git",
            "--checkout ssh://git@127.0.0.1:1/repo.git: the repository cannot be read: ",
        ),
    ],
)
def test_no_repository(tmp_path, given, message):
    with pytest.raises(UsageError) as error:
        open_clone(given.replace("TMP", str(tmp_path)))
    assert str(error.value).startswith(message.replace("TMP", str(tmp_path)))
    assert "hidden" not in str(error.value)


def test_a_folder_that_is_no_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "plain").mkdir()
    with pytest.raises(UsageError, match="not a git repository"):
        open_clone(str(tmp_path / "plain"))


def test_the_password_of_a_url_is_hidden(tmp_path, folder):
    clone = open_clone(f"file://user:hidden@localhost{folder}")
    assert clone.given == f"file://user:***@localhost{folder}"
    assert clone.secret == "hidden"
    stored = [path for path in (tmp_path / "checkouts").rglob("*") if path.is_file()]
    assert stored
    assert not [path for path in stored if b"hidden" in path.read_bytes()]
