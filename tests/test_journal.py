"""The journal: whole lines or none, no secrets, and errors that name the line."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.journal import SCHEMA, Journal, read


def _written(path: Path, *kinds: str) -> Path:
    journal = Journal(path)
    for number, kind in enumerate(kinds):
        journal.append(kind, number=number)
    journal.close()
    return path


def test_entries_come_back_as_they_were_appended(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    given = [
        journal.append("run", run="r", clients=["2.0.0"]),
        journal.append("cell", reason='häß "x"'),
    ]
    assert read(tmp_path) == read(journal.path) == given
    assert given[0]["schema"] == SCHEMA
    assert given[0]["at"].endswith("+00:00")
    journal.close()


def test_an_entry_is_on_disk_before_the_next(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    for count in range(1, 4):
        journal.append("note", count=count)
        assert len(read(journal.path)) == count
    journal.close()
    journal.close()


def test_a_journal_is_never_overwritten(tmp_path):
    path = _written(tmp_path / "journal.jsonl", "run")
    with pytest.raises(FileExistsError):
        Journal(path)
    assert len(read(path)) == 1


@pytest.mark.parametrize("secret", ["pa55word", 'qu"ote\\back', "gehäß#%2F"])
def test_secrets_are_replaced_wherever_they_stand(tmp_path, secret):
    journal = Journal(tmp_path / "journal.jsonl", ["", secret])
    entry = journal.append(
        "cell",
        reason=f"could not connect to postgresql://u:{secret}@h",
        checks={"run": {"status": "fail", "reason": f"no {secret}"}},
        options=("--database-password", secret),
    )
    journal.close()
    assert secret not in journal.path.read_text(encoding="utf-8")
    # The reports of a run are drawn from what append returns.
    assert read(journal.path) == [entry]
    assert entry["reason"] == "could not connect to postgresql://u:[secret]@h"
    assert entry["checks"] == {"run": {"status": "fail", "reason": "no [secret]"}}
    assert entry["options"] == ["--database-password", "[secret]"]


def test_a_secret_that_is_a_status_leaves_statuses_alone(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl", ["pass"])
    entry = journal.append("cell", status="pass", reason="pass it on")
    journal.close()
    assert (entry["status"], entry["reason"]) == ("pass", "[secret] it on")


def test_what_ends_a_line_elsewhere_does_not_end_an_entry(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    text = "a\x0bb\x0cc\x1cd\x85e\u2028f\rg\r\nh\n"
    journal.append("note", text=text)
    journal.close()
    (entry,) = read(journal.path)
    assert entry["text"] == text


def test_threads_do_not_mix_their_lines(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")

    def write(name: str) -> None:
        for _ in range(20):
            journal.append("note", text=name * 2000)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    texts = [entry["text"] for entry in read(journal.path)]
    assert sorted(texts) == sorted(name * 2000 for name in "abc" for _ in range(20))


def test_a_last_line_cut_short_is_left_out(tmp_path):
    path = _written(tmp_path / "journal.jsonl", "run", "cell", "cell")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert [entry["kind"] for entry in read(path)] == ["run", "cell"]


def test_a_last_line_cut_within_a_character_is_left_out(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("run")
    journal.append("note", text="ß")
    journal.close()
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[: whole.rindex("ß".encode()) + 1])
    assert [entry["kind"] for entry in read(journal.path)] == ["run"]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ('{"kind": "cell", "sche', ":2: not a JSON line"),
        ("", ":2: not a JSON line"),
        ("[1]", ":2: not an entry of journal schema"),
        ('{"kind": "cell", "schema": 99}', f":2: not an entry of journal schema {SCHEMA}"),
        (f'{{"schema": {SCHEMA}}}', ":2: not an entry"),
    ],
)
def test_any_other_broken_line_is_an_error_that_names_it(tmp_path, second, message):
    path = _written(tmp_path / "journal.jsonl", "run", "end")
    first, last = path.read_text(encoding="utf-8").splitlines()
    path.write_text(f"{first}\n{second}\n{last}\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}{message}")


def test_a_whole_last_line_that_is_broken_is_an_error(tmp_path):
    path = _written(tmp_path / "journal.jsonl", "run")
    with path.open("a", encoding="utf-8") as file:
        file.write("half\n")
    with pytest.raises(UsageError, match=":2: not a JSON line"):
        read(path)


@pytest.mark.parametrize("content", [b"", b'{"kind": "r'])
def test_a_journal_without_an_entry_is_an_error(tmp_path, content):
    (tmp_path / "journal.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match="the journal is empty"):
        read(tmp_path)


def test_no_journal_is_an_error_that_names_the_file(tmp_path):
    with pytest.raises(UsageError, match=r"journal\.jsonl: no journal: No such file"):
        read(tmp_path)
