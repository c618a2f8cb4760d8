"""What is noted of a service is told in the page and in the Markdown."""

from __future__ import annotations

from pathlib import Path

from harness.core.entries import Note, now
from harness.core.view import View
from harness.report.html import render_html
from harness.report.markdown import render_markdown
from tests.report import journals

TEXT = "v2.4.3 reports <2.4.2> to clients, not 2.4.3"


def _view(folder: Path) -> View:
    return journals.write(folder, [journals.cell("2.2.13", name) for name in ("v2.4.3", "v2.5.1")])


def _noted(folder: Path) -> View:
    view = _view(folder)
    view.add(Note(at=now(), run=next(iter(view.runs)), service="v2.4.3", text=TEXT))
    return view


def test_the_page_marks_the_column_and_tells_the_note(tmp_path: Path) -> None:
    page = "".join(render_html(_noted(tmp_path), tmp_path))
    assert page.count('aria-label="see the notes"') == 1
    assert "v2.4.3 reports &lt;2.4.2&gt; to clients" in page


def test_without_notes_there_is_no_heading_for_them(tmp_path: Path) -> None:
    entries = _view(tmp_path)
    assert "notes-title" not in "".join(render_html(entries, tmp_path))
    assert "reports" not in render_markdown(entries)


def test_the_markdown_tells_the_note(tmp_path: Path) -> None:
    assert "not 2.4.3" in render_markdown(_noted(tmp_path))
