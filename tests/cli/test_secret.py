"""A secret is named by where it is, and never repeated."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.catalog.versions import load
from harness.cli.lines import rerun_flags
from harness.cli.options import parse
from harness.cli.parser import build_parser
from harness.machine.errors import UsageError
from tests.stack.service import upstream

CATALOG = load()
OPTION = "--database-password"
LITERAL = ["--database-password", "env:COMPAT_DATABASE_PASSWORD"]


def password(*words: str) -> str | None:
    return parse("compat", words, CATALOG).database_password


def test_a_variable_or_a_file_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MINE", "of the variable")
    assert password(OPTION, "env:MINE") == "of the variable"
    for end in ("", "\n", "\r\n"):
        (tmp_path / "file").write_bytes(f"ünlike others{end}".encode())
        assert password(f"{OPTION}=file:{tmp_path}/file") == "ünlike others"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (b"one\ntwo\n", "it holds a line break or a NUL"),
        (b"one\0two", "it holds a line break or a NUL"),
        (b"\xff", "the file is no text in UTF-8"),
        (None, "the file cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_holds_none_is_one_clear_error(tmp_path: Path, content, problem):
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=f"^{OPTION} file:{file}: {problem}"):
        password(OPTION, f"file:{file}")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "the variable MINE is not set"),
        (b"", "it is empty"),
        (b"one\ntwo", "it holds a line break or a NUL"),
        (b"one\n", "it holds a line break or a NUL"),
        (b"\xff", "it is no text in UTF-8"),
    ],
)
def test_a_variable_that_holds_none_is_one_clear_error(monkeypatch, content, problem):
    monkeypatch.delenv("MINE", raising=False)
    if content is not None:
        monkeypatch.setitem(os.environb, b"MINE", content)
    with pytest.raises(UsageError, match=f"^{OPTION} env:MINE: {problem}"):
        password(OPTION, "env:MINE")


def test_one_that_is_written_out_is_not_repeated():
    with pytest.raises(UsageError) as caught:
        password(OPTION, "one\ntwo")
    assert str(caught.value).startswith(f"{OPTION}: it holds a line break")
    with pytest.raises(UsageError, match=f"^{OPTION} '': it is empty"):
        password(OPTION, "")
    with pytest.raises(UsageError, match=r"^--database-password env:: the variable \(without a na"):
        password(OPTION, "env:")


def test_a_file_can_be_named_by_its_url(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    assert password(OPTION, f"file://{tmp_path}/file") == "x"


def test_lines_name_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MINE", "x")
    (tmp_path / "file").write_text("x")
    for given, again in [
        ([OPTION, "hunter2"], LITERAL),
        ([OPTION, "env:MINE"], [OPTION, "env:MINE"]),
        ([OPTION, f"file:{tmp_path}/file"], [OPTION, f"file:{tmp_path}/file"]),
    ]:
        assert rerun_flags(parse("compat", given, CATALOG), "local")[-2:] == again


def test_where_a_clone_is_can_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("harness.stack.service.git.CHECKOUTS", tmp_path / "checkouts")
    monkeypatch.setenv("MINE", str(upstream.build(tmp_path / "clone", Path("absent"))))
    given = ["--checkout", "env:MINE"]
    options = parse("compat", given, CATALOG)
    assert options.clone is not None
    assert options.clone.folder == tmp_path / "clone"
    assert rerun_flags(options, "local")[-2:] == given


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("https://t0ken@host/r.git", "env:COMPAT_CHECKOUT"),
        ("https://me:pw@host/r.git", "env:COMPAT_CHECKOUT"),
        ("https://host/r.git", None),
        ("git@host:r.git", None),
        ("file:///srv/r.git", None),
        ("../r", None),
    ],
)
def test_a_url_is_a_secret_where_it_holds_one(url: str, written: str | None):
    raw = build_parser("compat").read(["--checkout", url])
    assert raw.checkout == url
    assert raw.references.get("--checkout") == written
