"""Entries of the journal: no secret in them, and nothing that acts on who reads them."""

from __future__ import annotations

from harness.core.redact import Redactor
from harness.machine.secrets import SECRET


def test_text_of_a_product_is_harmless_and_no_flood():
    text = "\x1b[2Jcleared \x00 \udc80 \u2028 \r\n" + "long " * 1_000_000
    entry = Redactor().entry({"reason": text, "checks": {"run": {"reason": ["a\x1b]0;title\x07"]}}})
    reason = entry["reason"]
    assert isinstance(reason, str)
    assert reason.startswith("cleared \\x00 \\udc80 \\u2028 \nlong long")
    assert reason.endswith("long long ")
    assert len(reason) < 21_000
    assert "characters are left out" in reason
    assert entry["checks"] == {"run": {"reason": ["a"]}}


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
