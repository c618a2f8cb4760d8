"""What nox -s ui is asked for, and what is wrong with it, before anything starts."""

from __future__ import annotations

import json
import socket
import subprocess

import pytest

from harness.catalog.versions import load
from harness.cli.ui_options import parse_ui
from harness.machine.errors import InfraError, UsageError
from harness.ui.options import check_port, needs_processes, select_versions

CATALOG = load()


def engine() -> str:
    return "an engine"


def no_engine() -> str:
    raise InfraError("no Docker engine answers")


def chosen(*words: str, last: str = "") -> list[str]:
    options = parse_ui(words, CATALOG)
    return [one.name for one in select_versions(options, CATALOG, images=True, last=last)]


def test_unasked_the_ui_is_that_of_the_service_that_used_the_database_last():
    newest = CATALOG.released[-1].name
    assert chosen(last="v2.3.0") == ["v2.3.0"]
    assert chosen(last="2.0.6") == [newest]
    assert chosen(last="reference-2.5") == [newest]


def test_versions_are_selected_as_services_are():
    assert chosen("--check", "--ui-version", "2.3.0,v2.5.0") == ["v2.3.0", "v2.5.0"]
    assert chosen("--check", "--ui-version", ">=2.0.5,<2.2") == ["2.1.0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ui-versoin", "latest"], r"unknown option --ui-versoin \(nearest: --ui-version"),
        (["--ui-version", "2.99"], "--ui-version takes releases of the service: unknown released"),
        (["--ui-version", "2.0.6"], "2.0.6: it has no UI; the first that has one is 2.1.0"),
        (["--ui-version", "2.3.0,2.5.0"], "selects 2 UIs: only --check takes several"),
        (["--ui-port", "0"], "--ui-port 0: not a port"),
        (["--metaflow", "2.19.39"], "chooses among the runs that --check looks for"),
        (["--run", "F/1"], "--run chooses among the runs that --check looks for"),
        (["--database-url", "foo"], "the database URL has another shape"),
        (["--check", "--metaflow", "2.99"], "unknown client '2.99'"),
        (["--check", "--detach"], "not allowed with argument --check"),
        (["--ui-image", "a", "--ui-checkout", "b"], "not allowed with argument --ui-image"),
        (["--ui-assets", "absent"], "there is no such file or folder"),
        (["--checkout", "absent"], "--checkout absent: there is no such folder"),
        (["--ui-checkout", "absent"], "--ui-checkout absent: there is no such folder"),
        (["--from", "a", "--database-url", "b"], "not allowed with argument --from"),
        (["--dockerfile", "D"], "--dockerfile D needs services from a clone: --checkout PATH"),
        (["--expectations", "absent"], "--expectations absent: no such file"),
    ],
)
def test_bad_input_is_one_clear_error(words, message):
    with pytest.raises(UsageError, match=message):
        parse_ui(words, CATALOG)


def test_only_what_is_declared_of_uis_is_read(tmp_path):
    file = tmp_path / "known.json"
    of_cells = {"client": "all", "service": "all", "check": "elsewhere/run", "reason": "x"}
    of_cells |= dict.fromkeys(("link", "until"))
    of_uis = {**of_cells, "check": "logs", "ui": "all"}
    file.write_text(json.dumps({"schema": 1, "expectations": [of_cells, of_uis]}))
    options = parse_ui(["--expectations", str(file)], CATALOG)
    assert [one.check for one in options.expectations] == ["logs"]
    of_uis["check"] = "lgos"
    file.write_text(json.dumps({"schema": 1, "expectations": [of_cells, of_uis]}))
    with pytest.raises(UsageError, match=r"expectations\[1\].*'lgos'"):
        parse_ui(["--expectations", str(file)], CATALOG)


def test_what_makes_a_ui_another_is_in_its_rerun_lines(tmp_path, assets):
    words = ["--checkout", _empty_clone(tmp_path), "--ui-assets", str(assets)]
    words += ["--backend", "embedded", "--ui-full", "--ui-triggers"]
    flags = parse_ui(["--check", *words], CATALOG).origin_flags
    assert sorted(flags) == sorted(words)


def test_a_port_that_is_taken_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = f"--ui-port {port}: the port cannot be used: Address already in use; name another"
        with pytest.raises(UsageError, match=told):
            check_port(port)


def test_containers_are_taken_where_the_stack_is_in_containers_or_an_engine_answers():
    options = parse_ui([], CATALOG)
    assert needs_processes(options, "docker", engine) == ""
    assert needs_processes(options, "embedded", engine) == ""
    assert needs_processes(options, "", engine) == ""


def test_without_an_engine_a_clone_is_asked_for():
    with pytest.raises(UsageError, match=r"--checkout PATH\|URL \(no Docker engine answers\)"):
        needs_processes(parse_ui([], CATALOG), "embedded", no_engine)
    with pytest.raises(InfraError, match="no Docker engine answers"):
        needs_processes(parse_ui(["--backend", "docker"], CATALOG), "embedded", no_engine)
    with pytest.raises(InfraError, match="no Docker engine answers"):
        needs_processes(parse_ui([], CATALOG), "docker", no_engine)


def test_a_clone_is_built_in_containers_where_an_engine_answers(tmp_path):
    options = parse_ui(["--checkout", _empty_clone(tmp_path)], CATALOG)
    for kept in ("docker", "embedded", ""):
        assert needs_processes(options, kept, engine) == ""


def test_certificates_of_this_machine_need_processes(tmp_path):
    (tmp_path / "ca.crt").touch()
    url = "postgresql://me:secret@h/d?sslmode=verify-full"
    words = ["--checkout", _empty_clone(tmp_path), "--database-url"]
    assert needs_processes(parse_ui([*words, url], CATALOG), "", engine) == ""
    words.append(f"{url}&sslrootcert={tmp_path / 'ca.crt'}")
    why = "the certificates of --database-url are files of this machine"
    with pytest.raises(UsageError, match=rf"page comes from --ui-assets PATH \({why}\)"):
        needs_processes(parse_ui(words, CATALOG), "", engine)
    with pytest.raises(UsageError, match=f"{why}, and no container has them"):
        needs_processes(parse_ui([*words, "--backend", "docker"], CATALOG), "", engine)


def test_what_a_backend_requires_is_chosen_for_processes(tmp_path):
    words = ["--checkout", _empty_clone(tmp_path), "--service-deps"]
    options = parse_ui([*words, "latest"], CATALOG)
    with pytest.raises(UsageError, match=r"--ui-assets PATH \(--service-deps is given"):
        needs_processes(options, "docker", engine)
    assert parse_ui([*words, "pinned"], CATALOG).service_deps is None
    with pytest.raises(UsageError, match="latest,pinned: a UI backend has one of them"):
        parse_ui([*words, "latest,pinned"], CATALOG)
    with pytest.raises(UsageError, match="for backends that run as processes, not in"):
        needs_processes(parse_ui([*words, "latest", "--backend", "docker"], CATALOG), "", engine)


def test_processes_need_a_clone_and_the_page(tmp_path, assets):
    git_folder = _empty_clone(tmp_path)
    words = ["--checkout", git_folder]
    page = "page comes from --ui-assets PATH"
    with pytest.raises(UsageError, match=rf"{page} \(no Docker engine answers\): metaflow-ui-VERS"):
        needs_processes(parse_ui(words, CATALOG), "embedded", no_engine)
    embedded = parse_ui([*words, "--backend", "embedded"], CATALOG)
    with pytest.raises(UsageError, match=rf"{page} \(asked for\): metaflow-ui-VERSION"):
        needs_processes(embedded, "embedded", engine)
    words += ["--ui-assets", str(assets)]
    assert needs_processes(parse_ui(words, CATALOG), "embedded", engine) == "--ui-assets is given"
    with pytest.raises(UsageError, match=r"\(asked for\)"):
        needs_processes(parse_ui(["--backend", "embedded"], CATALOG), "docker", engine)


def test_assets_are_for_processes(assets):
    words = ["--ui-assets", str(assets)]
    with pytest.raises(UsageError, match=r"--checkout PATH\|URL \(--ui-assets is given\)"):
        needs_processes(parse_ui(words, CATALOG), "embedded", engine)
    with pytest.raises(UsageError, match="--ui-assets is for backends that run as processes"):
        needs_processes(parse_ui([*words, "--backend", "docker"], CATALOG), "", engine)
    with pytest.raises(UsageError, match="--ui-assets is for backends that run as processes"):
        needs_processes(parse_ui([*words, "--ui-image", "a"], CATALOG), "docker", engine)


@pytest.mark.parametrize("option", ["--ui-image", "--ui-checkout"])
def test_a_page_in_a_container_is_refused_where_containers_are_ruled_out(tmp_path, option):
    words = [option, _empty_clone(tmp_path), "--backend", "embedded"]
    with pytest.raises(UsageError, match=f"{option} needs containers, which --backend embedded"):
        needs_processes(parse_ui(words, CATALOG), "docker", engine)


@pytest.mark.parametrize(
    "flags", [["--pull", "never"], ["--registry", "m.example.com"], ["--dockerfile", "D"]]
)
def test_what_only_containers_heed_is_refused_without_them(tmp_path, assets, flags):
    words = ["--checkout", _empty_clone(tmp_path), *flags]
    options = parse_ui([*words, "--ui-assets", str(assets)], CATALOG)
    with pytest.raises(UsageError, match=f"{flags[0]} needs containers, and the UI runs as"):
        needs_processes(options, "embedded", engine)
    in_containers = parse_ui([*words, "--backend", "docker"], CATALOG)
    assert needs_processes(in_containers, "embedded", engine) == ""


def _empty_clone(folder) -> str:
    clone = folder / "clone"
    subprocess.run(["git", "init", "--quiet", str(clone)], check=True)
    return str(clone)
