"""Secrets never leave: known values in every quoting, and what looks like a secret."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.core.redact import SECRET, Redactor, from_environment


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://metaflow:hunter2@127.0.0.1:5432/db", "hunter2"),
        ("redis://:hunter2@host", "hunter2"),
        ("https://hunter2@dev.azure.com/org/_git/repo", "hunter2"),
        ("https://hunter2:@host/repo.git", "hunter2"),
        ("host=x user=y password=hunter2 dbname=z", "hunter2"),
        ("MF_METADATA_DB_PSWD=hunter2", "hunter2"),
        ("PGPASSWORD: 'hunter 2 with spaces'", "hunter 2 with spaces"),
        ('{"db_password": "hunter2", "x": 1}', "hunter2"),
        ('{\\"api_key\\": \\"hunter2\\"}', "hunter2"),
        ("{'AWS_SECRET_ACCESS_KEY': 'wJalrXUtnFEMI/K7MDENG'}", "wJalrXUtnFEMI/K7MDENG"),
        ("AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
        ("the id is ASIAIOSFODNN7EXAMPLE.", "ASIAIOSFODNN7EXAMPLE"),
        ("AWS_SESSION_TOKEN=FwoGZXIvYXdzEJr", "FwoGZXIvYXdzEJr"),
        ("Authorization: Bearer abcdef123456", "abcdef123456"),
        ("authorization: Basic bWV0YWZsb3c6aHVudGVyMg==", "bWV0YWZsb3c6aHVudGVyMg"),
        ("Authorization: Token hunter2", "hunter2"),
        ("authorization: Bearer hunter", "hunter"),
        ('Proxy-Authorization: Digest username="me", response="hunter2"', "hunter2"),
        ("Cookie: a=b; session=hunter2", "hunter2"),
        ('Set-Cookie: a="b"; Path=/; session=hunter2\r', "hunter2"),
        ("'Cookie': 'a=b; session=hunter2'", "hunter2"),
        (r'{"said": "Cookie: a=\"b\"; session=hunter2"}', "hunter2"),
        ('{"said": "Cookie: a=b; session=hunter2", "n": 1}', "hunter2"),
        ("'x-api-key': 'hunter2'", "hunter2"),
        ("METAFLOW_SERVICE_AUTH_KEY=hunter2", "hunter2"),
        ('METAFLOW_SERVICE_HEADERS={"x-api-key": "hunter2"}', "hunter2"),
        ('METAFLOW_SERVICE_HEADERS=\'{"x-other": "hunter2"}\'', "hunter2"),
        ("Set-Cookie: hunter2; Path=/", "hunter2"),
        ("nox -s compat -- --database-password hunter2 --jobs 2", "hunter2"),
        ("nox -s compat -- --database-password=hunter2", "hunter2"),
        ("cloned with ghp_0123456789abcdefABCDEF", "ghp_0123456789abcdefABCDEF"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4", "SflKxwRJSMeKKF2QT4"),
        ("https://b.s3.example/k?X-Amz-Signature=0a1b2c&X-Amz-Date=1", "0a1b2c"),
    ],
)
def test_what_looks_like_a_secret_goes(text: str, hidden: str):
    clean = Redactor().text(text)
    assert hidden not in clean
    assert SECRET in clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Cookie: a=b; c=d\nHost: h", f"Cookie: {SECRET}\nHost: h"),
        ('{"said": "Cookie: a=b; c=d\\nHost: h"}', f'{{"said": "Cookie: {SECRET}\\nHost: h"}}'),
        ('{"said": "Cookie: a=b==", "n": "x"}', f'{{"said": "Cookie: {SECRET}", "n": "x"}}'),
        ("curl -H 'Authorization: Token abc' URL", f"curl -H 'Authorization: {SECRET}' URL"),
        ("Authorization: Bearer abcdef123456", f"Authorization: Bearer {SECRET}"),
    ],
)
def test_a_header_goes_and_what_follows_it_stays(text: str, clean: str):
    assert Redactor().text(text) == clean
    assert Redactor().text(clean) == clean


@pytest.mark.parametrize(
    "text",
    [
        "GET /flows/BasicsFlow/runs/17 200",
        "2026-11-01 17:00:00.123 [17/start/2 (pid 4711)] Task is starting.",
        "http://127.0.0.1:43211/ping",
        "see http://127.0.0.1:8080/flows@latest",
        "ssh://git@host/repo.git",
        "the password was refused",
        "token expected",
        'artifact "tokens" of the step start',
        "nox -s compat -- --metaflow 2.19.39 --service reference-2.5 --probe basics",
        "AssertionError: expected 3 rows, got 2",
        "a key: value",
        "compat/2.19.39/reference-2.5/local/basics",
    ],
)
def test_what_is_no_secret_stays(text: str):
    assert Redactor().text(text) == text


@pytest.mark.parametrize(
    "text",
    ["it is p@ss/w'ö\"rd!", "in a URL: p%40ss%2Fw%27%C3%B6%22rd%21", r"JSON: p@ss/w'\u00f6\"rd!"],
)
def test_a_known_secret_goes_however_it_is_quoted(text: str):
    assert Redactor(["p@ss/w'ö\"rd!"]).text(text).endswith(SECRET)


def test_of_two_secrets_the_longer_is_taken_whole():
    assert Redactor(["abcdef", "abcdefghij"]).text("abcdefghij") == SECRET


def test_a_tiny_secret_is_taken_only_where_it_stands_alone():
    assert Redactor(["", "a"]).text("a banana") == f"{SECRET} banana"


def test_redacting_twice_changes_nothing_more():
    redactor = Redactor(["hunter2"])
    once = redactor.text("password=hunter2 Authorization: Bearer hunter2hunter2 'token': 'x'")
    assert redactor.text(once) == once


def test_texts_inside_of_json_values_are_cleaned_and_the_rest_stays():
    entry = {
        "status": "fail",
        "n": 3,
        "x": None,
        "list": ["hunter2", ("hunter2",)],
        "d": {"k": 1.5},
    }
    assert Redactor(["hunter2"]).entry(entry) == {
        "status": "fail",
        "n": 3,
        "x": None,
        "list": [SECRET, [SECRET]],
        "d": {"k": 1.5},
    }


def test_paths_of_evidence_stay_though_a_secret_is_a_word_of_them():
    paths = {"log": "logs/latest.log", "evidence": {"flow": "logs/cells/my_test/flow.txt"}}
    named = {"log": {"status": "fail", "reason": "test"}, "evidence": {"reason": "test"}}
    assert Redactor(["test"]).entry({**paths, "checks": named}) == {
        **paths,
        "checks": {
            "log": {"status": "fail", "reason": SECRET},
            "evidence": {"reason": SECRET},
        },
    }


def test_a_file_is_rewritten_only_when_it_has_a_secret(tmp_path: Path):
    clean, dirty = tmp_path / "clean.txt", tmp_path / "dirty.txt"
    clean.write_bytes(b"fine \xff\n")
    dirty.write_text("password=hunter2\n")
    for path in (clean, dirty):
        Redactor().file(path)
    assert clean.read_bytes() == b"fine \xff\n"
    assert dirty.read_text() == f"password={SECRET}\n"


def test_a_rerun_line_works_though_the_password_is_a_word_of_it():
    line = "nox -s compat -- --metaflow 2.19.39 --database-password 'metaflow 1'"
    entry = Redactor(["metaflow"]).entry(
        {"rerun": line, "reason": "metaflow", "client": "metaflow"}
    )
    assert entry == {
        "rerun": f"nox -s compat -- --metaflow 2.19.39 --database-password {SECRET}",
        "reason": SECRET,
        "client": "metaflow",
    }


def test_what_says_where_a_secret_is_stays():
    for where in ("env:COMPAT_DATABASE_PASSWORD", "file:/run/db", "'file:/my run/db'"):
        line = f"nox -s compat -- --database-password {where} --jobs 2"
        assert Redactor(["metaflow"]).entry({"rerun": line}) == {"rerun": line}


def test_secrets_of_an_environment_are_found_by_name():
    environment = {
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "METAFLOW_SERVICE_AUTH_KEY": "b-secret",
        "PGPASSWORD": "c-secret",
        "PATH": "/usr/bin",
        "TOKENIZERS_PARALLELISM": "false",
        "AWS_SESSION_TOKEN": "",
        "METAFLOW_USER": "compat",
    }
    assert from_environment(environment) == ["a-secret", "b-secret", "c-secret"]


@pytest.mark.parametrize(
    "line", ["-" * 200_000, "a-" * 100_000, "x" * 200_000, '"' * 200_000, " " * 200_000]
)
def test_long_lines_are_cleaned_in_linear_time(line: str):
    started = time.process_time()
    assert Redactor(["hunter2"]).text(line) == line
    assert time.process_time() - started < 5
