"""What nox's own parser tells a noxfile while it loads."""

from __future__ import annotations

import pytest

from harness.cli.asked import Asked, ask_nox


def _ask(monkeypatch: pytest.MonkeyPatch, *words: str, **variables: str) -> Asked:
    for name in ("NOXSESSION", "NOXPYTHON", "NOXFORCEPYTHON", "NOX_PARALLEL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["nox", *words])
    return ask_nox()


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["-l"], []),
        (["--", "--jobs", "1"], ["--jobs", "1"]),
        (["-s", "tests", "--", "-k", "x", "--", "y"], ["-k", "x", "--", "y"]),
    ],
)
def test_arguments_are_what_follows_the_first_dashes(monkeypatch, words, arguments):
    assert list(_ask(monkeypatch, *words).arguments) == arguments


@pytest.mark.parametrize(
    ("words", "variables", "sessions"),
    [
        (["-l"], {}, []),
        (["-s", "compat", "local", "--", "-s", "x"], {}, ["compat", "local"]),
        (["-e", "local", "-R"], {}, ["local"]),
        (["--session=compat"], {}, ["compat"]),
        (["--sessions", "compat"], {}, ["compat"]),
        ([], {"NOXSESSION": "compat,local"}, ["compat", "local"]),
        (["-s", "tests"], {"NOXSESSION": "compat"}, ["tests"]),
        (["-k", "fixed_db"], {}, []),
    ],
)
def test_sessions_nox_was_asked_for(monkeypatch, words, variables, sessions):
    assert list(_ask(monkeypatch, *words, **variables).sessions) == sessions


@pytest.mark.parametrize(
    ("words", "lists"),
    [
        (["-l"], True),
        (["--list", "-s", "compat"], True),
        (["--list-sessions"], True),
        (["-s", "tests", "--", "-l"], False),
        ([], False),
    ],
)
def test_listing_is_not_running(monkeypatch, words, lists):
    assert _ask(monkeypatch, *words).lists is lists


@pytest.mark.parametrize(
    ("words", "variables", "pythons"),
    [
        (["-p", "3.11", "3.12"], {}, ["3.11", "3.12"]),
        (["--force-python", "3.12"], {}, ["3.12"]),
        ([], {"NOXPYTHON": "3.9"}, ["3.9"]),
        ([], {}, []),
    ],
)
def test_pythons_nox_was_told_to_take(monkeypatch, words, variables, pythons):
    assert list(_ask(monkeypatch, *words, **variables).pythons) == pythons


@pytest.mark.parametrize(
    ("words", "takers", "leaves"),
    [
        ([], ("compat",), False),
        (["-l"], ("compat", "cross", "fixed_db", "chaos", "local", "full"), False),
        (["-s", "local", "compat(2.2.1)"], ("compat", "local"), False),
        (["-s", "full"], ("full",), False),
        (["-s", "tests"], (), True),
        (["-s", "tests", "compat"], ("compat",), True),
        (["-k", "fixed_db"], ("compat", "cross", "fixed_db", "chaos", "local", "full"), True),
        (["-t", "any"], ("compat", "cross", "fixed_db", "chaos", "local", "full"), True),
        (
            ["-l", "-k", "fixed_db"],
            ("compat", "cross", "fixed_db", "chaos", "local", "full"),
            False,
        ),
        (["-s", "compat-3.12(2.2.1)", "-P", "3.12"], ("compat",), False),
    ],
)
def test_who_may_take_the_arguments(monkeypatch, words, takers, leaves):
    asked = _ask(monkeypatch, *words)
    assert (asked.takers, asked.leaves_arguments) == (takers, leaves)


def test_clients_named_with_a_session(monkeypatch):
    words = ("-s", "compat(2.2.1)", "compat-3.12(2.19.39)", "local", "local( 2.13 )")
    asked = _ask(monkeypatch, *words)
    named = {name: asked.named(name) for name in ("compat", "fixed_db", "local")}
    assert named == {
        "compat": [("2.2.1", "", ""), ("2.19.39", "", "")],
        "fixed_db": [],
        "local": [("2.13", "", "")],
    }


def test_a_python_named_with_a_session(monkeypatch):
    asked = _ask(monkeypatch, "-s", "compat(2.8.5, 3.12)", "compat-/p/python3.12(2.8.6, 3.12)")
    assert asked.named("compat") == [("2.8.5", "3.12", ""), ("2.8.6", "3.12", "")]


def test_dependencies_named_with_a_session(monkeypatch):
    names = ("(2.8.5, latest)", "(2.8.6,3.12,my req.txt)", "(2.8.7, 3)", "(2.8.8, 3.x, latest)")
    asked = _ask(monkeypatch, "-s", *(f"compat{name}" for name in names))
    assert asked.named("compat") == [
        ("2.8.5", "", "latest"),
        ("2.8.6", "3.12", "my req.txt"),
        ("2.8.7", "3", ""),
        ("2.8.8", "3.x", "latest"),
    ]


def test_nothing_is_read_while_a_shell_completes_a_word(monkeypatch):
    assert _ask(monkeypatch, "-s", "com", _ARGCOMPLETE="1") == Asked()
