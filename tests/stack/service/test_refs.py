"""What --service selects from a clone."""

from __future__ import annotations

import dataclasses

import pytest

from harness.cli.options import parse
from harness.machine.errors import UsageError
from harness.stack.service.git import open_clone
from harness.stack.service.refs import (
    DEFAULT,
    code_of,
    reported_by,
    requirements_of,
    select_from_clone,
    source_of,
)
from tests.stack.service import upstream

pytestmark = pytest.mark.usefixtures("_cache")

RELEASES = "1.0.0 2.0.0 2.0.4 2.0.6 v2.3.0 v2.5.0 v2.5.1"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("all", f"{RELEASES} HEAD"),
        ("groups", RELEASES),
        ("minors", "1.0.0 2.0.6 v2.3.0 v2.5.1"),
        ("latest", "v2.5.1"),
        (DEFAULT, f"{RELEASES} HEAD"),
        ("HEAD,2.3.0", "v2.3.0 HEAD"),
        (">=2.0.4,<2.3", "2.0.4 2.0.6"),
        ("master,1.0.0", "1.0.0 master"),
    ],
)
def test_selection(clone, catalog, text, names):
    found = select_from_clone(clone, catalog, text)
    assert [service.name for service in found] == names.split()


def test_a_tag_is_the_release_of_the_catalog(clone, catalog):
    (service,) = select_from_clone(clone, catalog, "2.3.0")
    assert service in catalog.released


@pytest.mark.parametrize("tag", list(upstream.TAGS))
def test_what_a_ref_holds_is_found_out(clone, catalog, tag):
    """Named by its commit, a release is recognized from its files alone."""
    commit = clone.resolve(tag)
    (found,) = select_from_clone(clone, catalog, commit)
    (release,) = select_from_clone(clone, catalog, tag)
    assert found.kind == "checkout"
    assert (found.layout, found.schema, found.migrates) == (
        release.layout,
        release.schema,
        release.migrates,
    )
    assert found.label == f"commit {commit[:7]}"
    assert found.ref == commit
    assert found.version > release.version
    if release.migrates:  # 1.0.x has no setup.py
        assert found.reported == release.reported


def test_head_with_uncommitted_changes(folder, catalog):
    server = (
        folder / "services" / "migration_service" / "migration_files" / "20990101000000_new.sql"
    )
    server.write_text("-- +goose Up\nSELECT 1;\n", encoding="utf-8")
    (service,) = select_from_clone(open_clone(str(folder)), catalog, "HEAD")
    assert service.schema == 20990101000000
    assert service.label.startswith("branch master at ")
    assert service.label.endswith(", with uncommitted changes")
    assert str(service.version).endswith(".changed")
    assert service.reported == "2.5.1"


def test_a_branch_whose_name_holds_a_slash(folder, catalog):
    upstream.git(folder, "branch", "feature/x")
    (service,) = select_from_clone(open_clone(str(folder)), catalog, "feature/x")
    assert (service.name, service.slug) == ("feature/x", "feature-x")


def test_the_version_may_be_written_anywhere(folder, catalog):
    (folder / "setup.py").write_text("import version\nsetup(version=version.now())\n")
    clone = open_clone(str(folder))
    (service,) = select_from_clone(clone, catalog, "HEAD")
    assert service.reported is None
    assert reported_by(source_of(clone, service)) is None
    assert service.version.public == "2.5.1"


def test_requirements_of_a_ref(folder, catalog):
    path = folder / "services" / "metadata_service" / "requirements.txt"
    path.write_text("# needed\naiohttp >= 3.8\n\nnew-library\n", encoding="utf-8")
    clone = open_clone(str(folder))
    (service,) = select_from_clone(clone, catalog, "HEAD")
    assert service.layout is not None
    programs = (service.layout.metadata, service.layout.migration)
    found = requirements_of(source_of(clone, service), programs)
    assert found == ("aiohttp >= 3.8", "new-library")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("absent", "unknown release or git ref 'absent'"),
        ("2.5.2", "unknown release or git ref '2.5.2' (nearest: v2.5.1)"),
        ("mastr", "unknown release or git ref 'mastr' (nearest: master"),
        (
            "2.4.3",
            "the release v2.4.3 is not in this clone: it has no tag v2.4.3; git fetch --tags",
        ),
        (
            "v0.1-alpha",
            "v0.1-alpha (AT) holds no metadata service in a layout that is known: there is no ",
        ),
        ("reference-2.3", "unknown release or git ref 'reference-2.3'"),
    ],
)
def test_refs_that_cannot_be_run(clone, catalog, text, message):
    with pytest.raises(UsageError) as error:
        select_from_clone(clone, catalog, text)
    commit = clone.resolve(upstream.BEFORE)[:7]
    expected = f"--checkout {clone.given}: {message.replace('AT', commit)}"
    assert str(error.value).startswith(expected)


def test_a_range_without_a_release(clone, catalog):
    with pytest.raises(UsageError, match="'>=3' matches no release in this clone: they go from"):
        select_from_clone(clone, catalog, ">=3")


def test_a_clone_without_tags(folder, catalog):
    for tag in (*upstream.TAGS, upstream.BEFORE):
        upstream.git(folder, "tag", "--delete", tag)
    clone = open_clone(str(folder))
    with pytest.raises(UsageError, match="no tag of a release is in this clone"):
        select_from_clone(clone, catalog, DEFAULT)
    (service,) = select_from_clone(clone, catalog, "HEAD")
    assert service.name == "HEAD"


def test_a_tag_of_another_project(tmp_path, catalog):
    folder = tmp_path / "other"
    folder.mkdir()
    upstream.git(folder, "init", "--quiet")
    upstream.git(folder, "commit", "--quiet", "--allow-empty", "--message", "first")
    upstream.git(folder, "tag", "v2.3.0")
    clone = open_clone(str(folder))
    with pytest.raises(
        UsageError, match=r"v2\.3\.0 holds no metadata service: there is no services"
    ):
        select_from_clone(clone, catalog, "latest")
    with pytest.raises(UsageError, match=r"HEAD .* holds no metadata service in a layout"):
        select_from_clone(clone, catalog, "HEAD")


def test_an_empty_repository(tmp_path, catalog):
    folder = tmp_path / "empty"
    folder.mkdir()
    upstream.git(folder, "init", "--quiet")
    with pytest.raises(UsageError, match="HEAD is no commit yet: the repository is empty"):
        select_from_clone(open_clone(str(folder)), catalog, "HEAD")


def test_a_ref_that_is_gone(clone, catalog):
    (service,) = select_from_clone(clone, catalog, "master")
    gone = dataclasses.replace(service, ref="0" * 40)
    with pytest.raises(UsageError, match="there is no 0000000"):
        source_of(clone, gone)


def test_a_path_needs_no_release_in_the_clone(folder, catalog):
    for tag in upstream.git(folder, "tag").split():
        upstream.git(folder, "tag", "-d", tag)
    walk = parse("fixed_db", ["--checkout", str(folder), "--path", "HEAD"], catalog)
    assert [step.service.name for step in walk.path] == ["HEAD"]


def _code(folder, catalog, name: str) -> str:
    clone = open_clone(str(folder))
    (service,) = select_from_clone(clone, catalog, name)
    return code_of(source_of(clone, service), service.layout)


def test_the_code_of_a_service_is_what_serves_and_migrates(folder, catalog):
    was = _code(folder, catalog, "v2.5.1")
    assert _code(folder, catalog, "HEAD") == was
    assert _code(folder, catalog, "v2.5.0") != was
    services = folder / "services"
    for path in ("ui_backend_service/ui_server.py", "metadata_service/tests/test_it.py"):
        (services / path).parent.mkdir(exist_ok=True)
        (services / path).write_text("changed", encoding="utf-8")
    (folder / "README.md").write_text("changed", encoding="utf-8")
    assert _code(folder, catalog, "HEAD") == was
    (services / "migration_service" / "more.py").write_text("changed", encoding="utf-8")
    changed = _code(folder, catalog, "HEAD")
    assert changed != was
    upstream.git(folder, "add", "--all")
    upstream.git(folder, "commit", "--quiet", "--message", "more")
    assert _code(folder, catalog, "HEAD") == changed, "committed or not, it is the same"
