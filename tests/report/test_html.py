"""The page as a file: valid, alone, harmless, and with the journal's numbers."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.core.journal import read
from harness.core.outcome import Status
from harness.core.view import View
from harness.report import html
from harness.report.findings import findings, headline
from harness.report.html import render_html, worst_first
from harness.report.summary import totals
from tests.report import journals


class _Page(HTMLParser):
    """Elements in order, and the text of scripts by their id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str | None, str] = {}
        self.words: list[str] = []
        self._script: str | None = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        self._script = dict(attrs).get("id") if tag == "script" else ""

    def handle_data(self, data) -> None:
        if self.lasttag == "script" and self._script != "":
            self.scripts.setdefault(self._script, data)
        self.words.append(data)


@pytest.fixture(scope="module")
def page(results: Path) -> str:
    return "".join(render_html(View(read(results)), results))


def test_it_is_valid_html(page: str):
    html5lib = pytest.importorskip("html5lib")
    document = html5lib.HTMLParser(strict=True).parse(page)
    assert document is not None


def test_it_names_no_other_address(page: str):
    parsed = _Page(page)
    for tag, attributes in parsed.tags:
        for name in ("src", "href", "action", "data"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:,")), (tag, address)
    assert not re.search(r"url\(|@import|https?://", page.split("</style>", maxsplit=1)[0])


def test_what_a_flow_printed_is_text_and_nothing_else(page: str):
    parsed = _Page(page)
    assert sum(tag == "script" for tag, _ in parsed.tags) == 3
    assert "\x1b" not in page
    evidence = json.loads(parsed.scripts["evidence"])
    texts = [item["text"] for items in evidence.values() for item in items]
    assert any("</script><script>document.title='owned'</script>" in text for text in texts)
    assert not any("\x1b" in text for text in texts)


def test_totals_are_the_journals(page: str, results: Path):
    shown = {
        word: int(count) for count, word in re.findall(r"<b>(\d+)</b> ([a-z-]+)</button>", page)
    }
    assert shown == totals(View(read(results)).cells)
    data = json.loads(_Page(page).scripts["data"])
    assert len(data["cells"]) == sum(shown.values())


def test_every_square_has_a_sign_and_a_word(page: str):
    squares = re.findall(r'<td class="([a-z-]+)">(\S+) ([a-z-]+)( flaky)?( \([^)]+\))?</td>', page)
    assert len(squares) == len(journals.CLIENTS) * len(journals.SERVICES)
    for look, sign, word, _, counts in squares:
        assert look == word
        assert sign == Status(word).sign
        assert sign in counts


def test_a_square_nothing_is_known_of_is_not_run(tmp_path: Path):
    entries = journals.write(
        tmp_path, [journals.cell("2.0.5", "v2.3.0"), journals.cell("2.2.13", "v2.4.0")]
    )
    assert "".join(render_html(entries, tmp_path)).count('<td class="not-run">') == 2


def test_only_cells_that_are_not_as_expected_bring_evidence(page: str, results: Path):
    evidence = json.loads(_Page(page).scripts["evidence"])
    red = {entry.id for entry in View(read(results)).cells if not entry.status.expected}
    assert set(evidence) == red
    kinds = [item["kind"] for item in evidence["compat/2.2.13/reference-2.3/local/basics"]]
    assert kinds == ["flow", "service", "rows"]


def test_too_much_evidence_is_named_but_one_cell_of_each_finding_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(html, "EVIDENCE_BYTES", 150)
    cells = [
        journals.evidence(
            tmp_path,
            journals.cell(client, "v2.3.0", {"run": ("fail", reason)}),
            flow=f"{client} {'x' * 100}",
        )
        for client, reason in (("2.0.5", "one"), ("2.2.13", "one"), ("2.7.23", "other"))
    ]
    page = "".join(render_html(journals.write(tmp_path, cells), tmp_path))
    evidence = json.loads(_Page(page).scripts["evidence"])
    shown = {name.split("/")[1]: items[0]["text"] for name, items in evidence.items()}
    assert shown["2.0.5"].startswith("2.0.5")
    assert shown["2.7.23"].startswith("2.7.23")
    assert shown["2.2.13"] is None


def test_the_timeline_shows_what_each_stage_did(tmp_path: Path):
    entries = journals.write(
        tmp_path,
        [
            journals.cell("2.0.5", service, session="fixed_db", stage=number)
            for number, service in enumerate(journals.SERVICES, start=1)
        ],
        stages=[
            journals.stage(1, journals.SERVICES[0]),
            journals.stage(
                *(2, journals.SERVICES[1]),
                status="fail",
                lost=["3 <artifacts>"],
                rollback="unsafe",
                rollback_evidence=["v2.2.0: \x1b[31mit answers 500"],
                log="logs/stage-2.log",
            ),
            journals.stage(3, journals.SERVICES[2], rollback=None, rollback_evidence=[]),
            journals.stage(4, journals.SERVICES[3], migrations=[], migration_output="goose"),
        ],
    )
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "stage-2.log").write_text("the service stopped")
    page = "".join(render_html(entries, tmp_path))
    evidence = json.loads(_Page(page).scripts["evidence"])
    run = "20261101-120000-compat-1a2b"
    assert [item["text"] for item in evidence[f"{run} 2"]] == ["the service stopped"]
    assert f"{run} 1" not in evidence
    assert "<b>✗ lost</b> 3 &lt;artifacts&gt;" in page
    assert "rollback to v2.2.0: it answers 500" in page
    assert "<small>stage 4</small> 2.5" in page
    assert "<h1 " in page
    assert "Stage 02, reference-2.0: lost 3 &lt;artifacts&gt;" in page


@pytest.mark.parametrize(
    ("checks", "fields", "words"),
    [
        ({"run": "pass"}, {}, "Everything is as expected: 1 cell"),
        ({"run": "fail"}, {}, "Client 2.0.5 fails on service v2.3.0: basics: run"),
        (
            {"run": "fail", "tags": "timeout"},
            {},
            "Client 2.0.5 fails on service v2.3.0: basics: run, and 1 more finding",
        ),
        (
            {"run": "pass"},
            {"planned": 2},
            "What ran is as expected, but not everything was judged: 1 cell",
        ),
    ],
)
def test_the_headline(tmp_path: Path, checks, fields, words: str):
    entries = journals.write(tmp_path, [journals.cell("2.0.5", "v2.3.0", checks)], **fields)
    assert headline(entries, findings(entries)) == words


def test_the_headline_counts_known_failures_and_steps_that_are_no_way_back(tmp_path: Path):
    known = {"run": "pass", "tags": ("expected-fail", "known"), "logs": ("expected-fail", "known")}
    view = journals.write(
        tmp_path,
        [journals.cell("2.0.5", "v2.3.0", known, session="fixed_db", stage=1)],
        stages=[
            journals.stage(1, "v2.2.0", rollback=None, rollback_evidence=[]),
            journals.stage(2, "v2.3.0", rollback="unsafe"),
            journals.stage(3, "v2.4.0", rollback=None, rollback_evidence=[]),
            journals.stage(4, "v2.5.0", rollback="unsafe"),
        ],
    )
    assert headline(view, findings(view)) == (
        "Everything is as expected: 1 cell, 2 known failures,"
        " 2 of 3 steps cannot be rolled back by image alone"
    )


def test_nothing_ran_is_said_and_not_green(tmp_path: Path):
    entries = journals.write(tmp_path, [])
    page = "".join(render_html(entries, tmp_path))
    assert "No cell ran: nothing is known" in page
    assert '<h1 class="bad">' in page


def test_statuses_are_ordered_as_they_outweigh_each_other():
    assert worst_first()[0] is Status.INFRA
    assert set(worst_first()) == set(Status)
    assert worst_first().index(Status.NOT_RUN) < worst_first().index(Status.PASS)


def test_a_grid_of_a_ui_says_what_its_columns_are(tmp_path: Path):
    cells = [journals.cell("2.0.5", "v2.3.0"), journals.cell("2.0.5", "v2.3.0", session="ui 2.1.0")]
    of_ui = "of a UI: it shows what the rows say"
    written = "service they were written with: how this UI shows the runs"
    both = "".join(render_html(journals.write(tmp_path / "both", cells), tmp_path))
    assert both.count(written) == 1
    assert f"the check holds, and its rows are in the database; {of_ui}" in both
    alone = "".join(render_html(journals.write(tmp_path / "alone", cells[1:]), tmp_path))
    assert f"the check holds; {of_ui}" in alone
    neither = "".join(render_html(journals.write(tmp_path / "neither", cells[:1]), tmp_path))
    assert written not in neither
    assert of_ui not in neither
