"""A fresh copy of the project, used by somebody who is not root and has nothing installed yet."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nox.project
import pytest

from harness.catalog.interpreters import find_interpreters
from harness.machine.tools import ROOT, find_uv
from tests.e2e.nox_runs import SECONDS, copy_project, environment, finished_run, leftovers

pytestmark = pytest.mark.e2e

_NOBODY = 65534
_OLDEST_MINOR = 10


@pytest.fixture(scope="module")
def user() -> dict[str, int]:
    """How to start a process as an ordinary user: as oneself, or from root as nobody."""
    return {} if os.geteuid() else {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}


def _runs(python: Path, user: dict[str, int]) -> bool:
    program = "import ssl, venv, ctypes"
    try:
        finished = subprocess.run(
            [str(python), "-c", program], cwd="/", capture_output=True, check=False, **user
        )
    except PermissionError:
        return False
    return finished.returncode == 0


@pytest.fixture(scope="module")
def python(user, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python for the harness that this user can run."""
    # Where several have the same minor, the one on PATH may be root's own: nox puts its first.
    paths = (os.environ["PATH"], os.defpath)
    home = str(tmp_path_factory.mktemp("home"))
    elsewhere = [find_interpreters({"PATH": path, "HOME": home}) for path in paths]
    found = [item for one in (find_interpreters(), *elsewhere) for item in one.items()]
    for minor, path in found:
        if int(minor.split(".")[1]) >= _OLDEST_MINOR and _runs(path, user):
            return path
    pytest.skip(f"no Python >= 3.{_OLDEST_MINOR} that an ordinary user can run: {found}")


@pytest.fixture(scope="module")
def project(user) -> Iterator[Path]:
    """The copy, in a folder that belongs to the user with a HOME beside it."""
    with tempfile.TemporaryDirectory(prefix="compat-tests-") as name:
        folder = Path(name)
        copy = copy_project(folder)
        (folder / "home").mkdir()
        if user:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, _NOBODY, _NOBODY)
        yield copy


def test_a_first_run_in_a_fresh_copy(user, python, project):
    home = project.parent / "home"
    env = environment(HOME=str(home), USER="somebody", TMPDIR=str(home), PYENV_ROOT=str(home))
    # Environments of this test's own: nothing of the machine's caches that it could not reach.
    for name in ("UV_CACHE_DIR", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        env.pop(name, None)
    env.pop("NOX_SCRIPT_MODE")
    own = home / "nox"
    uv = find_uv() or "uv"
    needs = nox.project.load_toml(str(ROOT / "noxfile.py"))["dependencies"]
    for command in (
        [str(python), "-m", "venv", "--without-pip", str(own)],
        [uv, "pip", "install", "--quiet", "--python", str(own / "bin" / "python"), needs[0]],
        [
            *(str(own / "bin" / "python"), "-m", "nox", "-s", "compat(2.19.39)"),
            *("--", "--probe", "hello", "--service", "2.5"),
        ],
    ):
        finished = subprocess.run(
            command,
            cwd=project,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
            **user,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
    found = finished_run(finished.returncode, finished.stderr, project / "results")
    assert [cell["status"] for cell in found.cells] == ["pass"]
    assert {path.stat().st_uid for path in found.folder.rglob("*")} == {
        user.get("user", os.geteuid())
    }
    assert leftovers(project / "results") == []
