"""What holds for the harness's own files as they stand."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from harness.report.schema import PUBLISHED, render_schema
from harness.tools import ROOT


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
    assert found == [("harness/processes.py", "moments")]


def test_no_script_sleeps():
    scripts = sorted((ROOT / "harness" / "goose" / "bin").iterdir())
    assert scripts
    assert [path for path in scripts if "sleep" in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_schemas_are_those_of_the_types(name):
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == render_schema(name), "write it anew: python -m harness.report.schema"
