"""Clients under development: what a clone, its work tree and a wheel come to."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from harness.catalog.releases import Catalog, Client
from harness.catalog.selectors import select_clients
from harness.catalog.versions import load
from harness.client.development import find_clients, open_metaflow
from harness.machine.errors import UsageError
from tests.stack.service.upstream import git

CORE = "metaflow/core.py"


@pytest.fixture(name="catalog")
def _catalog() -> Catalog:
    return load()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.stack.service.git.CHECKOUTS", tmp_path / "checkouts")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone of something like Metaflow: an old way of telling the version, and the new."""
    folder = tmp_path / "clone"
    (folder / "metaflow").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch", "master")
    for name in ("empty", "old", "new"):
        _write(folder, name)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--allow-empty", "--message", name)
        git(folder, "tag", name)
    return folder


def _write(folder: Path, name: str) -> None:
    if name == "old":
        (folder / "metaflow/__init__.py").touch()
        (folder / "setup.py").write_text("import os\nversion = '2.2.0'\n", encoding="utf-8")
    if name == "new":
        (folder / "setup.py").write_text("version = f.read()\n", encoding="utf-8")
        version = 'metaflow_version = "2.19.39"\n'
        (folder / "metaflow/version.py").write_text(version, encoding="utf-8")


def _found(catalog: Catalog, given: Path, text: str) -> tuple[Client, ...]:
    clients = select_clients(catalog, text, refs=True)
    return find_clients(clients, open_metaflow(str(given)), catalog)


def test_refs_are_clients_beside_releases(catalog, clone):
    release, old, head = _found(catalog, clone, "old,2.12.27,HEAD")
    commits = [git(clone, "rev-parse", "--short=7", name).strip() for name in ("old", "new")]
    assert release.requirement == "metaflow==2.12.27"
    assert (old.name, head.name) == ("old", "HEAD")
    assert [old.label, head.label] == [f"2.2.0+g{commits[0]}", f"2.19.39+g{commits[1]}"]
    assert old.satisfies(">=2.2,<2.2.1")
    assert head.satisfies(">2.19.38,<2.20")
    # What a release of that age needs to run.
    known = next(one for one in catalog.clients if one.name == "2.2.0")
    assert (old.pins, old.pythons, old.fails) == (known.pins, known.pythons, known.fails)
    files = Path(urlsplit(old.url).path)
    assert (files / "setup.py").read_text(encoding="utf-8").endswith("version = '2.2.0'\n")
    assert old.requirement == f"metaflow @ {files.as_uri()}"


def test_head_is_what_is_not_committed_and_says_so(catalog, clone):
    (clean,) = _found(catalog, clone, "HEAD")
    (clone / CORE).write_text("broken", encoding="utf-8")
    (changed,) = _found(catalog, clone, "HEAD")
    (clone / CORE).write_text("otherwise", encoding="utf-8")
    (again,) = _found(catalog, clone, "HEAD")
    assert clean.label in changed.label
    assert "changed (" in changed.label
    assert len({clean.label, changed.label, again.label}) == 3
    assert len({clean.url, changed.url, again.url}) == 3
    assert (Path(urlsplit(changed.url).path) / CORE).read_text(encoding="utf-8") == "broken"
    (tag,) = _found(catalog, clone, "new")
    assert tag.label == clean.label


def test_a_wheel_is_head(catalog, tmp_path):
    wheel = tmp_path / "metaflow-2.20.0.dev1-py3-none-any.whl"
    wheel.write_bytes(b"one")
    (one,) = _found(catalog, wheel, "HEAD")
    wheel.write_bytes(b"built again")
    (again,) = _found(catalog, wheel, "HEAD")
    assert one.satisfies("==2.20.0.dev1")
    assert one.label != again.label
    assert Path(urlsplit(one.url).path).read_bytes() == b"one"
    with pytest.raises(UsageError, match="a wheel has no 'master', just HEAD"):
        _found(catalog, wheel, "master")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mster", "unknown release or git ref 'mster' (nearest: master"),
        ("empty", "holds no Metaflow: there is no metaflow/__init__.py"),
    ],
)
def test_a_ref_that_is_no_client_is_one_line(catalog, clone, name, said):
    with pytest.raises(UsageError) as caught:
        _found(catalog, clone, name)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"--metaflow-checkout {clone}: ")
    assert "\n" not in str(caught.value)


def test_an_empty_repository_is_one_line(catalog, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    git(folder, "init", "--quiet")
    with pytest.raises(UsageError, match="HEAD is no commit yet: the repository is empty"):
        _found(catalog, folder, "HEAD")


def test_a_version_that_is_not_said_is_one_line(catalog, clone):
    (clone / "metaflow/version.py").write_text("metaflow_version = what()", encoding="utf-8")
    with pytest.raises(UsageError, match="which version it is"):
        _found(catalog, clone, "HEAD")
    (clone / "metaflow/version.py").write_text('metaflow_version = "of today"', encoding="utf-8")
    with pytest.raises(UsageError, match="that it is 'of today'"):
        _found(catalog, clone, "HEAD")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent", "no such folder"),
        ("absent-1-py3-none-any.whl", "no such file"),
        ("requests-2.0-py3-none-any.whl", "a wheel of requests, not of metaflow"),
        ("metaflow.whl", "Invalid wheel filename"),
        ("plain", "not a git repository"),
    ],
)
def test_a_place_without_metaflow_is_one_line(tmp_path, name, said):
    (tmp_path / "plain").mkdir()
    for wheel in ("requests-2.0-py3-none-any.whl", "metaflow.whl"):
        (tmp_path / wheel).touch()
    with pytest.raises(UsageError) as caught:
        open_metaflow(str(tmp_path / name))
    assert str(caught.value).startswith(f"--metaflow-checkout {tmp_path / name}: ")
    assert said in str(caught.value)
