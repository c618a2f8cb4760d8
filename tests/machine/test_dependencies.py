"""Which versions of dependencies a release gets: words, files of a user, and what uv makes of them.

uv is the real one, over a folder of wheels: no index is asked.
"""

from __future__ import annotations

import sys
import zipfile
from datetime import date
from pathlib import Path

import pytest

from harness.machine import dependencies
from harness.machine.dependencies import (
    PINNED,
    Dependencies,
    check_file,
    packages_in,
    parse_dependencies,
    resolve,
    resolved_tool,
)
from harness.machine.errors import InfraError, UsageError
from harness.machine.installed import versions_in

PYTHON = Path(sys.executable)
NONE = "/bin/false"
"""A Python for which nothing can be had."""


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with wheels of big 1.0, which needs small before 2, and of three releases of it."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, version, needs in (
        *(("small", version, "") for version in ("1.0", "1.1", "2.0")),
        ("big", "1.0", "Requires-Dist: small<2\n"),
        *(("metaflow", version, "Requires-Dist: small\n") for version in ("2.1", "2.2")),
    ):
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
            archive.writestr(
                f"{info}/METADATA",
                f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
            )
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/RECORD", "")
    return folder


@pytest.fixture
def written(tmp_path: Path, wheels: Path):
    """Return what writes a file of a user, which knows the wheels by its first two lines."""

    def write(text: str, name: str = "req.txt") -> Dependencies:
        path = tmp_path / name
        path.write_text(f"--no-index\n--find-links {wheels}\n{text}", encoding="utf-8")
        (deps,) = parse_dependencies("--deps", str(path))
        return deps

    return write


def test_words_and_files_are_known_by_their_names(written, tmp_path):
    file = written("small\n")
    found = parse_dependencies("--deps", f"pinned, release-day,latest,{tmp_path / 'req.txt'}")
    assert [one.name for one in found] == ["", "release-day", "latest", "req.txt"]
    assert found[0] == PINNED
    assert found[3] == file


def test_a_file_is_told_apart_by_what_it_and_what_it_includes_hold(written, tmp_path):
    (tmp_path / "more.txt").write_text("small\n", encoding="utf-8")
    first = written("-r more.txt\n")
    (tmp_path / "more.txt").write_text("small<2\n", encoding="utf-8")
    second = written("-r more.txt\n")
    assert first.name == second.name
    assert len({first.digest, second.digest, written("small\n").digest}) == 3
    assert written("-r more.txt\n").digest == second.digest


def test_what_does_not_count_leaves_the_packages_without_their_bounds():
    pins = ["setuptools<81", "boto3>=1.28"]
    assert PINNED.pins(pins) == pins
    assert Dependencies("latest").pins(pins) == ["setuptools", "boto3"]


def test_a_release_day_ends_by_no_clock_of_a_machine():
    day = date(2019, 12, 31)
    flags = ["--exclude-newer", "2020-01-01T00:00:00Z"]
    assert Dependencies("release-day").day(day) == flags
    assert [Dependencies(name).day(day) for name in ("", "latest", "req.txt")] == [[], [], []]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "lates",
            "--deps: 'lates' is not there: pinned, release-day, latest or a file (nearest: l",
        ),
        ("", "--deps: '' is not there"),
        ("latest,latest", "--deps latest,latest: latest is given twice"),
        ("pinned,pinned", "pinned is given twice"),
        ("{folder}", "{folder}: Is a directory"),
        ("{folder}/latest", "/latest: give the file a name that means nothing else"),
        ("{folder}/3.12", "/3.12: give the file a name"),
        ("{folder}/bytes.txt", "/bytes.txt, line 2: this is no text in UTF-8"),
        ("{folder}/empty.txt", "/empty.txt: the file names no package"),
        ("{folder}/open.txt", "/gone.txt: No such file or directory"),
        ("{folder}/my-constraints.txt", "line 2: Metaflow<3: --metaflow says which client it is"),
    ],
)
def test_what_cannot_be_taken_is_one_line(tmp_path, text, said):
    files = {
        "latest": b"small\n",
        "3.12": b"small\n",
        "bytes.txt": b"small\n\xff\n",
        "empty.txt": b"# small\n\n",
        "open.txt": b"-r gone.txt\n",
        "my-constraints.txt": b"metaflow-card-x<2\nMetaflow<3\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        parse_dependencies("--deps", text.format(folder=tmp_path))
    assert said.format(folder=tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_limits_of_a_ui_backend_may_be_about_its_metaflow(tmp_path):
    file = tmp_path / "my-constraints.txt"
    file.write_text("metaflow<2.19\n", encoding="utf-8")
    (deps,) = parse_dependencies("--service-deps", str(file))
    assert deps.file == file


def test_without_uv_only_what_is_pinned_can_be_had(monkeypatch):
    monkeypatch.setattr(dependencies, "find_uv", lambda: None)
    assert parse_dependencies("--deps", "pinned") == (PINNED,)
    with pytest.raises(UsageError, match=r"--deps latest needs uv: python -m pip install"):
        parse_dependencies("--deps", "latest")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("small\nbig 1 2\n", "req.txt, line 4: Couldn't parse"),
        ("# ä ö ü ß\nsmall\nbig 1 2\n", "req.txt, line 5: Couldn't parse"),
        ("small\n--colour red\n", "req.txt, line 4: Unexpected '-'"),
        ("small==9\n", "req.txt, line 3: No solution found when resolving dependencies: Because"),
        ("big\n\nsmall>=2\n", "req.txt, lines 3 and 5: No solution"),
        ("small\nnot-there\n", "req.txt, line 4: No solution"),
        ("small\n-r more.txt\n", "more.txt, line 2: Error parsing included file"),
    ],
)
def test_a_file_that_does_not_parse_or_resolve_is_refused_with_its_line(
    written, tmp_path, text, said
):
    (tmp_path / "more.txt").write_text("small\nbig 1 2\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        check_file("--deps", written(text), [str(PYTHON)])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "^" not in str(caught.value)


def test_one_python_that_can_have_a_file_is_enough(written):
    check_file("--service-deps", written("small\n"), [NONE, str(PYTHON)])
    with pytest.raises(UsageError, match=r"^--service-deps \S+req\.txt: .*/bin/false"):
        check_file("--service-deps", written("small==9\n"), [NONE, str(PYTHON)])


def test_a_tool_goes_on_to_a_python_that_can_have_what_it_needs(written, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.machine.tools.TOOLS", tmp_path / "tools")
    python = resolved_tool("tests", ["big"], [NONE, str(PYTHON)], written("small\n"), None)
    assert versions_in(python) == {"big": "1.0", "small": "1.1"}
    with pytest.raises(InfraError, match=r"req\.txt: .*/bin/false"):
        resolved_tool("tests", ["big"], [NONE, str(PYTHON)], written("small>=2\n"), None)


def test_a_file_of_requirements_is_installed_and_one_of_limits_is_not(written):
    installed = resolve(["small"], PYTHON, written("big\n"), None)
    assert packages_in(installed) == ["big==1.0", "small==1.1"]
    limited = resolve(["small"], PYTHON, written("small<1.1\nbig\n", "constraints.txt"), None)
    assert packages_in(limited) == ["small==1.0"]


def test_the_same_gives_the_same_and_what_is_installed_decides_nothing(written):
    deps = written("big\n")
    found = [resolve(["small"], PYTHON, deps, None) for _ in range(2)]
    assert found[0] == found[1]
    # The lines that name where packages are go with them.
    assert len(found[0]) > len(packages_in(found[0])) == 2


def test_a_client_is_not_what_a_file_says_it_is(written):
    deps = written("metaflow==2.2\nsmall<2\n")
    found = resolve(["metaflow==2.1"], PYTHON, deps, None, fixed=["metaflow==2.1"])
    assert packages_in(found) == ["metaflow==2.1", "small==1.1"]


def test_what_cannot_be_resolved_together_is_told_in_words_of_uv(written):
    with pytest.raises(InfraError, match=r"req\.txt: No solution .* big depend on small<2"):
        resolve(["big"], PYTHON, written("small>=2\n"), None)


def test_an_index_that_does_not_answer_is_no_fault_of_a_file(tmp_path):
    path = tmp_path / "req.txt"
    path.write_text("--index-url http://me:secret@127.0.0.1:9/simple\nsmall\n", encoding="utf-8")
    (deps,) = parse_dependencies("--deps", str(path))
    with pytest.raises(
        InfraError, match=r"the package index http://127\.0\.0\.1:9 cannot be"
    ) as caught:
        check_file("--deps", deps, [str(PYTHON)])
    assert "secret" not in str(caught.value)
