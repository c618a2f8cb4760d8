"""What holds for every option alike."""

from __future__ import annotations

import pytest

from harness.cli.declared import options_of
from harness.cli.docs import FILE, page
from harness.cli.parser import SESSIONS, build_parser
from harness.machine.errors import UsageError
from harness.run.options import value_in


def refused(session: str, *words: str) -> str:
    with pytest.raises(UsageError) as caught:
        build_parser(session).read(words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--jobs", "1", "--jobs", "2"], "--jobs"),
        (["--jobs=1", "--jobs=1"], "--jobs"),
        (["--keep", "--keep"], "--keep"),
        (["--metaflow", "latest", "--versions", "all"], "--versions"),
        (["--versions", "latest", "--metaflow", "all"], "--metaflow"),
    ],
)
def test_an_option_is_given_once(words, named):
    assert refused("compat", *words) == (
        f"{named} is given twice: leave one out; see: nox -s compat -- --help"
    )


@pytest.mark.parametrize(
    ("session", "name"),
    [
        *[("compat", name) for name in ("--results", "--flow-dir", "--expectations", "--postgres")],
        *[("compat", name) for name in ("--database-name", "--database-user", "--checkout")],
        *[("compat", name) for name in ("--postgres-image", "--dockerfile")],
        *[("ui", name) for name in ("--from", "--ui-assets", "--ui-image", "--run", "--results")],
        *[("report", "--output"), ("rerun", "--from")],
    ],
)
def test_an_empty_value_is_refused(session, name):
    assert refused(session, name, "") == f"{name} '': it is empty"
    assert refused(session, f"{name}=") == f"{name} '': it is empty"


@pytest.mark.parametrize("name", ["--flow-dir", "--results", "--database-url", "--metaflow"])
def test_a_nul_is_refused(name):
    assert refused("compat", name, "a\0b") == f"{name}: it has a NUL"


def test_what_was_given_is_written_down_as_it_was_meant():
    words = ["--versions=2.2.1", "--with-md-logs", "--timeout", "5", "--database-name=-x"]
    raw = build_parser("compat").read(words)
    assert raw.given == (
        *("--metaflow", "2.2.1", "--with-service-logs", "--timeout", "5", "--database-name=-x"),
    )
    assert build_parser("compat").read(raw.given).given == raw.given


def test_commands_say_what_they_do_not_know():
    assert refused("report", "--outputt", "x").startswith("unknown option --outputt (nearest: --ou")
    assert refused("diff", "a", "b", "c").startswith("unexpected argument 'c'; see: nox -s diff")
    assert refused("clean", "--keep").startswith("unknown option --keep: it goes with compat")
    assert build_parser("clean").read(["a", "b"]).runs == ["a", "b"]


@pytest.mark.parametrize("session", SESSIONS)
def test_help_has_every_option_and_its_default(session):
    text = " ".join(build_parser(session).format_help().split())
    for option in options_of(session):
        assert option.name in text
        if option.default_text:
            assert f"(default: {option.default_text})" in text.replace("- ", "-")


@pytest.mark.parametrize(
    ("words", "value"),
    [(["--a", "1"], "1"), (["--b", "--a=1=2"], "1=2"), (["--b"], None), (["--a"], ""), ([], None)],
)
def test_an_option_is_found_among_words(words, value):
    assert value_in(words, "--a") == value


def test_the_page_of_options_is_what_is_declared():
    """``python -m harness.cli.docs`` writes it."""
    assert FILE.read_text(encoding="utf-8") == page()
