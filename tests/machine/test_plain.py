"""Text of products acts on nobody who shows it, and nothing of it is lost but what is for eyes."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import pytest

from harness.machine.plain import cut, plain

HARMFUL = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufffe\uffff]"
)
"""What acts on a terminal, ends a line for some, turns a text round, or is no text."""


def test_colours_titles_and_cursor_movements_go():
    text = "\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain\x1b[2K\x1b[?25l \x1b]8;;http://x\x1b\\link"
    assert plain(text) == "red plain link"


def test_a_sequence_without_its_end_hides_nothing_of_what_follows():
    assert plain("\x1b]0;title\nnext \x1bPa\x1b[2Jb") == "0;title\nnext ab"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\x08c", r"a\x00b\x08c"),
        ("\x7f\x85\x9b31m", r"\x7f\x85\x9b31m"),
        ("\udc80 \ufffe", r"\udc80 \ufffe"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("safe\u202egnp.exe", r"safe\u202egnp.exe"),
        ("50 %\r100 %\r\nend\tlast", "50 %\n100 %\nend\tlast"),
        ("\x1b", r"\x1b"),
    ],
)
def test_what_is_harmful_is_written_out_and_layout_stays(text: str, shown: str):
    assert plain(text) == shown
    assert plain(shown) == shown


def test_all_that_is_left_can_stand_anywhere():
    text = plain("".join(map(chr, range(0x11000))))
    assert not re.search(HARMFUL, text)
    assert json.loads(json.dumps(text, ensure_ascii=False).encode()) == text
    element = ET.Element("a")
    element.text = text
    assert ET.fromstring(ET.tostring(element)).text == text
    assert len(text.splitlines()) == text.count("\n") + 1


def test_markup_is_left_to_the_view():
    assert plain("</script><b>&amp;") == "</script><b>&amp;"


def test_a_long_text_keeps_both_ends():
    text = cut("a" * 100 + "b" * 100, 20)
    assert text == "a" * 10 + "[… 180 characters are left out …]" + "b" * 10
    assert cut("a" * 20, 20) == "a" * 20
