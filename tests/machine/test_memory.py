"""Whose processes count as killed for want of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.machine import memory

V1 = "9:name=systemd:/\n4:memory:/job/one\n0::/\n"
V2 = "0::/user.slice/one.scope\n"
KILLS = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"
EVENTS = "low 0\noom 5\noom_kill 3\noom_group_kill 0\n"


@pytest.mark.parametrize(
    ("groups", "files", "kills"),
    [
        (V1, {"memory/job/one/memory.oom_control": KILLS}, 2),
        (V2, {"user.slice/one.scope/memory.events": EVENTS}, 3),
        # Of one that was made below a group that counts.
        (
            "0::/user.slice/one.scope/metaflow-compat-run\n",
            {"user.slice/one.scope/memory.events": EVENTS},
            3,
        ),
        # The root group has no count: the machine's is all there is.
        ("0::/\n", {}, 7),
        (None, {}, 7),
        (V1, {"memory/job/one/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\n"}, 7),
    ],
)
def test_those_of_the_own_group_count_where_there_is_one(
    tmp_path: Path, monkeypatch, groups, files, kills
):
    own, machine = tmp_path / "own", tmp_path / "vmstat"
    if groups is not None:
        own.write_text(groups, encoding="ascii")
    machine.write_text("nr_free_pages 1\noom_kill 7\nzone_reclaim 0\n", encoding="ascii")
    for name, text in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="ascii")
    monkeypatch.setattr(memory, "_OWN", own)
    monkeypatch.setattr(memory, "_MACHINE", machine)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    assert memory.memory_kills() == kills


def test_where_nothing_is_told_none_are(tmp_path: Path, monkeypatch):
    for name in ("_OWN", "_MACHINE", "_GROUPS"):
        monkeypatch.setattr(memory, name, tmp_path / "absent")
    assert memory.memory_kills() == 0
