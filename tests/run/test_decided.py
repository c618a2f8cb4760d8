"""What decides an outcome is in its key: all that a run finds is changed, one part at a time."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.client import environment
from harness.client.environment import RESTS_ON, describe_machine, digest_of_harness
from harness.core.entries import PlannedCell, Provenance
from harness.core.provenance import with_key
from harness.machine import tools
from harness.machine.installed import whole_version
from harness.run.clients import Clients
from harness.run.contracts import _of_service
from harness.run.folder import RunFolder
from harness.run.record import Record
from harness.run.reuse import decided_by
from harness.stack.backend import choose_backend
from harness.stack.service import git, reference
from harness.stack.stacks import Stack
from harness.stack.store.choice import choose_datastores
from harness.stack.store.container import ContainerS3
from harness.stack.store.objects import digest_of_tool
from tests.stack.service import upstream

FLOW = "from metaflow import FlowSpec\nclass OddFlow(FlowSpec):\n    pass\n# data.txt\n"
WHEEL = "metaflow-2.19.39-py3-none-any.whl"
OLD = "2.12.39"
SITE = "lib/python3.11/site-packages"
Decided = tuple[PlannedCell, dict[str, Any], str]
"""A cell as it is planned, its provenance, and its key."""


def _install(home: Path, name: str, version: str, contents: str = "") -> None:
    """Put a package into an environment; with contents as one that came from a folder."""
    info = home / SITE / f"{name}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if contents:
        (info / "direct_url.json").write_text(json.dumps({"url": "file:///home/me/mylib"}))
        (info / "RECORD").write_text(f"mylib.py,sha256={contents},9\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _link_python(home: Path) -> None:
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").symlink_to(sys.executable)


def _replace_python(home: Path, version: str) -> None:
    """Put another Python in the place of that of an environment, whose files stay."""
    python = home / "bin" / "python"
    python.unlink()
    python.write_text(f"#!/bin/sh\necho '{version}'\n")
    python.chmod(0o755)


@dataclass
class World:
    """A machine with all that one cell of ``cross`` rests on, as files and options.

    Attributes:
        folder: where its files are.
        patch: what is changed that is no file.
        service: as it is selected.
        more: options beside the usual ones.
        said: what service and database say of themselves when they run.
    """

    folder: Path
    patch: pytest.MonkeyPatch
    service: str = "2.5"
    more: list[str] = field(default_factory=list)
    said: dict[str, Any] = field(
        default_factory=lambda: {"reported": "2.5.0", "schema": 1, "server": "16.14"}
    )

    def make(self) -> None:
        """Make its files."""
        for name in ("HEAD", OLD, "tool"):
            _link_python(self.folder / name)
            _install(self.folder / name, "requests", "2.32.0")
        _install(self.folder / "HEAD", "mylib", "1.0", "aa")
        for program in ("initdb", "postgres"):
            _write(self.folder / "pg" / "bin" / program, "x")
            (self.folder / "pg" / "bin" / program).chmod(0o755)
        _write(self.folder / WHEEL, "one")
        _write(self.folder / "flows" / "odd.py", FLOW)
        _write(self.folder / "flows" / "included" / "data.txt", "one")
        shutil.copy(tools.ROOT / "versions.json", self.folder)
        for file in ("core/plan.py", "cli/options.py", "stack/goose/bin/goose"):
            _write(self.project / file, "one")
        _write(self.project / "stack/reference/levels.py", "one")
        self.patch.setattr(tools, "TOOLS", self.folder / "tools")
        self.patch.setattr(tools, "_install_commands", self._install_commands)
        self.patch.setattr(git, "CHECKOUTS", self.folder / "checkouts")
        for module in (environment, reference):
            self.patch.setattr(module, "ROOT", self.project.parent)

    def _install_commands(self, folder: Path, *_: object) -> list[list[str]]:
        """Return what makes a tool environment without an index."""
        return [["cp", "-R", str(self.folder / "tool"), str(folder)]]

    @property
    def project(self) -> Path:
        """The harness's own code."""
        return self.folder / "project" / "harness"

    def tool(self, name: str) -> Path:
        """Return a tool environment that was made."""
        (found,) = (self.folder / "tools").glob(f"{name}-*/bin")
        return found.parent

    def decided(self) -> Decided:
        """Return its cell, what decided that, and the key, as a new process finds them."""
        for cached in (whole_version, digest_of_tool, describe_machine, digest_of_harness):
            cached.cache_clear()
        given = ["--metaflow", f"HEAD,{OLD}", "--metaflow-checkout", str(self.folder / WHEEL)]
        given += ["--pairs", f"{OLD}:HEAD", "--service", self.service, "--probe", "odd"]
        given += ["--flow-dir", str(self.folder / "flows"), "--datastore", "s3"]
        given += ["--backend", "embedded", "--postgres", str(self.folder / "pg" / "bin")]
        given += ["--results", str(self.folder / "results"), *self.more]
        options = parse("cross", given, load(self.folder / "versions.json"))
        plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
        (cell,) = plan.cells
        folder = RunFolder(options.results, options.session)
        folder.make()
        backend = choose_backend(options, folder.path, folder.run, lambda _: None)
        record = Record(folder.run, folder.path, [])
        clients = Clients(
            folder,
            record,
            choose_datastores(options, folder.path, {}),
            timeout=options.timeout,
            keep=False,
            decided=decided_by(options),
            cancelled=lambda: False,
        )
        assert cell.service is not None
        running: Any = SimpleNamespace(code=backend.launcher.code(cell.service))
        unread: Any = None
        stack = Stack(running, None, unread, home=backend.server(cell.point), **self.said)
        pythons = {one: self.folder / one.name / "bin" / "python" for one in cell.clients}
        provenance = clients.provenance(cell, pythons, stack.served)
        record._journal.close()
        planned = plan.planned(cell)
        keyed = with_key(provenance, planned)
        return planned, msgspec.structs.asdict(provenance), keyed.key


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, monkeypatch)
    made.make()
    return made


def _catalog(world: World, old: str, new: str) -> None:
    path = world.folder / "versions.json"
    (line,) = (one for one in path.read_text().splitlines() if '"name": "reference-2.5"' in one)
    assert old in line
    _write(path, path.read_text().replace(line, line.replace(old, new)))


def _own_package(world: World, name: str) -> None:
    _install(world.folder / "beside", name.replace("-", "_"), "999")
    world.patch.syspath_prepend(str(world.folder / "beside" / SITE))


CHECK = 'CHECKS = {"a": {"about": "b", "service": ">=2.6"}}\ndef check_a(run):\n    pass\n'
Change = Callable[[World], object]
CHANGES: dict[str, tuple[Change, str]] = {
    "client build": (lambda w: _write(w.folder / WHEEL, "two"), "client_build"),
    "its Python": (
        lambda w: _replace_python(w.folder / "HEAD", "3.11.99 (main) [GCC]"),
        "python environment",
    ),
    "another build of its Python": (
        lambda w: _replace_python(w.folder / "HEAD", sys.version.split()[0] + " (other)"),
        "environment",
    ),
    "what is installed": (
        lambda w: _install(w.folder / "HEAD", "requests", "2.33.0"),
        "environment",
    ),
    "a package from a folder": (
        lambda w: _install(w.folder / "HEAD", "mylib", "1.0", "bb"),
        "environment",
    ),
    "another client's environment": (
        lambda w: _install(w.folder / OLD, "requests", "2.33.0"),
        "others",
    ),
    "the service's code": (
        lambda w: _write(w.project / "stack/reference/levels.py", "two"),
        "service harness",
    ),
    "what is installed for the service": (
        lambda w: _install(w.tool("reference"), "requests", "2.33.0"),
        "service",
    ),
    "the Python of the service": (
        lambda w: _replace_python(w.tool("reference"), "3.11.99"),
        "service",
    ),
    "what the service reports": (lambda w: w.said.update(reported="2.4.9"), "reported"),
    "the schema": (lambda w: w.said.update(schema=2), "db_schema"),
    "the database's version": (lambda w: w.said.update(server="16.15"), "database"),
    "PostgreSQL's programs": (lambda w: _write(w.folder / "pg/bin/postgres", "y"), "server"),
    "TLS": (lambda w: w.more.extend(["--database-tls", "require"]), "database_tls"),
    "what is installed for the store": (
        lambda w: _install(w.tool("s3"), "requests", "2.33.0"),
        "store",
    ),
    "--timeout": (lambda w: w.more.extend(["--timeout", "77"]), "settings"),
    "--database-user": (lambda w: w.more.extend(["--database-user", "other"]), "settings"),
    "--database-name": (lambda w: w.more.extend(["--database-name", "other"]), "settings"),
    "the scenario": (lambda w: w.more.extend(["--scenario", "awkward-password"]), "scenario"),
    "packages beside": (lambda w: w.more.extend(["--with", "six"]), "packages"),
    "the probe's file": (
        lambda w: _write(w.folder / "flows/odd.py", f"{FLOW}\n"),
        "probe_digest",
    ),
    "an included file": (
        lambda w: _write(w.folder / "flows/included/data.txt", "two"),
        "probe_digest",
    ),
    "what is known of the service": (
        lambda w: _catalog(w, '"reported": "2.5.0"', '"reported": "2.5.9"'),
        "asked",
    ),
    "the schema it is known to have": (
        lambda w: _catalog(w, '"schema": 20230118020300', '"schema": 20230118020301'),
        "asked",
    ),
    "the machine": (
        lambda w: w.patch.setattr(platform, "machine", lambda: "riscv64"),
        "machine",
    ),
    "the harness's code": (lambda w: _write(w.project / "core/plan.py", "two"), "harness"),
    "a program of the harness": (
        lambda w: _write(w.project / "stack/goose/bin/goose", "two"),
        "harness",
    ),
    "the harness's Python": (lambda w: w.patch.setattr(sys, "version", "3.99"), "harness"),
    "a package of the harness": (lambda w: _own_package(w, "psycopg2-binary"), "harness"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_each_thing_that_decides_changes_the_key_and_nothing_but_its_part(world: World, what: str):
    change, expected = CHANGES[what]
    before = world.decided()
    change(world)
    after = world.decided()
    assert before[2]
    assert after[2] != before[2]
    assert _changed(before, after) == set(expected.split())


def _changed(before: Decided, after: Decided) -> set[str]:
    """Return the parts of cell and provenance that differ; what only tells of them left out."""
    one, other = (msgspec.structs.asdict(of[0]) | of[1] for of in (before, after))
    return {name for name in one if other[name] != one[name]} - {"id", "rerun"}


def test_so_does_what_is_installed_for_a_service_of_a_checkout(world: World):
    world.service = "v2.5.0"
    clone = upstream.build(world.folder / "clone", Path(sys.executable))
    world.more.extend(["--checkout", str(clone)])
    before = world.decided()
    _install(world.tool("service"), "requests", "2.33.0")
    after = world.decided()
    assert (_changed(before, after), after[2] == before[2]) == ({"service"}, False)


def test_how_an_s3_image_is_run_and_what_lists_its_objects_are_part_of_its_code(world: World):
    known = load().s3_image("minio/minio")
    assert known is not None
    runs = [known, replace(known, command=("other",)), replace(known, env={"A": "b"}), None]
    images: Any = SimpleNamespace(get=lambda _: SimpleNamespace(code="sha256:1"))
    run: Any = None

    def codes() -> list[str]:
        digest_of_tool.cache_clear()
        whole_version.cache_clear()
        stores = [ContainerS3(run, images, "minio/minio", one, world.folder) for one in runs]
        return [store.code() for store in stores]

    before = codes()
    assert len(set(before)) == len(runs)
    _install(world.tool("s3"), "requests", "2.33.0")
    assert not set(codes()) & set(before)


def test_a_check_that_is_asked_no_longer_changes_the_key(world: World):
    _write(world.folder / "flows/odd.py", FLOW + CHECK)
    before = world.decided()
    _catalog(world, '"reported": "2.5.0"', '"reported": "2.6.0"')
    after = world.decided()
    assert before[0].probe_digest == after[0].probe_digest
    assert before[1]["asked"] != after[1]["asked"]


def test_what_is_known_of_a_service_changes_the_key_of_what_it_is_by_itself(world: World):
    planned, provenance, _ = world.decided()
    decided = Provenance(**provenance)
    service = load().reference[-1]
    known = [service, replace(service, reported="9"), replace(service, schema=1)]
    keys = {_of_service(decided, one, planned).key for one in known}
    assert len(keys) == len(known)
    assert _of_service(decided, replace(service, group="other"), planned).key in keys


UNTOLD: dict[str, Change] = {
    "nothing": lambda _: None,
    "what draws": lambda w: _write(w.project / "cli/options.py", "two"),
    "what was compiled": lambda w: _write(w.project / "core/__pycache__/plan.pyc", "two"),
    "when it was installed": lambda w: _write(
        w.folder / "HEAD" / SITE / "mylib.dist-info/uv_cache.json", "two"
    ),
    "what nobody includes": lambda w: _write(w.folder / "flows/included/other.txt", "two"),
}


@pytest.mark.parametrize("what", UNTOLD)
def test_what_decides_nothing_leaves_the_key(world: World, what: str):
    before = world.decided()
    UNTOLD[what](world)
    assert world.decided() == before


def test_where_things_lie_decides_nothing(world: World, tmp_path: Path):
    _, provenance, _ = world.decided()
    other = World(tmp_path / "other", world.patch)
    other.make()
    assert other.decided()[1] == provenance


def test_the_harness_rests_on_all_that_the_noxfile_requires_but_what_draws_and_installs():
    text = (tools.ROOT / "noxfile.py").read_text(encoding="utf-8").partition('# ///\n"""')[0]
    required = {name for name in text.split('"') if name.replace("-", "").isalnum()}
    assert required - {"jinja2", "rich"} == set(RESTS_ON) - {"urllib3"}
