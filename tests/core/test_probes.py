"""What a flow file says of itself, and the project's own flows on the oldest syntax."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from harness.core.actions import COMPLETED, FAILED
from harness.core.probes import FLOWS, Shows, find_probes, read_probe, select_probes
from harness.machine.errors import UsageError

PLAIN = "from metaflow import FlowSpec\nclass Plain(FlowSpec):\n    pass\n"
PROBE = PLAIN + "def check_a(run):\n    pass\n"


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_plain_flow_has_the_single_check_run(tmp_path):
    probe = read_probe(_file(tmp_path, "plain.py", PLAIN))
    assert probe is not None
    assert (probe.name, probe.flow, probe.tags) == ("plain", "Plain", ())
    assert [check.name for check in probe.checks] == ["run"]


def test_a_check_names_the_package_it_needs(tmp_path):
    text = PROBE + 'CHECKS = {"a": {"about": "words", "package": "Typing_Extensions"}}\n'
    probe = read_probe(_file(tmp_path, "probe.py", text))
    assert probe is not None
    assert [check.package for check in probe.checks] == ["", "typing-extensions"]


def test_declarations_are_read(tmp_path):
    text = PROBE + (
        'CHECKS = {"a": {"about": "words", "client": ">=2.7", "service": ">=2.3"}}\n'
        'TAGS = ["x:y"]\n'
    )
    probe = read_probe(_file(tmp_path, "probe.py", text))
    assert probe is not None
    assert probe.tags == ("x:y",)
    run, check = probe.checks
    assert run.name == "run"
    assert (check.name, check.about, check.client, check.service) == (
        "a",
        "words",
        ">=2.7",
        ">=2.3",
    )


def test_how_it_ends_and_what_it_shows_is_read(tmp_path):
    shows = '{"log": ["a", "words"], "card": "b", "steps": {"a": 1, "b": 20}}'
    text = f'{PLAIN}ENDS = "failed"\nSHOWS = {shows}\n'
    probe = read_probe(_file(tmp_path, "probe.py", text))
    assert probe is not None
    assert probe.ends == FAILED
    assert probe.shows == Shows(log=("a", "words"), card="b", steps=(("a", 1), ("b", 20)))
    assert "fails as it should" in probe.checks[0].about
    plain = read_probe(_file(tmp_path, "plain.py", PLAIN))
    assert plain is not None
    assert (plain.ends, plain.shows) == (COMPLETED, Shows())


@pytest.mark.parametrize("base", ["FlowSpec", "metaflow.FlowSpec", "mf.FlowSpec"])
def test_a_flow_is_known_by_its_base(tmp_path, base):
    probe = read_probe(_file(tmp_path, "f.py", f"class F(Mixin, {base}): pass\n"))
    assert probe is not None
    assert probe.flow == "F"


def test_nothing_of_a_file_is_run(tmp_path):
    probe = read_probe(_file(tmp_path, "f.py", "raise SystemExit(7)\n" + PLAIN))
    assert probe is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def (:\n", "f.py: cannot be read as Python: invalid syntax"),
        ("\0", "f.py: cannot be read as Python: .*null bytes"),
        (PROBE + 'CHECKS = {"a": {}}\n', r"CHECKS\['a'\]: a name with a dict that has 'about'"),
        (PROBE + 'CHECKS = {"a": "x"}\n', r"CHECKS\['a'\]: a name with a dict that has 'about'"),
        (PROBE + 'CHECKS = {1: {"about": ""}}\n', r"CHECKS\[1\]: a name with a dict"),
        (PROBE + 'CHECKS = {"a": {"about": "", "clients": ""}}\n', "unknown field 'clients'"),
        (PROBE + 'CHECKS = {"b": {"about": ""}}\n', r"no function check_b\(run\)"),
        (PROBE, "f.py:4: check_a is the function of no check: CHECKS has no 'a'"),
        (PROBE + 'CHECKS = {"a": {"about": "", "client": "2.7+"}}\n', "client: .*2.7"),
        (PROBE + 'CHECKS = {"a": {"about": "", "service": "new"}}\n', "service: .*new"),
        (PROBE + 'CHECKS = ["a"]\n', "f.py:6: CHECKS is not a dict"),
        (PROBE + "CHECKS = dict(a=1)\n", "f.py:6: CHECKS is not a literal"),
        (PROBE + 'TAGS = "x"\n', "f.py:6: TAGS is not a list"),
        (PROBE + "ENDS = 1\n", "f.py:6: ENDS is not a str"),
        (PROBE + 'ENDS = "well"\n', "ENDS is 'well'; completed or failed is expected"),
        (PROBE + 'SHOWS = {"log": "start"}\n', r"SHOWS\['log'\]: expected 'log' with \[step, line"),
        (PROBE + 'SHOWS = {"card": ["start"]}\n', r"SHOWS\['card'\]: expected"),
        (PROBE + 'SHOWS = {"logs": ["a", "b"]}\n', r"SHOWS\['logs'\]: expected"),
        (PROBE + 'SHOWS = {"steps": ["start"]}\n', r"SHOWS\['steps'\]: expected"),
        (PROBE + 'SHOWS = {"steps": {"start": 0}}\n', r"\['start'\] is 0, and a number from 1"),
        (PROBE + 'SHOWS = {"steps": {"start": True}}\n', r"\['start'\] is True, and a number"),
    ],
)
def test_what_is_malformed_is_named(tmp_path, text, message):
    path = _file(tmp_path, "f.py", text)
    with pytest.raises(UsageError, match=message):
        read_probe(path)


TWO = "from metaflow import FlowSpec\nclass A(FlowSpec): pass\nclass B(FlowSpec): pass\n"
ONE = '{"a": {"about": "words"}}'


def test_annotated_declarations_are_read_like_plain_ones(tmp_path):
    text = PROBE + f"CHECKS: dict = {ONE}\nTAGS: list = ['x']\n"
    probe = read_probe(_file(tmp_path, "f.py", text))
    assert probe is not None
    assert [check.name for check in probe.checks] == ["run", "a"]
    assert probe.tags == ("x",)


def test_the_flow_of_a_file_with_several_is_the_one_that_it_names(tmp_path):
    probe = read_probe(_file(tmp_path, "f.py", TWO + 'FLOW = "B"\n'))
    assert probe is not None
    assert probe.flow == "B"
    derived = read_probe(_file(tmp_path, "f.py", PLAIN + 'class C(Plain): pass\nFLOW = "C"\n'))
    assert derived is not None
    assert derived.flow == "C"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            PROBE + 'CHECKS = {\n"a": {"about": ""},\n"a": {"about": ""}}\n',
            "8: .*a'. is given twice",
        ),
        (
            PROBE + 'CHECKS = {"run": {"about": ""}}\n',
            r"6: CHECKS\['run'\]: the name is reserved.* run",
        ),
        (PROBE + 'CHECKS = {"stored": {"about": ""}}\n', "6: .*the name is reserved.* stored"),
        (
            PROBE + 'CHECKS = {"a": {"about": "", "client": 5}}\n',
            "6: CHECKS.'a'.: client is not a str",
        ),
        (PROBE + 'CHECKS = {"a": {"about": 5}}\n', "6: CHECKS.'a'.: about is not a str"),
        (PROBE + 'CHECKS = {"a": {**{}, "about": ""}}\n', "6: CHECKS is not a literal"),
        (PROBE + "CHECKS: dict\n", "6: CHECKS is built or changed"),
        (PROBE + "TAGS = [1]\n", r"6: TAGS\[0\] is not a str"),
        (PROBE + "TAGS = ['\\0']\n", r"6: TAGS\[0\] is '\\x00', which holds a NUL or half of"),
        (PROBE + "TAGS = ['\\ud800']\n", r"6: TAGS\[0\] is '\\ud800', which holds a NUL or half"),
        (PROBE + "CHECKS = {'a': {'about': '', 'client': 5}}\n", ": client is not a str"),
        (PROBE + "TAGS = ['a',\n 1]\n", r"7: TAGS\[1\] is not a str"),
        (PROBE + "TAGS = ('a',)\n", "6: TAGS is not a list"),
        (
            PROBE + 'DATASTORES = ["local", "s4"]\n',
            r"DATASTORES\[1\] is 's4'; local or s3 .*nearest",
        ),
        (PROBE + "DATASTORES = []\n", "6: DATASTORES is empty"),
        (PROBE + "PACKAGES = 'a'\n", "6: PACKAGES is not a list"),
        (PROBE + "PACKAGES = ['a', 'b ==']\n", r"6: PACKAGES\[1\] is 'b ==', which is no requirem"),
        (TWO, r'f.py:3: the file has several flows \(A, B\); say .* FLOW = "A"'),
        (TWO + 'FLOW = "C"\n', "4: FLOW is 'C'; A or B is expected"),
        (TWO + "FLOW = A\n", "4: FLOW is not a literal"),
        (PROBE + "TAGS = []\nTAGS = ['a']\n", "7: TAGS is assigned twice, first in line 6"),
        (PROBE + "TAGS = []\nTAGS += ['a']\n", "7: TAGS is built or changed here"),
        (PROBE + "TAGS = []\nTAGS.append('a')\n", "7: TAGS is built or changed here"),
        (PROBE + "TAGS = MORE = []\n", "6: TAGS is built or changed here"),
        (PROBE + "CHECKS = {}\nCHECKS['a'] = {}\n", "7: CHECKS is built or changed here"),
        (PROBE + f"if True:\n  CHECKS = {ONE}\n", "7: CHECKS is built or changed here"),
        (PROBE + f"try:\n  CHECKS: dict = {ONE}\nfinally:\n  pass\n", "7: CHECKS is built"),
        (PROBE + "for TAGS in []:\n  pass\n", "6: TAGS is built or changed here"),
        (PROBE + "from checks import CHECKS\n", "6: CHECKS is built or changed here"),
        (PROBE + "def CHECKS():\n  pass\n", "6: CHECKS is built or changed here"),
        (PROBE + "def f():\n  global TAGS\n  TAGS = []\n", "7: TAGS is built or changed here"),
    ],
)
def test_what_would_not_be_what_it_looks_like_is_refused_with_its_line(tmp_path, text, message):
    path = _file(tmp_path, "f.py", text)
    with pytest.raises(UsageError, match=message) as refused:
        read_probe(path)
    assert str(refused.value).startswith(f"{path}:")
    assert "\n" not in str(refused.value)


def test_names_of_their_own_within_functions_are_nobody_s_business(tmp_path):
    text = PROBE + f"CHECKS = {ONE}\ndef f():\n  TAGS = []\n  return [CHECKS for CHECKS in TAGS]\n"
    assert read_probe(_file(tmp_path, "f.py", text + "NAMES = sorted(CHECKS)\n")) is not None


DEEP = 20_000


@pytest.mark.parametrize(
    "value",
    ["[" * DEEP + "]" * DEEP, "-" * DEEP + "1", "+".join(["1"] * DEEP), "a" + ".b" * DEEP],
    ids=["list", "minus", "plus", "attribute"],
)
def test_what_is_nested_too_deeply_is_refused(tmp_path, value):
    path = _file(tmp_path, "f.py", f"{PLAIN}CHECKS = {value}\n")
    with pytest.raises(UsageError, match=r"f\.py.* (cannot be read as Python|not a literal)"):
        read_probe(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "gone.py").symlink_to(tmp_path / "absent")
    with pytest.raises(UsageError, match=r"gone\.py: cannot be read as Python: .*No such file"):
        find_probes(tmp_path)
    latin = tmp_path / "latin.py"
    latin.write_bytes(b"# \xe4\n")
    with pytest.raises(UsageError, match=r"latin\.py: cannot be read as Python: 'utf-8'"):
        read_probe(latin)


def test_files_without_a_flow_are_passed_over(tmp_path):
    _file(tmp_path, "helper.py", "X = 1\n")
    _file(tmp_path, "notes.txt", PLAIN)
    _file(tmp_path, "plain.py", PLAIN)
    assert list(find_probes(tmp_path)) == ["plain"]


def test_a_folder_without_a_flow_is_refused(tmp_path):
    _file(tmp_path, "helper.py", "X = 1\n")
    with pytest.raises(UsageError, match="no file in it defines a flow"):
        find_probes(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        find_probes(tmp_path / "absent")
    with pytest.raises(UsageError, match="no such folder"):
        find_probes(tmp_path / "helper.py")


def test_selection_keeps_the_order_asked_for():
    available = find_probes(FLOWS)
    assert [probe.name for probe in select_probes(available, "hello, basics,hello")] == [
        "hello",
        "basics",
    ]


def test_all_leaves_out_what_another_probe_covers(tmp_path):
    own = find_probes(FLOWS)
    left_out = set(own) - {probe.name for probe in select_probes(own, "all")}
    assert left_out == {"failing", "hello"}
    for name in left_out:
        assert own[name].covered_by in own
        assert select_probes(own, name) == (own[name],)
    covered = {"a": "", "b": "a", "c": "absent", "d": "b", "e": "e"}
    for name, by in covered.items():
        (tmp_path / f"{name}.py").write_text(f"COVERED_BY = {by!r}\n{PLAIN}", encoding="utf-8")
    # Nothing covers what is not run itself.
    found = select_probes(find_probes(tmp_path), "all")
    assert [probe.name for probe in found] == ["a", "c", "d", "e"]


OWN = sorted(FLOWS.glob("*.py"))


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_own_flows_parse_on_the_oldest_python(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 6))


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_own_flows_say_what_each_check_is_about(path):
    probe = read_probe(path)
    assert probe is not None
    assert len(probe.checks) > 1
    assert all(len(check.about.split()) > 3 for check in probe.checks)


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_the_steps_an_own_flow_shows_are_its_steps(path):
    probe = read_probe(path)
    assert probe is not None
    (flow,) = (
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == probe.flow
    )
    steps = {
        node.name
        for node in flow.body
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(one, ast.Name) and one.id == "step" for one in node.decorator_list)
    }
    shown = {step for step, _ in probe.shows.steps}
    # Which ones decorators has, its client decides.
    assert shown == (steps if path.stem != "decorators" else set())


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_every_check_of_an_own_flow_is_declared(path):
    module = ast.parse(path.read_text(encoding="utf-8"))
    functions = {
        node.name.removeprefix("check_")
        for node in module.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
    }
    probe = read_probe(path)
    assert probe is not None
    of_actions = {action.name for action in probe.actions}
    assert functions == {check.name for check in probe.checks} - of_actions


def test_the_table_of_what_probes_see_has_every_check():
    table = (FLOWS.parent / "docs" / "probes.md").read_text(encoding="utf-8")
    # Of the four columns the second has the probes and the third the checks, each in backquotes.
    rows = [line.split("|")[2:4] for line in table.splitlines() if line.startswith("| ")]
    told = {
        (probe, check)
        for probes, checks in rows
        for probe in _quoted(probes)
        for check in _quoted(checks)
    }
    available = find_probes(FLOWS)
    asked = {(probe.name, check.name) for probe in available.values() for check in probe.checks}
    # The check that all probes have stands in a row of its own.
    missing = asked - told - {(name, "run") for name in available}
    assert not missing, missing
    names = {check for _, check in asked} | {"run", "stored"}
    assert {check for _, checks in rows for check in _quoted(checks)} <= names


def _quoted(text: str) -> list[str]:
    return text.split("`")[1::2]


def test_a_probe_may_be_for_some_datastores_only(tmp_path):
    probe = read_probe(_file(tmp_path, "probe.py", PLAIN + 'DATASTORES = ["s3"]\n'))
    assert probe is not None
    assert probe.datastores == ("s3",)
    with pytest.raises(UsageError, match="DATASTORES is not a list"):
        read_probe(_file(tmp_path, "probe.py", PLAIN + 'DATASTORES = "s3"\n'))
