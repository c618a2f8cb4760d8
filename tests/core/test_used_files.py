"""What a flow uses of the files beside it: what it imports, and what it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.probes import FLOWS, read_probe
from harness.core.used_files import digest_of, used_files
from harness.machine.errors import UsageError

FLOW = "from metaflow import FlowSpec\nclass F(FlowSpec):\n    pass\n"


def put(folder: Path, **files: str) -> None:
    """Write files by their paths in a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def used(folder: Path, text: str, **files: str) -> set[str]:
    put(folder, **files)
    return set(used_files(folder / "flow.py", text.encode()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import helpers", {"helpers.py"}),
        ("def check_a(run):\n    from helpers import greet", {"helpers.py"}),
        ("import package.inner", {"package/__init__.py", "package/inner.py"}),
        ("from package import inner as other", {"package/__init__.py", "package/inner.py"}),
        ("from package import *", {"package/__init__.py"}),
        ("sys.path.insert(0, here + '/lib')\nimport deep", {"lib/deep.py"}),
        ("open(HERE / 'table.csv')", {"table.csv"}),
        ("open(HERE / 'data' / 'more.csv')", {"data/more.csv"}),
        ("open(HERE / 'more.csv')", set()),
        ("import compiled", {"compiled.cpython-311.so"}),
        ("import table", set()),
        ("from metaflow import helpers, step", set()),
        ("helpers = 'helpers'  # helpers", set()),
        ("print 'of Python 2'\nimport helpers", {"helpers.py"}),
    ],
)
def test_what_is_imported_or_named_counts(tmp_path: Path, text: str, expected: set[str]):
    files = ("helpers.py", "package/__init__.py", "package/inner.py", "package/other.py")
    files += ("lib/deep.py", "table.csv", "data/more.csv", "compiled.cpython-311.so", "flow.py")
    assert used(tmp_path, text, **dict.fromkeys(files, "")) == expected


def test_what_is_used_by_what_is_used_counts(tmp_path: Path):
    found = used(
        tmp_path,
        "import one",
        **{"one.py": "import package.two", "package/__init__.py": "from . import three"},
        **{"package/two.py": "open('table.csv')", "package/three.py": "", "table.csv": "x"},
        **{"package/__pycache__/two.py": "", "four.py": "import one"},
    )
    assert found == {
        *("one.py", "package/__init__.py", "package/two.py", "package/three.py", "table.csv"),
    }


def test_extensions_of_metaflow_count_whole_where_they_are_used(tmp_path: Path):
    below = "metaflow_extensions/mine/plugins/card.py"
    files = {f"included/{below}": "", "included/metaflow_extensions/mine/base.html": ""}
    assert used(tmp_path, "FOLDER = 'included'", **files) == set()
    assert used(tmp_path, "# metaflow_extensions", **files) == set(files)
    # Beside the flow Metaflow finds them unasked.
    assert used(tmp_path / "beside", FLOW, **{below: ""}) == {below}


def test_a_link_to_a_folder_above_has_an_end(tmp_path: Path):
    put(tmp_path, **{"included/deep/a.txt": ""})
    (tmp_path / "included" / "deep" / "again").symlink_to(tmp_path / "included")
    (tmp_path / "lib").symlink_to(tmp_path / "included" / "deep")
    assert used(tmp_path, "'lib/a.txt'") == {"included/deep/a.txt", "lib/a.txt"}


def test_a_digest_changes_with_each_file_that_is_used_and_with_no_other(tmp_path: Path):
    put(tmp_path, **{"helpers.py": "import deeper", "deeper.py": "A = 1", "other.py": ""})
    put(tmp_path, **{"flow.py": f"import helpers\n{FLOW}"})

    def digest() -> str:
        probe = read_probe(tmp_path / "flow.py")
        assert probe is not None
        return probe.digest

    digests = {digest()}
    put(tmp_path, **{"other.py": "B = 1"})
    assert digests == {digest()}
    for change in ({"helpers.py": "import deeper\n"}, {"deeper.py": "A = 2"}):
        put(tmp_path, **change)
        digests.add(digest())
    assert len(digests) == 3
    (tmp_path / "deeper.py").rename(tmp_path / "deepest.py")
    assert digest() not in digests


def test_the_same_bytes_under_other_names_are_another_digest(tmp_path: Path):
    text = b"a.txt b.txt"
    put(tmp_path, **{"a.txt": "x", "b.txt": "y"})
    first = digest_of(tmp_path / "flow.py", text)
    put(tmp_path, **{"a.txt": "y", "b.txt": "x"})
    assert digest_of(tmp_path / "flow.py", text) != first


def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path):
    # Root may read all; what nobody wrote to has no bytes at its beginning to be read.
    (tmp_path / "data.bin").symlink_to("/proc/self/mem")
    with pytest.raises(
        UsageError, match=r"flow\.py: .*data\.bin lies beside it and cannot be read"
    ):
        used(tmp_path, "data.bin")


def test_the_flows_of_the_project_use_nothing_of_each_other():
    found = {path.stem: set(used_files(path, path.read_bytes())) for path in FLOWS.glob("*.py")}
    assert {name: files for name, files in found.items() if files} == {
        "card": {"included/metaflow_extensions/probe/plugins/cards/probe_card/__init__.py"},
        "values": {"included/text.txt", "included/bytes.bin"},
    }
