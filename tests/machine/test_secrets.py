"""Secrets never leave: known values in every quoting, and what looks like a secret."""

from __future__ import annotations

import time

import pytest

from harness.machine.secrets import SECRET, Secrets, from_environment


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
    clean = Secrets().text(text)
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
    assert Secrets().text(text) == clean
    assert Secrets().text(clean) == clean


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
        # JSON that a check reads must be JSON still.
        '{"secretKeyRef": null, "automountServiceAccountToken": true, "tokens": [], "b": 1}',
        '{"secretKeyRef": {"name": "x"}}',
        "compat/2.19.39/reference-2.5/local/basics",
    ],
)
def test_what_is_no_secret_stays(text: str):
    assert Secrets().text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "it is p@ss/w'ö\"rd!",
        "in a URL: p%40ss%2Fw%27%C3%B6%22rd%21",
        r"JSON: p@ss/w'\u00f6\"rd!",
        r"JSON: p@ss/w'ö\"rd!",
        "SQL: p@ss/w''ö\"rd!",
        r"a DSN: p@ss/w\'ö" + '"rd!',
        r"Python: p@ss/w\'ö" + '"rd!',
        "a shell: 'p@ss/w'\"'\"'ö\"rd!'",
        # Other bytes than UTF-8 are written out in a log.
        "latin-1: " + "p@ss/w'ö\"rd!".encode("latin-1").decode(errors="backslashreplace"),
    ],
)
def test_a_known_secret_goes_however_it_is_quoted(text: str):
    assert Secrets(["p@ss/w'ö\"rd!"]).text(text).endswith(SECRET)


def test_of_two_secrets_the_longer_is_taken_whole():
    assert Secrets(["abcdef", "abcdefghij"]).text("abcdefghij") == SECRET


def test_a_tiny_secret_is_taken_only_where_it_stands_alone():
    assert Secrets(["", "a"]).text("a banana") == f"{SECRET} banana"


def test_redacting_twice_changes_nothing_more():
    secrets = Secrets(["hunter2"])
    once = secrets.text("password=hunter2 Authorization: Bearer hunter2hunter2 'token': 'x'")
    assert secrets.text(once) == once


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
    "line",
    [
        *("-" * 200_000, "a-" * 100_000, "x" * 200_000, '"' * 200_000, " " * 200_000),
        *("-eyJaaaaaaaa" * 20_000, "eyJaaaaaaaa" * 20_000, "token" * 40_000, "://x:" * 40_000),
        *("password " * 20_000, '="' * 100_000, "https://x" * 20_000),
    ],
    ids=lambda line: line[:9],
)
def test_long_lines_are_cleaned_in_linear_time(line: str):
    started = time.process_time()
    assert Secrets(["hunter2"]).text(line) == line
    assert time.process_time() - started < 5
