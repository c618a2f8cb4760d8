"""What is asked of the runs of workers, and what does not go with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.catalog.versions import load
from harness.cli.asked import Asked
from harness.cli.choice import choose_from
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.machine.errors import UsageError

AT = "tcp://127.0.0.1:8786"


def options(*arguments: str, session: str = "compat"):
    return parse(session, ["--scheduler", AT, *arguments], load())


def test_workers_are_asked_for_all_but_where_and_which_cells_run(tmp_path):
    given = ("--metaflow", "2.19.39", "--service", "2.5", "--timeout", "30", "--probe", "hello")
    own = ("--results", str(tmp_path), "--shard", "1/2")
    assert options(*given, *own).elsewhere == ("--backend", "embedded", *given)
    assert options(session="local").elsewhere == ()
    assert parse("compat", [], load()).elsewhere == ()


def test_their_plan_has_the_same_cells(tmp_path):
    given = ("--metaflow", ">=2.17", "--python", "3.11,3.12", "--probe", "hello")
    here = options(*given, "--strategy", "boundaries", "--results", str(tmp_path))
    there = parse("compat", here.elsewhere, load())
    plans = [
        make_plan(one, [OnPython(client, "3.12", asked=True) for client in one.clients])
        for one in (here, there)
    ]
    assert [cell.id for cell in plans[0].cells] == [cell.id for cell in plans[1].cells]
    assert plans[0].cells


def test_what_is_named_by_path_is_named_for_any_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("flows").mkdir()
    Path("flows/mine.py").write_text(
        "from metaflow import FlowSpec, step\n\n\nclass Mine(FlowSpec):\n    @step\n"
        "    def start(self):\n        self.next(self.end)\n\n    @step\n    def end(self):\n"
        "        pass\n"
    )
    Path("own.txt").write_text("six==1.17.0\n")
    found = options("--flow-dir", "flows", "--probe", "mine", "--deps", "own.txt,latest").elsewhere
    words = dict(zip(found[::2], found[1::2], strict=True))
    assert words["--flow-dir"] == str(tmp_path / "flows")
    assert words["--deps"] == f"{tmp_path / 'own.txt'},latest"
    assert words["--probe"] == "mine"


def test_no_secret_goes_to_workers(monkeypatch, tmp_path):
    monkeypatch.setenv("COMPAT_PASSWORD", "hunter22")
    by_name = options("--database-password", "env:COMPAT_PASSWORD").elsewhere
    assert "env:COMPAT_PASSWORD" in by_name
    own = tmp_path / "password.txt"
    own.write_text("hunter22")
    monkeypatch.chdir(tmp_path)
    assert f"file:{own}" in options("--database-password", "file:password.txt").elsewhere


def test_a_secret_that_is_written_out_is_refused():
    """Workers would be told a name for it that none of them has."""
    with pytest.raises(UsageError, match=r"--database-password: .* named, not written out: env:"):
        options("--database-password", "hunter22")


def test_a_bucket_that_a_variable_names_here_goes_to_workers(monkeypatch):
    monkeypatch.setenv("METAFLOW_DATASTORE_SYSROOT_S3", "s3://bucket/prefix")
    monkeypatch.setenv("METAFLOW_S3_ENDPOINT_URL", "http://10.0.0.9:9000")
    there = options("--datastore", "s3").elsewhere
    assert there[-4:] == (
        *("--s3-root", "s3://bucket/prefix"),
        *("--s3-endpoint", "http://10.0.0.9:9000"),
    )
    given = options("--datastore", "s3", "--s3-root", "s3://other/one").elsewhere
    assert given.count("--s3-root") == 1
    assert "s3://other/one" in given
    assert "--s3-root" not in options().elsewhere


@pytest.mark.parametrize(
    "wrong", ["8786", "127.0.0.1:8786", "http://h:8786", "tcp://h", "tcp://h:x"]
)
def test_what_is_no_address_is_refused(wrong):
    with pytest.raises(UsageError, match=f"--scheduler {wrong}: an address is needed"):
        parse("compat", ["--scheduler", wrong], load())


@pytest.mark.parametrize(
    "beside",
    [
        ("--keep",),
        ("--reuse",),
        ("--with-service-logs",),
        ("--service-url", "http://127.0.0.1:8080"),
        ("--database-port", "5432"),
    ],
)
def test_what_needs_this_machine_is_refused(beside):
    with pytest.raises(UsageError, match=f"--scheduler.*{beside[0]}|{beside[0]}.*--scheduler"):
        options(*beside)


@pytest.mark.parametrize("session", ["fixed_db", "chaos"])
def test_walks_and_chaos_run_here(session):
    with pytest.raises(UsageError, match="--scheduler: it goes with compat, cross, local"):
        options(session=session)


def test_clients_run_on_the_pythons_of_workers():
    words = ("--scheduler", AT, "--metaflow", "2.2.5", "--python", "3.14")
    chosen = choose_from(Asked(sessions=("compat",), arguments=words), load())
    (one,) = chosen.parameters("compat")
    # No environment is made for it here.
    assert one.args[0] is False
    assert chosen.chosen["compat"][0].name == "2.2.5, 3.14"


@pytest.mark.parametrize(
    "asked",
    [
        Asked(sessions=("compat(2.2.5)",), arguments=("--scheduler", AT)),
        Asked(sessions=("compat",), pythons=("3.11",), arguments=("--scheduler", AT)),
    ],
)
def test_noxs_own_choice_is_not_seen_by_workers(asked):
    with pytest.raises(UsageError, match="workers do not see nox's own flags"):
        choose_from(asked, load())
