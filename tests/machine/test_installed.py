"""What an environment holds, told so that other contents are told otherwise."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest

from harness.machine import installed
from harness.machine.errors import InfraError
from harness.machine.installed import distributions_in, versions_in, whole_version

FOLDER = {"url": "file:///home/me/mylib", "dir_info": {}}
EDITABLE = {"url": "file:///home/me/mylib", "dir_info": {"editable": True}}
COMMIT = {"url": "https://h/x.git", "vcs_info": {"vcs": "git", "commit_id": "a" * 40}}


def _told(
    home: Path,
    origin: dict[str, object] | None,
    record: str = "mylib.py,sha256=a,9\n",
    text: str = "",
) -> str:
    """Return what is told of the version of a package that is installed there.

    Args:
        home: of the environment, made now.
        origin: where it came from; None for an index.
        record: its files and their hashes.
        text: what is in the file without one.
    """
    info = home / "lib/python3.11/site-packages/mylib-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: My_lib\nVersion: 1.0\n")
    (info / "RECORD").write_text(record)
    if origin is not None:
        (info / "direct_url.json").write_text(json.dumps(origin))
    (info.parent / "loose.py").write_text(text)
    return versions_in(home / "bin" / "python")["my-lib"]


def test_one_from_an_index_is_told_by_its_version(tmp_path):
    assert _told(tmp_path, None) == "1.0"


@pytest.mark.parametrize("origin", [FOLDER, COMMIT])
@pytest.mark.parametrize(
    "record",
    ["mylib.py,sha256=b,9\n", "mylib.py,sha256=a,9\nmore.py,sha256=b,1\n", "loose.py,,\n"],
)
def test_one_from_elsewhere_is_told_by_what_it_holds(tmp_path, origin, record):
    assert _told(tmp_path / "one", origin) == _told(tmp_path / "same", origin)
    assert _told(tmp_path / "two", origin) != _told(tmp_path / "one2", origin, record)


def test_a_file_without_a_hash_is_looked_at(tmp_path):
    told = [_told(tmp_path / text, FOLDER, "loose.py,,\n", text) for text in ("one", "two")]
    assert told[0] != told[1]


def test_where_it_was_installed_and_when_decides_nothing(tmp_path):
    more = "../../../bin/mylib,sha256=z,1\nmylib-1.0.dist-info/uv_cache.json,sha256=y,1\n"
    compiled = "__pycache__/mylib.cpython-311.pyc,,\n"
    whole = f"mylib.py,sha256=a,9\n{more}{compiled}mylib-1.0.dist-info/RECORD,,\n"
    assert _told(tmp_path / "one", FOLDER) == _told(tmp_path / "two", FOLDER, whole)


def test_an_editable_one_is_that_of_no_other_process(tmp_path, monkeypatch):
    now = _told(tmp_path / "one", EDITABLE)
    assert now == _told(tmp_path / "same", EDITABLE)
    monkeypatch.setattr(installed, "_NOW", "later")
    assert _told(tmp_path / "two", EDITABLE) != now


def test_all_but_the_description_is_as_importlib_has_it():
    interpreter = Path(sys.executable)
    folders = (interpreter.parent.parent / "lib").glob("python3.*/site-packages")
    by_path = {
        dist.metadata["Name"]: (dist.version, dist.requires)
        for dist in metadata.distributions(path=[str(folder) for folder in folders])
    }
    found = distributions_in(interpreter)
    assert {dist.metadata["Name"]: (dist.version, dist.requires) for dist in found} == by_path
    assert by_path
    assert not any(dist.metadata.get_payload() for dist in found)


def test_a_python_tells_its_whole_version():
    assert whole_version(Path(sys.executable)) == " ".join(sys.version.split())


@pytest.mark.parametrize("text", ["#!/bin/sh\necho no such library >&2; exit 127\n", None])
def test_one_that_does_not_run_is_named(tmp_path, text):
    python = tmp_path / "python"
    if text is not None:
        python.write_text(text)
        python.chmod(0o755)
    with pytest.raises(InfraError, match=f"{python} does not run: "):
        whole_version(python)
