"""Bad input through the real nox command: one clear error, and nothing was started or made."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.nox_runs import copy_project, environment, nox

pytestmark = pytest.mark.e2e


def _one_error(finished: subprocess.CompletedProcess[str], *words: str) -> None:
    output = finished.stdout + finished.stderr
    assert finished.returncode != 0, output
    assert "Traceback" not in output
    errors = [line for line in output.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, output
    for word in words:
        assert word in errors[0]
    assert not re.search(r"^nox > (Running session \w+\(|Creating)", output, re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--metafow", "2.2.1"], ["unknown option --metafow", "--metaflow"]),
        (["--metaflow", "2.2.99"], ["unknown client '2.2.99'", "nearest: 2.2.13, 2.3.0"]),
        (["--metaflow", ""], ["no client is named"]),
        (["--metaflow", ">=3"], ["'>=3' matches no client", "2.19.39"]),
        (["--service", "2.6.9"], ["unknown reference level '2.6.9'", "reference-2.5"]),
        (["--service", ">2.5"], ["'>2.5' matches no reference level", "reference-2.5"]),
        (["--probe", "basic"], ["no such probe", "nearest: basics"]),
        (["--datastore", "locla"], ["no such datastore", "nearest: local"]),
        (
            ["--datastore", "s3", "--s3-image", "minio/minio"],
            ["--s3-image needs containers", "no Docker engine answers"],
        ),
        (["--s3-image", "minio/minio"], ["--s3-image is of no use without --datastore s3"]),
        (["--jobs", "0"], ["--jobs 0"]),
        (["--timeout", "-1"], ["--timeout -1"]),
        (["--flow-dir", "TMP/absent"], ["--flow-dir TMP/absent: no such folder"]),
        (["--postgres", "TMP/absent"], ["no PostgreSQL at TMP/absent"]),
        (["--backend", "cloud"], ["--backend", "cloud", "embedded"]),
        (["--backend", "docker"], ["no Docker engine answers at unix://", "DOCKER_HOST", "start"]),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, list) else None,
)
def test_options(tmp_path, options, words):
    results = tmp_path / "results"
    given, said = (
        [text.replace("TMP", str(tmp_path)) for text in texts] for texts in (options, words)
    )
    finished = nox("-s", "compat(2.19.39)", "--", "--results", str(results), *given)
    _one_error(finished, *said)
    assert not results.exists()


def test_a_client_named_in_the_session(tmp_path):
    finished = nox("-s", "local(2.4.6)", "--", "--results", str(tmp_path / "results"))
    _one_error(finished, "unknown client '2.4.6'", "2.4.")
    assert not (tmp_path / "results").exists()


def test_a_flow_dir_without_a_flow(tmp_path):
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "helper.py").write_text("X = 1\n", encoding="utf-8")
    finished = nox("-s", "local", "--", "--flow-dir", str(tmp_path / "flows"))
    _one_error(finished, f"--flow-dir {tmp_path}/flows", "no file in it defines a flow")


def test_a_port_in_use(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        results = tmp_path / "results"
        finished = nox("-s", "compat", "--", "--database-port", port, "--results", str(results))
    _one_error(finished, f"port {port}", "choose another")
    assert not results.exists()


def test_results_below_a_file(tmp_path):
    file = tmp_path / "file"
    file.touch()
    finished = nox("-s", "local", "--", "--results", str(file / "results"))
    _one_error(finished, f"--results {file}/results: cannot be written", f"{file} is no folder")


def test_a_client_whose_python_is_missing_everywhere(tmp_path):
    # Only the Python of nox itself is left, and no Python that runs this harness runs 2.0.0.
    bare = environment(PATH="", HOME=str(tmp_path), PYENV_ROOT=str(tmp_path))
    bare.pop("UV_PYTHON_INSTALL_DIR", None)
    bare.pop("XDG_DATA_HOME", None)
    results = tmp_path / "results"
    finished = nox("-s", "compat", "--", "--metaflow", "2.0.0", "--results", str(results), env=bare)
    _one_error(finished, "Metaflow 2.0.0 runs on Python 3.6, 3.7, 3.8 or 3.9; found: 3.")
    assert not results.exists()


def _without_pythons(catalog: dict[str, Any]) -> None:
    catalog["clients"][3]["pythons"] = []


def _version_twice(catalog: dict[str, Any]) -> None:
    catalog["clients"][1]["version"] = catalog["clients"][0]["version"]


def _schema_going_back(catalog: dict[str, Any]) -> None:
    catalog["services"][-1]["schema"] = 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without_pythons, ["versions.json: clients[3]", "field 'pythons'"]),
        (_version_twice, ["versions.json: clients[1]", "field 'version'"]),
        (_schema_going_back, ["versions.json: services[", "field 'schema'"]),
        (None, ["versions.json"]),
    ],
)
def test_versions_json(
    tmp_path: Path, change: Callable[[dict[str, Any]], None] | None, words: list[str]
) -> None:
    project = copy_project(tmp_path)
    file = project / "versions.json"
    text = file.read_text(encoding="utf-8")
    if change is None:
        file.write_text(text[:-20], encoding="utf-8")
    else:
        catalog = json.loads(text)
        change(catalog)
        file.write_text(json.dumps(catalog), encoding="utf-8")
    _one_error(nox("-s", "compat", cwd=project), *words)
    assert not (project / "results").exists()
    assert not (project / ".nox").exists()
