"""Checked reading of JSON: every fault names file, entry and field."""

from __future__ import annotations

import pytest

from harness.catalog import records
from harness.machine.errors import UsageError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n  }', "f.json: not JSON: line 2, column 3: "),
        (b"", "f.json: not JSON: line 1, column 1: Expecting value"),
        (b'{"a": "\xff"}', "f.json: not UTF-8: byte 7"),
        (b'{"a": {"b": 1, "b": 2}}', "f.json: field 'b' is given twice in one entry"),
        (b"[" * 20_000 + b"]" * 20_000, "f.json: it is nested too deeply"),
        (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "f.json: it is nested too deeply"),
    ],
)
def test_a_file_that_is_no_json_is_refused(tmp_path, content, message):
    path = tmp_path / "f.json"
    path.write_bytes(content)
    with pytest.raises(UsageError) as error:
        records.read_json(path)
    assert str(error.value).startswith(message)


def test_a_file_that_is_not_there_is_refused_with_its_path(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.json: cannot be read: No such file"):
        records.read_json(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("parse", "raw", "parsed"),
    [
        (records.text, "a", "a"),
        (records.link, "https://x.org/a?b#c", "https://x.org/a?b#c"),
        (records.link, "docs/findings.md#a-b", "docs/findings.md#a-b"),
        (records.integer, 0, 0),
        (records.boolean, False, False),
        (records.pep440, "v2.4.3", "v2.4.3"),
        (records.specifier, ">=2,<3", ">=2,<3"),
        (records.requirement, "setuptools<81", "setuptools<81"),
        (records.optional(records.text), None, None),
        (records.several(records.text), ["b", "a"], ("b", "a")),
        (records.mapping(records.text, records.integer), {"a": 1}, {"a": 1}),
        (records.one_of("ab", "letter"), "b", "b"),
    ],
)
def test_a_parser_returns_the_typed_value(parse, raw, parsed):
    assert parse(raw) == parsed


@pytest.mark.parametrize(
    ("parse", "raw", "message"),
    [
        (records.text, " ", 'expected a text, not " "'),
        *(
            (
                records.link,
                raw,
                f'expected an address, http://…, https://… or docs/PAGE.md, not "{raw}"',
            )
            for raw in ("javascript:alert(1)", "ftp://x", "http://", "http:///x", "https://a b")
        ),
        (records.link, 5, "expected a text, not 5"),
        (records.text, 3, "expected a text, not 3"),
        (records.integer, True, "expected a whole number, not true"),
        (records.integer, -1, "expected a whole number, not -1"),
        (records.boolean, 1, "expected true or false, not 1"),
        (records.day, "2023-13-01", 'expected a date like 2023-07-27, not "2023-13-01"'),
        (records.day, None, "expected a date like 2023-07-27, not null"),
        (records.pep440, "two", "'two' is no PEP 440 version"),
        (records.specifier, "2.3", "'2.3' is no PEP 440 range"),
        (records.requirement, "a b", "'a b' is no requirement that pip understands"),
        (records.several(records.text), "ab", 'expected a list, not "ab"'),
        (records.several(records.text), ["a", "a"], "'a' is given twice"),
        (records.mapping(records.text, records.text), [], "expected an object, not []"),
        (records.one_of(["2.0.4"], "layout"), "2.0.3", "unknown layout '2.0.3' (nearest: 2.0.4)"),
        (records.text, ["x" * 60], f'expected a text, not ["{"x" * 35}...'),
    ],
)
def test_a_parser_says_what_it_expected(parse, raw, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        parse(raw)
    assert str(error.value) == message


FIELDS = {"name": records.text, "size": records.integer}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([], "f: expected an object, not []"),
        ({"name": "a"}, "f: field 'size' is missing"),
        ({"name": "a", "size": 1, "sizes": 1}, "f: unknown field 'sizes' (nearest: size)"),
        ({"name": "a", "size": "1"}, "f: field 'size': expected a whole number, not \"1\""),
    ],
)
def test_a_record_has_exactly_its_fields(raw, message):
    with pytest.raises(UsageError) as error:
        records.record("f", raw, FIELDS, dict)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([], "f: expected a list of entries, not []"),
        ([{"name": "a", "size": 1}, 7], "f[1]: expected an object, not 7"),
        ([{"name": "a"}], "f[0] 'a': field 'size' is missing"),
        (
            [{"name": "a", "size": 1}, {"name": "b", "size": 1}, {"name": "a", "size": 2}],
            "f[2] 'a': field 'name': also in f[0]",
        ),
    ],
)
def test_a_list_of_records_names_the_entry(raw, message):
    with pytest.raises(UsageError) as error:
        records.records("f", raw, FIELDS, "name", dict)
    assert str(error.value) == message
