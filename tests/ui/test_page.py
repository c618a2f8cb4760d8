"""The page in a real browser, over a stand-in with a page of the tests' own."""

from __future__ import annotations

import pytest

from harness.core.outcome import Status
from harness.machine.processes import marked_processes
from harness.proof.ui.page import CHECKS, NO_BROWSER, find_browser, look
from tests.marks import mark_of

pytestmark = pytest.mark.e2e

browser = pytest.mark.skipif(find_browser() is None, reason=NO_BROWSER)


@pytest.mark.browser
@browser
def test_a_sound_page_shows_everything_and_is_pictured(written, standin, tmp_path):
    runs = [written.runs["card"], written.runs["failing"]]
    with standin(written.database.address) as (api, _):
        card, failing = look(api, api, runs, tmp_path / "pictures", mark=mark_of(tmp_path))
    assert tuple(card) == CHECKS
    assert {name: one.status for name, one in card.items()} == dict.fromkeys(CHECKS, Status.PASS)
    assert failing["page_card"].status is Status.UNSUPPORTED
    assert {failing[name].status for name in CHECKS[:-1]} == {Status.PASS}
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [file.name for file in pictures] == sorted(
        f"2.19.39-reference-2.5-{name}.png"
        for name in (
            *(
                f"CardFlow-{runs[0].run}-{page}"
                for page in ("list", "timeline", "dag", "log", "card")
            ),
            *(f"FailingFlow-{runs[1].run}-{page}" for page in ("list", "timeline", "dag", "log")),
        )
    )
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in pictures)
    assert not [mark for _, mark in marked_processes() if mark.startswith(mark_of(tmp_path))]


@pytest.mark.browser
@browser
@pytest.mark.parametrize(
    "planted",
    [
        ("status", {"page_list", "page_timeline"}, "shows no line 'Completed' within"),
        ("timeline", {"page_timeline"}, "shows no line 'end' within"),
        ("dag", {"page_dag"}, "shows no line 'start' within"),
        ("log", {"page_log"}, "shows no text 'this line went to the standard output' within"),
        ("card", {"page_card"}, "shows no frame of /cards/ within"),
    ],
)
def test_a_planted_fault_is_seen(written, standin, tmp_path, planted):
    fault, checks, words = planted
    with standin(written.database.address, fault) as (api, _):
        (found,) = look(api, api, [written.runs["card"]], tmp_path, seconds=2)
    assert {name for name, one in found.items() if one.status is Status.FAIL} == checks
    assert any(words in found[name].reason for name in checks)
    assert all(str(tmp_path) in found[name].reason for name in checks)


def test_without_a_browser_nothing_is_asked(written, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = look("http://absent", "http://absent", [written.runs["card"]], tmp_path / "none")
    assert {one.reason for one in found.values()} == {"no Chromium and driver on this machine"}
    assert {one.status for one in found.values()} == {Status.UNSUPPORTED}
    assert not (tmp_path / "none").exists()
