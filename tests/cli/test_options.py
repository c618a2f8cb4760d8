"""What follows ``--`` becomes options, or one clear error."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from harness.catalog.releases import Catalog
from harness.catalog.versions import load
from harness.cli.lines import rerun_flags, rerun_line
from harness.cli.options import parse, parse_full
from harness.cli.parser import build_parser
from harness.cli.planning import OnPython, make_plan
from harness.core.probes import FLOWS
from harness.machine.errors import InfraError, UsageError
from harness.machine.tools import ROOT
from harness.run.options import Options
from tests.stack.service import upstream

SESSIONS = ("compat", "fixed_db", "local")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


@pytest.mark.parametrize("session", SESSIONS)
def test_what_nothing_given_means(catalog, session):
    options = parse(session, [], catalog)
    assert len(options.clients) == 20
    assert options.clients[-1].name == "2.19.39"
    assert [probe.name for probe in options.probes] == ["basics"]
    assert options.datastores == ("local",)
    assert options.jobs >= 1
    assert options.timeout == 300
    assert options.results == ROOT / "results"
    assert options.flow_dir == FLOWS
    assert (options.database_password, options.database_port, options.database_url) == (None,) * 3
    assert (options.plan, options.keep, options.with_service_logs) == (None, False, False)
    assert rerun_flags(options, "local") == (
        [] if session == "local" else ["--backend", "embedded"]
    )


def test_services_are_the_reference_levels_and_none_in_local(catalog):
    minors = ("reference-1.0", "reference-2.0.6", "reference-2.3", "reference-2.5")
    assert tuple(service.name for service in parse("compat", [], catalog).services) == minors
    levels = tuple(level.name for level in catalog.reference)
    walk = parse("fixed_db", [], catalog)
    assert tuple(step.service.name for step in walk.path) == levels
    assert parse("local", [], catalog).services == ()


def test_every_option_arrives(catalog, tmp_path):
    given = [
        *("--metaflow", "2.2.1,2.2.2", "--service", ">=2.3", "--probe", "hello,basics"),
        *("--datastore", "local", "--backend", "embedded", "--jobs", "3", "--timeout", "12.5"),
        *("--database-name", "n", "--database-user", "u", "--database-password", "p"),
        *("--database-port", "5433", "--postgres", "/pg", "--results", str(tmp_path)),
        *("--with-service-logs", "--keep", "--plan"),
    ]
    options = parse("compat", given, catalog)
    assert [client.name for client in options.clients] == ["2.2.1", "2.2.2"]
    assert [service.name for service in options.services] == ["reference-2.3", "reference-2.5"]
    assert [probe.name for probe in options.probes] == ["hello", "basics"]
    assert (options.backend, options.jobs, options.timeout) == ("embedded", 3, 12.5)
    assert (options.database_name, options.database_user) == ("n", "u")
    assert (options.database_password, options.database_port) == ("p", 5433)
    assert options.postgres == ("/pg",)
    assert options.results == tmp_path
    assert options.with_service_logs
    assert options.keep
    assert options.plan
    assert options.given == tuple(given)


def test_what_is_declared_of_other_probes_goes_with_the_ui_of_full(catalog, tmp_path):
    (tmp_path / "mine.py").write_bytes((FLOWS / "hello.py").read_bytes())
    entry = {"client": "all", "service": "all", "check": "mine/run", "reason": "x"}
    known = tmp_path / "known.json"
    entry |= dict.fromkeys(("link", "until"))
    known.write_text(json.dumps({"schema": 1, "expectations": [entry]}))
    given = ["--flow-dir", str(tmp_path), "--probe", "mine", "--expectations", str(known)]
    options, shown = parse_full([*given, "--check"], catalog, lambda: "an engine")
    assert [one.check for one in options.expectations] == ["mine/run"]
    assert shown.expectations == options.expectations


@pytest.mark.parametrize(
    ("ancestor", "ours"),
    [
        (["--versions", "2.2.1"], ["--metaflow", "2.2.1"]),
        (["--dont-remove-containers"], ["--keep"]),
        (["--with-md-logs"], ["--with-service-logs"]),
        (["--results-output-path", "/r"], ["--results", "/r"]),
    ],
)
def test_names_of_the_ancestor_are_understood(catalog, ancestor, ours):
    def but_given(arguments: list[str]) -> dict[str, object]:
        return {**vars(parse("compat", arguments, catalog)), "given": ()}

    assert but_given(ancestor) == but_given(ours)
    assert but_given(ours) != but_given([])


def test_packages_bring_the_probe_that_has_a_check_of_them(catalog):
    def probes(*arguments: str) -> list[str]:
        return [probe.name for probe in parse("local", arguments, catalog).probes]

    assert probes("--with", "numpy") == ["basics"]
    assert probes("--with", "numpy Pandas>=3") == ["basics", "card"]
    assert probes("--with", "pandas", "--probe", "basics") == ["basics"]


@pytest.mark.parametrize(
    ("session", "arguments", "words"),
    [
        ("compat", ["--metafow", "2.2.1"], ["unknown option --metafow", "--metaflow"]),
        ("compat", ["--meta", "2.2.1"], ["unknown option --meta", "--metaflow"]),
        (
            "local",
            ["--service=2.5"],
            [
                "unknown option --service: it goes with compat, cross, chaos, fixed_db, full,",
                "see: nox -s local",
            ],
        ),
        ("compat", ["--seed", "7"], ["unknown option --seed: it goes with fixed_db, full;"]),
        ("compat", ["--ui-port", "1"], ["unknown option --ui-port: it goes with full, ui;"]),
        (
            "compat",
            ["2.19.39"],
            ["unexpected argument '2.19.39';", "clients by --metaflow, services by --service;"],
        ),
        ("local", ["2.19.39"], ["unexpected argument '2.19.39';", "clients by --metaflow;"]),
        ("compat", ["--metaflow"], ["--metaflow", "expected one argument"]),
        (
            "compat",
            ["--metaflow", "2.2.99"],
            ["--metaflow: unknown client '2.2.99' (nearest: 2.2.13, 2.3.0)"],
        ),
        ("compat", ["--metaflow", ""], ["no client is named"]),
        ("compat", ["--metaflow", ">=9"], ["'>=9' matches no client"]),
        ("compat", ["--service", "2.4"], ["released service", "reference-2.5"]),
        ("compat", ["--service", "7"], ["--service: unknown reference level '7'", "reference-2.5"]),
        ("compat", ["--probe", "basic"], ["--probe basic", "nearest: basics"]),
        ("compat", ["--with", " "], ["--with", "the list is empty"]),
        ("compat", ["--with", "pandas=3"], ["--with", "'pandas=3' is no requirement"]),
        ("compat", ["--with", "pandas >= 3"], ["'>=' is no requirement", "a space between"]),
        ("local", ["--with", "numpy Metaflow==2.1"], ["'Metaflow==2.1' would be another client"]),
        ("compat", ["--probe", ","], ["--probe: the list is empty"]),
        ("compat", ["--datastore", "locl"], ["--datastore locl", "nearest: local"]),
        ("compat", ["--datastore", ""], ["--datastore: the list is empty"]),
        ("compat", ["--backend", "podman"], ["--backend", "podman", "embedded"]),
        ("compat", ["--jobs", "0"], ["--jobs 0", "at least 1"]),
        ("compat", ["--jobs", "many"], ["--jobs", "many"]),
        ("compat", ["--timeout", "0"], ["--timeout 0", "more than 0"]),
        ("compat", ["--timeout", "nan"], ["--timeout nan", "more than 0"]),
        ("compat", ["--database-port", "0"], ["--database-port 0", "1 to 65535"]),
        ("compat", ["--database-port", "65536"], ["--database-port 65536", "1 to 65535"]),
        ("fixed_db", ["--path", "2.0.4,"], ["no reference level"]),
        ("fixed_db", ["--path", "2.0.4,all"], ["--path: 'all' is not one service"]),
        ("fixed_db", ["--path", "2.5,2.5"], ["reference-2.5 is repeated"]),
        ("fixed_db", ["--path", "2.5", "--seed", "1"], ["--seed", "not allowed with", "--path"]),
        ("fixed_db", ["--on-failure", "cry"], ["--on-failure", "cry", "next"]),
        ("fixed_db", ["--gate", "rolback"], ["--gate rolback: no such gate (nearest: rollback);"]),
        ("fixed_db", ["--gate", ","], ["--gate ,: the list is empty; available: rollback"]),
        ("compat", ["--reuse", "--repeat", "2"], ["--repeat asks for a cell several times"]),
        ("cross", ["--reuse", "--service-url", "http://x"], ["--reuse: what --service-url names"]),
        ("local", ["--reuse", "--s3-root", "s3://x"], ["--reuse: what --s3-root names may"]),
        ("compat", ["--verify", "5"], ["--verify is of no use without --strategy"]),
        ("compat", ["--strategy", "halves"], ["halves", "boundaries"]),
        (
            "compat",
            ["--strategy", "boundaries", "--shard", "1/2"],
            ["--strategy has no plan that could be split: leave out --shard"],
        ),
        ("compat", ["--strategy", "boundaries", "--verify", "-1"], ["--verify", "-1"]),
        ("compat", ["--reuse", "--keep"], ["what is reused makes nothing: leave out --reuse"]),
        ("fixed_db", ["--reuse"], ["--reuse: it goes with compat, cross, local"]),
        ("fixed_db", ["--no-dedupe"], ["--no-dedupe: it goes with compat, cross"]),
        ("compat", ["--gate", "rollback"], ["--gate: it goes with fixed_db, full, diff;"]),
    ],
)
def test_bad_input_is_one_clear_sentence(catalog, session, arguments, words):
    with pytest.raises(UsageError) as caught:
        parse(session, arguments, catalog)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_given_path_replaces_the_services(catalog):
    options = parse("fixed_db", ["--path", "2.0.4, 2.5"], catalog)
    assert [service.name for service in options.services] == ["reference-2.0.4", "reference-2.5"]
    assert [step.number for step in options.path] == [1, 2]


def test_a_gate_is_none_unasked_and_named_once(catalog):
    assert parse("fixed_db", [], catalog).gates is None
    assert parse("fixed_db", ["--gate", "rollback, rollback"], catalog).gates == ("rollback",)


def test_services_of_a_random_path_are_named_once(catalog):
    options = parse("fixed_db", ["--seed", "3"], catalog)
    assert len({service.name for service in options.services}) == len(options.services)
    assert {step.service for step in options.path} == set(options.services)


def test_what_a_rerun_must_repeat(catalog, tmp_path):
    (tmp_path / "plain.py").write_text("class F(FlowSpec): pass\n", encoding="utf-8")
    flags = ["--flow-dir", str(tmp_path), "--backend", "embedded"]
    options = parse("compat", [*flags, "--postgres", "/pg", "--probe", "plain"], catalog)
    assert rerun_flags(options, "local") == flags
    cell = make_plan(options, [OnPython(one, "3.11") for one in options.clients]).cells[0]
    assert {*flags, "--postgres", "/pg"} <= set(shlex.split(rerun_line(cell, options)))


@pytest.mark.parametrize("session", ["compat", "fixed_db"])
def test_a_rerun_repeats_how_the_database_is_named(catalog, session):
    flags = ["--database-name", "mine", "--database-user", "me"]
    assert rerun_flags(parse(session, flags, catalog), "local")[-4:] == flags


@pytest.mark.parametrize("name", ["--database-name", "--database-user"])
def test_a_name_that_postgresql_would_cut_is_refused(catalog, name):
    fits = "ü" * 31 + "u"
    assert parse("compat", [name, fits], catalog)
    with pytest.raises(UsageError) as refused:
        parse("compat", [name, f"{fits}u"], catalog)
    assert str(refused.value) == f"{name} {fits}u: it has 64 bytes, and PostgreSQL keeps 63"


@pytest.mark.parametrize("session", SESSIONS)
def test_help_is_grouped_and_has_examples(session):
    text = build_parser(session).format_help()
    assert f"nox -s {session}" in text
    assert "what to run:" in text
    assert "examples:" in text
    assert ("the walk:" in text) is (session == "fixed_db")
    assert ("database and service:" in text) is (session != "local")


def test_help_stops_before_anything_is_checked(catalog, capsys):
    with pytest.raises(SystemExit) as caught:
        parse("compat", ["--help", "--nonsense"], catalog)
    assert caught.value.code == 0
    assert "--metaflow" in capsys.readouterr().out


def test_options_cannot_be_changed_after_they_were_checked(catalog):
    options = parse("compat", [], catalog)
    assert isinstance(options, Options)
    with pytest.raises(AttributeError):
        options.jobs = 0  # type: ignore[misc]


def _no_engine() -> str:
    raise InfraError("no Docker engine answers at unix:///none")


def _an_engine() -> str:
    return "Docker Engine 99"


@pytest.mark.parametrize("session", ["compat", "fixed_db"])
def test_auto_takes_containers_and_released_services_where_an_engine_answers(catalog, session):
    options = parse(session, [], catalog, _an_engine)
    assert options.backend == "docker"
    assert options.backend_why == "a Docker engine answers: Docker Engine 99"
    assert {service.kind for service in options.services} == {"released"}
    assert len(options.services) == len({service.group for service in catalog.released})
    assert options.postgres_image == f"postgres:{catalog.postgres.default}"


@pytest.mark.parametrize("session", ["compat", "fixed_db"])
def test_auto_takes_processes_where_none_does_and_says_why(catalog, session):
    options = parse(session, [], catalog, _no_engine)
    assert options.backend == "embedded"
    assert options.backend_why == "no Docker engine answers at unix:///none"
    assert {service.kind for service in options.services} == {"reference"}


@pytest.mark.parametrize("flags", [["--postgres", "/pg"], ["--backend", "embedded"]])
def test_no_engine_is_asked_when_only_processes_can_be_meant(catalog, flags):
    options = parse("compat", flags, catalog, lambda: pytest.fail("asked"))
    assert options.backend == "embedded"


def test_containers_that_are_asked_for_need_an_engine(catalog):
    with pytest.raises(InfraError, match="no Docker engine answers"):
        parse("compat", ["--backend", "docker"], catalog, _no_engine)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--postgres", "/pg"], "--postgres goes with --backend embedded"),
        (["--postgres-image", "16 alpine"], "neither a tag nor the name of an image"),
        (["--dockerfile", "Dockerfile.ui"], "--checkout"),
        (["--pull", "sometimes"], "--pull"),
        (["--service", "reference-2.5"], "--backend embedded"),
        (["--s3-image", "m"], "--s3-image is of no use without --datastore s3"),
        (["--datastore", "s3", "--s3-image", "a b"], "--s3-image a b: not the name of an image"),
        (
            ["--datastore", "s3", "--s3-image", "m", "--s3-root", "s3://b"],
            "--s3-image and --s3-root exclude each other",
        ),
        (
            ["--datastore", "s3", "--s3-image", "m", "--s3-endpoint", "http://h"],
            "--s3-image and --s3-endpoint exclude each other",
        ),
    ],
)
def test_what_does_not_go_with_containers(catalog, flags, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        parse("compat", ["--backend", "docker", *flags], catalog, _an_engine)


def test_a_path_names_its_services_and_no_others(catalog):
    with pytest.raises(UsageError, match="--path names its services itself; leave out --service"):
        parse("fixed_db", ["--path", "2.0,2.3", "--service", "2.5"], catalog)


@pytest.mark.parametrize(
    "flags",
    [
        ["--pull", "always"],
        ["--registry", "mirror.example.com/hub"],
        ["--remove-images"],
        ["--postgres-image", "15"],
    ],
)
def test_what_only_containers_heed_is_refused_without_them(catalog, flags):
    why = "needs containers, and the backend is embedded"
    with pytest.raises(UsageError, match=f"{flags[0]} {why}: no Docker engine answers"):
        parse("compat", flags, catalog, _no_engine)
    with pytest.raises(UsageError, match=f"{flags[0]} {why}: asked for"):
        parse("compat", [*flags, "--backend", "embedded"], catalog, _an_engine)
    assert parse("compat", flags, catalog, _an_engine).backend == "docker"
    assert parse("compat", flags, catalog).backend == "embedded"  # for a list no engine is asked


@pytest.mark.parametrize(
    ("given", "image"),
    [("13", "postgres:13"), ("15-alpine", "postgres:15-alpine"), ("my/pg:2", "my/pg:2")],
)
def test_the_image_of_the_database(catalog, given, image):
    flags = ["--postgres-image", given, "--registry", "mirror.example.com/hub"]
    options = parse("compat", flags, catalog, _an_engine)
    assert options.postgres_image == image
    assert rerun_flags(options, "local") == [
        *("--backend", "docker"),
        *("--postgres-image", image, "--registry", "mirror.example.com/hub"),
    ]


S3_IMAGE = ("--datastore", "s3", "--s3-image", "minio/minio")


@pytest.mark.parametrize(
    ("given", "image"),
    [
        ("minio/minio", "minio/minio:latest"),
        ("localhost:5000/minio", "localhost:5000/minio:latest"),
        ("adobe/s3mock:4.4.0", "adobe/s3mock:4.4.0"),
        ("m@sha256:0123", "m@sha256:0123"),
    ],
)
def test_the_image_of_the_object_store(catalog, monkeypatch, given, image):
    # What the option says counts more than Metaflow's own variable.
    monkeypatch.setenv("METAFLOW_DATASTORE_SYSROOT_S3", "s3://set/here")
    options = parse("compat", ["--datastore", "s3", "--s3-image", given], catalog, _an_engine)
    assert (options.s3_image, options.s3_root) == (image, None)
    assert rerun_flags(options, "s3")[-2:] == ["--s3-image", image]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "the backend is embedded: no Docker engine answers at unix:///none"),
        (["--backend", "embedded"], "the backend is embedded: asked for"),
        (["--postgres", "/pg"], "the backend is embedded: because of --postgres"),
    ],
)
def test_the_image_of_the_object_store_needs_containers(catalog, flags, words):
    with pytest.raises(UsageError, match=f"--s3-image needs containers, and {words}"):
        parse("compat", [*flags, *S3_IMAGE], catalog, _no_engine)


def test_a_session_without_containers_takes_no_image(catalog):
    with pytest.raises(UsageError, match="unknown option --s3-image"):
        parse("local", [*S3_IMAGE], catalog)


def test_services_of_a_checkout_have_what_is_asked_for(catalog, tmp_path):
    clone = str(upstream.build(tmp_path / "clone", Path("absent")))
    given = ["--checkout", clone, "--service", "HEAD", "--metaflow", "2.19.39"]
    options = parse("compat", [*given, "--service-deps", "pinned,latest"], catalog)
    assert [(one.name, one.deps.name) for one in options.services] == [
        ("HEAD", ""),
        ("HEAD", "latest"),
    ]
    plan = make_plan(options, [OnPython(one, "3.11") for one in options.clients])
    plain, newest = plan.cells
    assert newest.id == f"{plain.id}/service_deps=latest"
    assert "--service-deps latest" in plan.rerun[newest.id]
    assert "--service-deps" not in plan.rerun[plain.id]
    with pytest.raises(UsageError, match="pinned,latest: a walk takes one of them; compat and cr"):
        parse("fixed_db", [*given, "--service-deps", "pinned,latest"], catalog)
    walk = parse("fixed_db", [*given, "--service-deps", "latest"], catalog)
    assert [step.service.deps.name for step in walk.path] == ["latest"]


def test_only_services_of_a_checkout_as_processes_have_dependencies_to_choose(catalog, tmp_path):
    with pytest.raises(UsageError, match="latest needs services from a clone: --checkout"):
        parse("compat", ["--service-deps", "latest"], catalog)
    clone = str(upstream.build(tmp_path / "clone", Path("absent")))
    given = ["--checkout", clone, "--service-deps", "latest", "--backend", "docker"]
    with pytest.raises(UsageError, match="--service-deps goes with --backend embedded"):
        parse("compat", given, catalog, lambda: "Docker Engine 99")
