"""The built page, as a folder or a zip, is checked and put into a copy of a release's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.machine.errors import UsageError
from harness.stack.service import git
from harness.ui.assets import check_assets, with_assets


@pytest.mark.parametrize("kind", ["assets", "zipped"])
def test_assets_join_a_copy_of_the_tree(kind, request, tmp_path, monkeypatch):
    monkeypatch.setattr(git, "CHECKOUTS", tmp_path / "cache")
    given: Path = request.getfixturevalue(kind)
    tree = tmp_path / "tree"
    (tree / "backend" / "ui" / "static").mkdir(parents=True)
    (tree / "backend" / "server.py").write_text("pass")

    check_assets(given)
    joined = with_assets(tree, Path("backend/ui"), given)

    assert (joined / "backend" / "server.py").read_text() == "pass"
    assert (joined / "backend" / "ui" / "index.html").read_text() == "<html><head></head></html>"
    assert (joined / "backend" / "ui" / "static" / "app.js").exists()
    assert not (tree / "backend" / "ui" / "index.html").exists()
    assert with_assets(tree, Path("backend/ui"), given) == joined


def test_other_assets_make_another_copy(assets, tmp_path, monkeypatch):
    monkeypatch.setattr(git, "CHECKOUTS", tmp_path / "cache")
    tree = tmp_path / "tree"
    tree.mkdir()
    first = with_assets(tree, Path("ui"), assets)
    (assets / "index.html").write_text("<html>2</html>")
    second = with_assets(tree, Path("ui"), assets)
    assert first != second
    assert (second / "ui" / "index.html").read_text() == "<html>2</html>"


def test_assets_that_are_not_there_say_where_to_get_them(tmp_path):
    with pytest.raises(UsageError, match=r"no such file or folder; metaflow-ui-VERSION\.zip is"):
        check_assets(tmp_path / "absent")


def test_a_folder_without_a_page_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"no built UI: there is no index\.html beside a folder"):
        check_assets(tmp_path)


def test_a_file_that_is_no_zip_is_refused(tmp_path):
    file = tmp_path / "page.zip"
    file.write_text("no zip")
    with pytest.raises(UsageError, match="neither a folder nor a zip"):
        check_assets(file)


def test_the_folder_above_names_the_one_that_is_meant(assets, tmp_path):
    (tmp_path / "clone").mkdir()
    assets.rename(tmp_path / "clone" / "build")
    with pytest.raises(UsageError, match=r"the built UI is in its folder: .*/clone/build$"):
        check_assets(tmp_path / "clone")
