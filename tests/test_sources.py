"""What holds for the harness's own files as they stand."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.machine.tools import ROOT
from harness.report.schema import PUBLISHED, render_schema


def sleeps(tree: ast.AST, within: str = "") -> Iterator[str]:
    """Yield the name of the function around each call of something named ``sleep``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call) and "sleep" in ast.unparse(node.func):
            yield within
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from sleeps(node, node.name if named else within)


def test_waiting_is_on_conditions_never_on_time():
    """The one sleep is the pause between two questions, of ``wait_until`` and its like."""
    found = [
        (str(path.relative_to(ROOT)), function)
        for path in [ROOT / "noxfile.py", *sorted((ROOT / "harness").rglob("*.py"))]
        for function in sleeps(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == [("harness/machine/processes.py", "moments")]


def test_whatever_is_started_bears_the_mark():
    """Who is given variables of its own gets the mark with them; all others inherit it."""
    given = []
    for path in sorted((ROOT / "harness").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("subprocess."):
                words = {one.arg: ast.unparse(one.value) for one in node.keywords}
                given += [(path.name, words["env"])] if "env" in words else []
    assert given == [
        ("guard.py", "{**os.environ, 'PYTHONPATH': str(ROOT), MARK: run}"),
        ("processes.py", "{**env, MARK: self.mark}"),
        ("api.py", "marked({'PATH': os.environ.get('PATH', os.defpath)})"),
        ("cluster.py", "{**os.environ, MARK: self._folder.run}"),
        # Of a run on a worker, which marks its own.
        ("on_worker.py", "{**_environment(), UNITS: f'{its_requests},{its_answers}'}"),
        # Marked itself.
        ("cluster.py", "clean_environment()"),
        ("dump.py", "{**clean_environment(), 'PGPASSWORD': address.password}"),
        # All variables but a few of git's.
        ("git.py", "environment"),
        ("objects.py", "marked(self.credentials)"),
    ]


def test_no_script_sleeps():
    scripts = sorted((ROOT / "harness" / "stack" / "goose" / "bin").iterdir())
    assert scripts
    assert [path for path in scripts if "sleep" in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_schemas_are_those_of_the_types(name):
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == render_schema(name), "write it anew: python -m harness.report.schema"


def check_layers(folder: Path) -> subprocess.CompletedProcess[str]:
    """Let import-linter judge the harness below a folder, as ``nox -s lint`` does."""
    linter = Path(sys.executable).with_name("lint-imports")
    command = [str(linter), "--no-cache", "--config", str(ROOT / "pyproject.toml")]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_imports_run_downwards():
    done = check_layers(ROOT)
    assert "1 kept, 0 broken" in done.stdout
    assert done.returncode == 0


def test_an_import_upwards_is_found(tmp_path: Path):
    shutil.copytree(ROOT / "harness", tmp_path / "harness")
    low = tmp_path / "harness" / "stack" / "backend.py"
    low.write_text(f"import harness.cli.options\n{low.read_text(encoding='utf-8')}")
    done = check_layers(tmp_path)
    assert done.returncode == 1
    assert "harness.stack.backend -> harness.cli.options (l.1)" in done.stdout


def test_each_test_that_the_docs_name_is_there():
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    text = (ROOT / "docs" / "reading-a-report.md").read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)[\[`]", text))
    assert len(named) > 20
    assert [name for name in sorted(named) if f"def {name}(" not in tests] == []


def test_the_folders_show_the_structure():
    harness = ROOT / "harness"
    assert [path.name for path in harness.glob("*.py")] == ["__init__.py"]
    for path in harness.rglob("__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert [type(node) for node in body] == [ast.Expr], f"{path}: more than its docstring"
