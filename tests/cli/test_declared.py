"""Every option that is declared comes back from the line that runs a cell again."""

from __future__ import annotations

import ast
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import fields
from itertools import product
from pathlib import Path

import pytest

from harness.catalog.versions import load
from harness.cli.declared import OPTIONS, option_of, options_of
from harness.cli.lines import rerun_line
from harness.cli.option import Option, Role
from harness.cli.options import FULL, parse, parse_full
from harness.cli.parser import SESSIONS
from harness.cli.planning import OnPython, make_plan
from harness.cli.ui_options import parse_ui
from harness.core.plan import Cell
from harness.core.probes import FLOWS
from harness.machine.errors import UsageError
from harness.machine.processes import free_port
from harness.machine.tools import ROOT
from harness.proof.ui.sample_run import SampleRun
from harness.run.options import Options, value_in
from harness.ui.check import rerun_line as ui_line
from harness.ui.options import UIOptions
from tests.proof.standin import serving
from tests.stack.service import upstream
from tests.stack.service.test_external import service as answer_as_service

CATALOG = load()
WITH_LINES = ("compat", "fixed_db", "full", "local", "ui")
SECRET = "not to be written"

SAMPLES = {
    "--metaflow": "2.2.13,2.19.39",
    "--metaflow-checkout": "{clone}",
    "--python": "3.12",
    "--deps": "{requirements}",
    "--with": "pandas>=3,<4 pyarrow",
    "--service": "v2.3.0,v2.5.0",
    "--probe": "hello",
    "--shard": "1/2",
    "--durations": "{flows}",
    "--flow-dir": "{flows}",
    "--datastore": "s3",
    "--expectations": "{expectations}",
    "--jobs": str((os.cpu_count() or 1) + 1),
    "--timeout": "123.4567890123",
    "--repeat": "3",
    "--retries": "2",
    "--backend": "embedded",
    "--checkout": "{clone}",
    "--service-deps": "latest",
    "--scenario": "wrong-order",
    "--postgres": "13",
    "--postgres-upgrade": "16,18",
    "--database-tls": "require,client-cert",
    "--database-name": "a name",
    "--database-user": "me",
    "--database-password": SECRET,
    "--database-port": "54321",
    "--pull": "never",
    "--postgres-image": "15-alpine",
    "--registry": "mirror.example.com/hub",
    "--dockerfile": "Dockerfile.other",
    "--path": "v2.3.0,v2.5.0",
    "--seed": "-4",
    "--strategy": "boundaries",
    "--verify": "5",
    "--verify-seed": "-7",
    "--on-failure": "stop",
    "--gate": "rollback",
    "--migration-timeout": "1234567.5",
    "--database-url": f"postgresql://me:{SECRET.replace(' ', '%20')}@127.0.0.1:1/metaflow",
    "--from": "RUN",
    "--ui-version": "v2.5.0",
    "--ui-assets": "{page}",
    "--ui-image": "page:1",
    "--ui-checkout": "{clone}",
    "--ui-port": "{port}",
    "--run": "BasicsFlow/1",
    "--s3-image": "minio/minio",
    "--s3-root": "s3://bucket/prefix",
    "--s3-endpoint": "http://127.0.0.1:1",
    "--results": "{flows}",
    "--service-url": "{service}",
}
"""A value of each option that is not what it is unasked; an option without a value needs none."""

BESIDE = {
    "--scenario": ("--checkout",),
    "--s3-endpoint": ("--s3-root",),
    # Without containers the UI that is shown comes from these.
    "--backend": ("--checkout", "--ui-assets"),
    "--service-deps": ("--ui-assets",),
    "--ui-assets": ("--checkout",),
}
"""What must be given as well, for reasons that no declaration says."""

WITH = {"--database-tls": ("--service", ">=2.4.4")}
"""What must be given as well, and so: a walk by TLS is for services that know it."""


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """The address of a service that somebody else runs."""
    with serving(answer_as_service) as url:
        yield url


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, service: str) -> dict[str, str]:
    """What stands for the braces in SAMPLES."""
    folder = tmp_path_factory.mktemp("places")
    expectations = folder / "known.json"
    expectations.write_text(json.dumps({"schema": 1, "expectations": []}), encoding="utf-8")
    requirements = folder / "my requirements.txt"
    requirements.write_text("requests<3\n", encoding="utf-8")
    (folder / "page" / "static").mkdir(parents=True)
    (folder / "page" / "index.html").touch()
    return {
        "flows": str(shutil.copytree(FLOWS, folder / "my flows")),
        "expectations": str(expectations),
        "requirements": str(requirements),
        "clone": str(upstream.build(folder / "clone", Path("absent"))),
        "page": str(folder / "page"),
        "port": str(free_port()),
        "service": service,
    }


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.stack.service.git.CHECKOUTS", tmp_path / "checkouts")
    for option in OPTIONS:
        for name in (*option.variables, option.variable):
            monkeypatch.delenv(name, raising=False)


def an_engine() -> str:
    return "Docker Engine 99"


def written(option: Option, places: dict[str, str]) -> list[str]:
    """Return an option with its sample."""
    if option.kind is bool:
        return [option.name]
    return [option.name, SAMPLES[option.name].format(**places)]


def command_line(session: str, option: Option, places: dict[str, str]) -> list[str]:
    """Return an option with its sample, and what it has to have beside it."""
    known = {one.name: one for one in options_of(session)}
    beside = [*option.needs, *BESIDE.get(option.name, ())]
    names = dict.fromkeys([option.name, *(name for name in beside if name in known)])
    words = [word for name in names for word in written(known[name], places)]
    words += WITH.get(option.name, ())
    if option.datastore and "--datastore" not in names:
        words += ["--datastore", option.datastore]
    if session != "local" and option.backend == "docker":
        words += ["--backend", "docker"] if "--backend" not in names else []
    if "--metaflow" in known and "--metaflow" not in names and session != "ui":
        words += ["--metaflow", "2.19.39"]
    # Only --check has lines; and no port of this machine is asked for then.
    if "--check" in known and "--check" not in words:
        words.append("--check")
    return words


def assert_carried(session: str, before: Options | UIOptions, again: Options | UIOptions) -> None:
    """Everything a line of the session has to carry is what it was."""
    datastores = {"", *getattr(again, "datastores", ())}
    for option in options_of(session):
        if option.role is Role.CARRIED and option.datastore in datastores:
            values = [getattr(options, option.attribute) for options in (before, again)]
            assert values[0] == values[1], option.name


def said_missing(session: str, line: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield what a line says must be set, and set it."""
    for option in options_of(session):
        value = value_in(line, option.name)
        if value == f"env:{option.variable}":
            monkeypatch.delenv(option.variable, raising=False)
            yield option.variable
            monkeypatch.setenv(option.variable, SAMPLES[option.name])


def again_of(cell: Cell, options: Options, monkeypatch: pytest.MonkeyPatch) -> Options:
    """Return what the line of a cell asks for; a secret is asked for by name."""
    line = shlex.split(rerun_line(cell, options))
    assert line[:4] == ["nox", "-s", options.session, "--"]
    assert SECRET not in shlex.join(line)
    for missing in said_missing(options.session, line, monkeypatch):
        with pytest.raises(UsageError, match=f"the variable {missing} is not set"):
            parse(options.session, line[4:], CATALOG, an_engine)
    return parse(options.session, line[4:], CATALOG, an_engine)


def planned_by(options: Options) -> tuple[Cell, ...]:
    """Return the cells of a run whose clients get 3.11 unasked."""
    python = value_in(options.given, "--python")
    clients = [
        OnPython(one, python or "3.11", asked=bool(python), deps=deps)
        for one, deps in product(options.clients, options.deps)
    ]
    return make_plan(options, clients).cells


def assert_lines_run_the_same(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = planned_by(options)
    for cell in (cells[0], cells[-1]):
        again = again_of(cell, options, monkeypatch)
        planned = planned_by(again)
        assert cell in planned
        assert {(one.client, one.probe, one.datastore) for one in planned} == {
            (cell.client, cell.probe, cell.datastore)
        }
        assert_carried(options.session, options, again)


def assert_ui_line_runs_the_same(options: UIOptions) -> None:
    run = SampleRun(
        *("BasicsFlow", "1", "2.19.39", "v2.5.0", "basics", "local", "completed"),
        *((), None, None, "", "", "", False, False),
    )
    source = "" if options.database_url else "RUN"
    line = shlex.split(ui_line("v2.5.0", run, options, source))
    assert line[:4] == ["nox", "-s", "ui", "--"]
    assert SECRET not in shlex.join(line)
    again = parse_ui(line[4:], CATALOG)
    assert (again.check, again.versions, again.clients) == (True, "v2.5.0", ("2.19.39",))
    assert (again.run, again.source) == ("BasicsFlow/1", source or None)
    assert (again.database_url is None) is (options.database_url is None)
    assert_carried("ui", options, again)


CASES = [
    pytest.param(session, option, id=f"{session}{option.name}")
    for session in WITH_LINES
    for option in options_of(session)
    if option.role in {Role.AXIS, Role.CARRIED}
]


@pytest.mark.parametrize(("session", "option"), CASES)
def test_a_line_runs_the_cell_as_it_was(session, option, places, monkeypatch):
    words = command_line(session, option, places)
    if session == "ui":
        shown = parse_ui(words, CATALOG)
    else:
        options, shown = (
            parse_full(words, CATALOG, an_engine)
            if session == FULL
            else (parse(session, words, CATALOG, an_engine), None)
        )
        assert_lines_run_the_same(options, monkeypatch)
    if shown is not None:
        assert_ui_line_runs_the_same(shown)
    if option.role is Role.CARRIED:
        asked = shown if session == "ui" or not hasattr(options, option.attribute) else options
        assert getattr(asked, option.attribute) != option.default


@pytest.mark.parametrize("session", WITH_LINES)
def test_nothing_that_is_carried_is_missing_from_what_is_validated(session):
    held = {field.name for field in fields(UIOptions if session == "ui" else Options)}
    if session == FULL:
        held |= {field.name for field in fields(UIOptions)}
    for option in options_of(session):
        assert option.role is not Role.CARRIED or option.attribute in held, option.name


def test_what_no_line_carries_has_its_reason():
    for option in OPTIONS:
        if option.role in {Role.NOT_NEEDED, Role.REFUSED}:
            assert option.why, option.name


@pytest.mark.parametrize("session", SESSIONS)
def test_an_option_is_declared_once_a_session(session):
    names = [name for one in options_of(session) for name in (one.name, *one.aliases)]
    assert len(names) == len(set(names))
    attributes = [one.dest for one in options_of(session)]
    assert len(attributes) == len(set(attributes))


def test_what_a_declaration_speaks_of_is_there():
    for option in OPTIONS:
        assert set(option.sessions) <= set(SESSIONS), option.name
        for session in option.sessions:
            known = {one.name for one in options_of(session)}
            assert set(option.needs) <= known, option.name
    # --service is left out in local, and nowhere else.
    for session in ("fixed_db", FULL):
        assert set(option_of(session, "--path").excludes) <= {
            one.name for one in options_of(session)
        }


def test_no_option_is_declared_elsewhere():
    # Programs with a command line of their own, and what starts one.
    own = {"stack/goose/__main__.py", "stack/reference/__main__.py", "proof/ui/browser.py"}
    found = set()
    for path in (ROOT / "harness").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("add_argument"):
                found.add(str(path.relative_to(ROOT / "harness")))
    assert found - own == {"cli/parser.py"}
