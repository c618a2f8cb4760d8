"""What holds for the harness's own files as they stand."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields

from harness.tools import ROOT
from harness.walk import Stage


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


def test_the_journal_s_fields_are_described():
    run = ast.parse((ROOT / "harness" / "run.py").read_text(encoding="utf-8"))
    written = {field.name for field in fields(Stage)}
    for node in ast.walk(run):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "self.record":
            written |= {keyword.arg for keyword in node.keywords if keyword.arg}
    described = re.findall(r"`(\w+)`", (ROOT / "docs" / "journal.md").read_text(encoding="utf-8"))
    assert {"datastores", "finished", "rerun", "lost"} <= written
    assert written - set(described) == set()
