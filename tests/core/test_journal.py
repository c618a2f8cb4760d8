"""The journal: whole lines or none, no secrets, and errors that name the line."""

from __future__ import annotations

import resource
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.core.entries import SCHEMA, Begun, CellEntry, Ended, Note, Resumed
from harness.core.journal import Journal, read
from harness.core.outcome import Status
from harness.core.view import View
from harness.machine.errors import UsageError
from tests.report.journals import cell

AT = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
BEGUN = Begun(at=AT, run="r", session="compat", options=[], backend="b", clients=[], services=[])


def _note(text: str) -> Note:
    return Note(at=AT, run="r", service="v2.5.1", text=text)


def _cell(**fields: Any) -> CellEntry:
    return cell("2.0.5", "v2.5.1", run="r", at=AT, **fields)


def _written(path: Path, *more: Note | Ended) -> Path:
    journal = Journal(path)
    for entry in (BEGUN, *more):
        journal.append(entry)
    journal.close()
    return path


def test_entries_come_back_as_they_were_appended(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    given = [journal.append(BEGUN), journal.append(_cell(checks={"run": ("fail", 'häß "x"')}))]
    assert read(tmp_path) == read(journal.path) == given
    assert given[0].schema == SCHEMA
    assert given[0].at.isoformat().endswith("+00:00")
    journal.close()


def test_an_entry_is_on_disk_before_the_next(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(BEGUN)
    for count in range(1, 4):
        journal.append(_note(str(count)))
        assert len(read(journal.path)) == count + 1
    journal.close()
    journal.close()


def test_what_a_full_disk_refuses_is_written_once_there_is_room(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(BEGUN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As a disk that is full in the midst of a line: the system takes ten bytes of it.
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.path.stat().st_size + 10, before[1]))
    try:
        journal.append(_note("first"))
        journal.append(_note("second"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert journal.refused.startswith(f"2 entries could not be written to {journal.path}: ")
    assert len(read(journal.path)) == 1
    third = journal.append(_note("third"))
    assert journal.refused == ""
    assert [entry.text for entry in read(journal.path)[1:]] == ["first", "second", "third"]
    assert read(journal.path)[-1] == third
    journal.close()


def test_a_journal_is_never_overwritten(tmp_path):
    path = _written(tmp_path / "journal.jsonl")
    with pytest.raises(FileExistsError):
        Journal(path)
    assert len(read(path)) == 1


@pytest.mark.parametrize("secret", ["pa55word", 'qu"ote\\back', "gehäß#%2F"])
def test_secrets_are_replaced_wherever_they_stand(tmp_path, secret):
    journal = Journal(tmp_path / "journal.jsonl", ["", secret])
    begun = msgspec.structs.replace(BEGUN, options=["--database-password", secret])
    written = [
        journal.append(begun),
        journal.append(_note(f"could not connect to postgresql://u:{secret}@h")),
        journal.append(_cell(checks={"run": ("fail", f"no {secret}")})),
    ]
    journal.close()
    assert secret not in journal.path.read_text(encoding="utf-8")
    # The reports of a run are drawn from what append returns.
    assert read(journal.path) == written
    start, note, entry = written
    assert start.options == ["--database-password", "[secret]"]
    assert note.text == "could not connect to postgresql://u:[secret]@h"
    assert entry.checks["run"].reason == "no [secret]"


def test_a_secret_that_is_a_status_or_a_variant_leaves_those_alone(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl", ["pass", "3.11", "docker"])
    one = _cell(python="3.11", backend="docker", checks={"run": ("pass", "pass it on")})
    entry = journal.append(one)
    begun = journal.append(msgspec.structs.replace(BEGUN, backend="backend: docker"))
    journal.close()
    assert (entry.status, entry.checks["run"].reason) == (Status.PASS, "[secret] it on")
    assert (entry.python, entry.backend) == ("3.11", "docker")
    assert begun.backend == "backend: [secret]"


def test_what_ends_a_line_elsewhere_does_not_end_an_entry(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    text = "a\x0bb\x0cc\x1cd\x85e\u2028f\rg\r\nh\n"
    journal.append(BEGUN)
    journal.append(_note(text))
    journal.close()
    _, entry = read(journal.path)
    assert entry == _note(r"a\x0bb\x0cc\x1cd\x85e\u2028f" + "\ng\nh\n")


def test_half_a_character_is_written_out(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(BEGUN)
    assert journal.append(_note("a\ud83db")).text == "a\\ud83db"
    journal.close()
    assert len(read(journal.path)) == 2


def test_threads_do_not_mix_their_lines(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(BEGUN)

    def write(name: str) -> None:
        for _ in range(20):
            journal.append(_note(name * 2000))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    texts = [entry.text for entry in read(journal.path) if isinstance(entry, Note)]
    assert sorted(texts) == sorted(name * 2000 for name in "abc" for _ in range(20))


def test_a_last_line_cut_short_is_left_out(tmp_path):
    path = _written(tmp_path / "journal.jsonl", _note("a"), _note("b"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert [type(entry) for entry in read(path)] == [Begun, Note]


def test_a_last_line_cut_within_a_character_is_left_out(tmp_path):
    path = _written(tmp_path / "journal.jsonl", _note("ß"))
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex("ß".encode()) + 1])
    assert [type(entry) for entry in read(path)] == [Begun]


NOTE = msgspec.json.encode(_note("text")).decode()
CELL = msgspec.json.encode(_cell()).decode()


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ('{"kind": "cell", "sche', ":2: not a JSON line"),
        ("", ":2: not a JSON line"),
        ("[1]", ":2: not an entry of journal schema"),
        ("[" * 20000, ":2: not an entry of journal schema"),
        ('{"kind":' * 20000, ":2: not a"),
        ("\xff", ":2: not a JSON line"),
        ('{"kind": "cell", "schema": 99}', f":2: not an entry of journal schema {SCHEMA}"),
        ('{"kind": "cell", "schema": 1}', ":2: journal schema 1 of an earlier harness"),
        (f'{{"schema": {SCHEMA}}}', ":2: not an entry"),
        (NOTE.replace('"note"', '"nothing"'), "Invalid value 'nothing' - at `$.kind`"),
        (NOTE.replace('"text":"text"', '"text":7'), "got `int` - at `$.text`"),
        (NOTE.replace(',"text":"text"', ""), "missing required field `text`"),
        (NOTE.replace('"text":', '"more":1,"text":'), "unknown field `more`"),
        (NOTE.replace("T", "X", 1), "at `$.at`"),
        (NOTE.replace('"run":"r"', '"run":"other"'), "field 'run': run 'other' has not begun"),
        (CELL.replace('"status":"pass"', '"status":"green"', 1), "'green' - at `$.status`"),
        (
            CELL.replace('"tags":{"status":"pass"', '"tags":{"status":"red"'),
            "'red' - at `$.checks[...].status`",
        ),
        (
            CELL.replace('"tags":{"status":"pass"', '"tags":{"status":"fail"'),
            "field 'status': 'pass', and its checks say 'fail'",
        ),
        (CELL.replace('"seconds":3.21', '"seconds":-1'), "at `$.seconds`"),
        (CELL.replace('"evidence":{}', '"evidence":[]'), "at `$.evidence`"),
    ],
)
def test_any_other_broken_line_is_an_error_that_names_it(tmp_path, second, message):
    path = _written(tmp_path / "journal.jsonl", Ended(at=AT, run="r"))
    first, last = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, second.encode("latin-1"), last, b""]))
    with pytest.raises(UsageError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_journal_without_its_first_line_is_an_error(tmp_path):
    path = _written(tmp_path / "journal.jsonl", _note("a"))
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1])
    with pytest.raises(UsageError, match=":1: field 'run': run 'r' has not begun"):
        read(path)


def test_a_whole_last_line_that_is_broken_is_an_error(tmp_path):
    path = _written(tmp_path / "journal.jsonl")
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


@pytest.mark.parametrize("cut", ["", '{"kind": "no', '{"kind": "note", "half": 1}'])
def test_a_journal_goes_on_behind_its_last_whole_line(tmp_path, cut):
    path = _written(tmp_path / "journal.jsonl", _note("a"))
    whole = path.read_bytes()
    path.write_bytes(whole + cut.encode())
    journal = Journal(path, goes_on=True)
    journal.append(_note("b"))
    journal.close()
    assert path.read_bytes().startswith(whole + b'{"kind":"note"')
    assert read(path) == [BEGUN, _note("a"), _note("b")]


def test_a_journal_that_is_not_there_cannot_go_on(tmp_path):
    with pytest.raises(FileNotFoundError):
        Journal(tmp_path / "journal.jsonl", goes_on=True)


def test_a_run_that_goes_on_has_not_ended():
    end, resumed = Ended(at=AT, run="r"), Resumed(at=AT, run="r", options=["--resume"])
    assert View([BEGUN, end]).resumptions["r"] == 0
    gone_on = View([BEGUN, end, resumed])
    assert gone_on.resumptions["r"] == 1
    assert gone_on._ended == set()
    assert View([BEGUN, end, resumed, end])._ended == {"r"}
