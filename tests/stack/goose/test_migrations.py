"""Migration files are taken apart as goose does it."""

from __future__ import annotations

import pytest

from harness.stack.goose.migrations import MigrationFileError, find_migrations, parse

SIMPLE = """\
-- A comment before everything; even with a semicolon;
-- +goose Up
CREATE TABLE a (
    id int -- not the end;
);

INSERT INTO a VALUES (1); -- the end

-- +goose Down
DROP TABLE a;
"""

WRAPPED = """\
-- +goose NO TRANSACTION
-- +goose Up
-- +goose StatementBegin
SELECT 1;
CREATE FUNCTION f() RETURNS int AS $$ BEGIN RETURN 1; END; $$ LANGUAGE plpgsql;
-- +goose StatementEnd
SELECT 2;
-- +goose Down
-- +goose StatementBegin
SELECT 'never';
-- +goose StatementEnd
"""


def test_statements_end_at_semicolons():
    script = parse(SIMPLE)
    assert script.statements == (
        "CREATE TABLE a (\n    id int -- not the end;\n);",
        "INSERT INTO a VALUES (1); -- the end",
    )
    assert script.in_transaction


def test_wrapped_statements_stay_whole():
    script = parse(WRAPPED)
    assert [statement.count(";") for statement in script.statements] == [4, 1]
    assert script.statements[1] == "SELECT 2;"
    assert not script.in_transaction


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CREATE TABLE a (id int);", "no '-- +goose Up' annotation found"),
        ("-- +goose Up\nSELECT 1", "missing semicolon: SELECT 1"),
        ("-- +goose Up\n-- +goose StatementBegin\nSELECT 1;", "missing StatementEnd: SELECT 1;"),
    ],
)
def test_files_goose_could_not_read(text, message):
    with pytest.raises(MigrationFileError) as error:
        parse(text)
    assert message in str(error.value)


def test_files_are_found_by_number(tmp_path):
    for name in ("10_ten.sql", "9_nine.sql", "notes.sql", "11_eleven.txt"):
        (tmp_path / name).touch()
    assert [one.version for one in find_migrations(tmp_path)] == [9, 10]


def test_a_version_of_two_files(tmp_path):
    for name in ("1_a.sql", "1_b.sql"):
        (tmp_path / name).touch()
    with pytest.raises(MigrationFileError, match=r"duplicate version 1 detected: 1_a\.sql"):
        find_migrations(tmp_path)


def test_no_folder(tmp_path):
    with pytest.raises(MigrationFileError, match="does not exist"):
        find_migrations(tmp_path / "absent")
