"""A client with one line broken on purpose turns exactly the checks red that look at it.

The client is an installed one, copied, and alone with local metadata. ``BROKEN`` is the whole
declaration; docs/probes.md says of which checks this is all that turned them red.
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console

from harness.catalog.versions import load
from harness.cli.options import parse
from harness.cli.planning import OnPython, make_plan
from harness.client.actions import Doer
from harness.client.reading import Request, read_runs
from harness.core.actions import FIRST_RUN
from harness.core.outcome import CheckOutcome
from harness.core.plan import Cell
from harness.machine.tools import tool_python
from harness.report.terminal import Screen
from harness.run.run import Run

pytestmark = [pytest.mark.e2e, pytest.mark.exhaustive]

CLIENT = "2.19.39"
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
CORE = "client/core.py"
READS = (CORE, "plugins/cards/card_client.py")
"""What only reads: runs are shared by all that break one of these."""


class Broken(NamedTuple):
    """A line of the client that is broken, and the checks of a probe that see it."""

    probe: str
    red: str
    file: str
    old: str
    new: str


BROKEN = [
    Broken("basics", "logs sizes", CORE, 'return self._load_log("stdout")', 'return ""'),
    Broken("basics", "sizes", CORE, 'return self._get_logsize("stdout")', "return 0"),
    Broken(
        "basics",
        "metadata",
        CORE,
        "for m in sorted(self.metadata, key=lambda m: m.created_at)\n        }\n\n    @property\n"
        "    def index",
        'for m in self.metadata if m.name != "attempt"\n        }\n\n    @property\n    def index',
    ),
    Broken(
        "basics",
        "project",
        "plugins/project_decorator.py",
        '"project_branch:%s" % branch_name',
        '"branch:%s" % branch_name',
    ),
    Broken(
        "basics",
        "namespace flows",
        CORE,
        "raise MetaflowNamespaceMismatch(self._current_namespace)",
        "pass",
    ),
    Broken(
        "basics",
        "steps children metadata remembered",
        CORE,
        '# exclude _parameters step\n        return x.id[0] != "_"',
        "return True",
    ),
    Broken(
        "basics",
        "by_path missing",
        CORE,
        'self._NAME == "step" and len(ids) != 3',
        'self._NAME == "step" and len(ids) != 2',
    ),
    Broken("basics", "missing", CORE, "        if not result:\n", "        if False:\n"),
    Broken(
        "basics",
        "end_task finished handed_on resumed",
        CORE,
        "return end_step.task",
        'return self["start"].task',
    ),
    Broken(
        "basics",
        "carried",
        CORE,
        "pathspec, attempt, md, ns, namespace_check = data",
        "pathspec, attempt, md, ns, namespace_check = data[0][:-1], *data[1:]",
    ),
    Broken(
        "basics",
        "latest",
        CORE,
        "        for run in self:\n            return run\n",
        "        return list(self)[-1]\n",
    ),
    Broken("basics", "order latest", CORE, "sorted(children, reverse=True", "sorted(children"),
    Broken(
        "basics", "times finished", CORE, '["ts_epoch"] / 1000.0)', '["ts_epoch"] / 1000.0 + 9999)'
    ),
    Broken(
        "basics",
        "artifacts carried children handed_on project remembered resumed",
        CORE,
        "        return obj\n\n    @property\n    def size",
        "        return obj[:-1] if type(obj) is str else obj\n\n    @property\n    def size",
    ),
    Broken(
        "basics",
        "handed_on logs parameters resumed",
        "flowspec.py",
        "                val = kwargs[param.name.replace",
        "                val = 4 or kwargs[param.name.replace",
    ),
    Broken(
        "values", "defaults parameters", "parameters.py", "return json.loads(value)", "return value"
    ),
    Broken(
        "values",
        "constant",
        "task.py",
        'raise AttributeError(\n                "Flow level attributes and Parameters are not'
        ' modifiable"\n            )',
        "pass",
    ),
    Broken(
        "values",
        "included included_back",
        "includefile.py",
        "return handler.load(self._descriptor)",
        "return handler.load(self._descriptor)[:-1]",
    ),
    Broken(
        "values",
        "kinds",
        CORE,
        "        return obj\n\n    @property\n    def size",
        "        return list(obj) if type(obj) is tuple else obj\n\n    @property\n    def size",
    ),
    Broken(
        "values",
        "special",
        CORE,
        "        return obj\n\n    @property\n    def size",
        "        return obj or 0.0 if type(obj) is float else obj\n\n    @property\n    def size",
    ),
    Broken(
        "values",
        "large",
        CORE,
        "        return obj\n\n    @property\n    def size",
        "        return obj[:1 << 20] if type(obj) is bytes else obj\n\n    @property\n"
        "    def size",
    ),
    Broken(
        "values",
        "many",
        CORE,
        '# exclude private data artifacts\n        return x.id[0] != "_"',
        'return x.id[0] != "_" and not x.id.endswith("119")',
    ),
    Broken(
        "values",
        "by_path",
        CORE,
        'self._NAME == "artifact" and len(ids) != 5',
        'self._NAME == "artifact" and len(ids) != 4',
    ),
    Broken(
        "values",
        "code environment tarball",
        CORE,
        'self.metadata_dict.get("code-package")',
        'self.metadata_dict.get("code_package")',
    ),
    Broken(
        "values", "environment", "metaflow_environment.py", 'return "Local environment"', "return"
    ),
    Broken("graph", "conflict", "flowspec.py", "if previous_sha != sha:", "if False:"),
    Broken(
        "graph",
        "merged",
        "flowspec.py",
        "        for var, (inp, _) in to_merge.items():",
        '        to_merge.pop("only_left", None)\n        for var, (inp, _) in to_merge.items():',
    ),
    Broken(
        "graph",
        "branches",
        "datastore/inputs.py",
        "setattr(self, flow._current_step, flow)",
        "setattr(self, flow._current_step, self.flows[0])",
    ),
    Broken(
        "graph",
        "wide order nested",
        "flowspec.py",
        "self._foreach_num_splits = len(self._foreach_values)",
        "self._foreach_num_splits = min(len(self._foreach_values), 10)",
    ),
    Broken(
        "graph",
        "nested",
        "flowspec.py",
        "for i, frame in enumerate(self._foreach_stack)",
        "for i, frame in enumerate(self._foreach_stack[-1:])",
    ),
    Broken(
        "graph",
        "attempts run_on",
        CORE,
        "        attempt = self._resolve_log_attempt(meta_dict)\n        logs",
        "        attempt = 1\n        logs",
    ),
    Broken(
        "graph",
        "timed_out run_on",
        "plugins/timeout_decorator.py",
        "signal.alarm(self.secs)",
        "signal.alarm(0)",
    ),
    Broken(
        "graph",
        "environment",
        "plugins/environment_decorator.py",
        "{key: str(value) for",
        "{key.lower(): str(value) for",
    ),
    Broken(
        "parallel",
        "nodes",
        "plugins/parallel_decorator.py",
        'os.environ.get("MF_PARALLEL_NUM_NODES", "1")',
        '"1"',
    ),
    Broken(
        "parallel",
        "joined",
        "datastore/inputs.py",
        "self.flows = list(flows)",
        "self.flows = list(flows)[::-1]",
    ),
    Broken(
        "parallel",
        "nodes tasks",
        CORE,
        "        for t in super(Step, self).__iter__():\n            yield t",
        "        for t in super(Step, self).__iter__():\n            yield t\n            return",
    ),
    Broken(
        "switch",
        "taken not_taken rounds tasks",
        "flowspec.py",
        "chosen_step_func = switch_cases[condition_value]",
        'chosen_step_func = switch_cases.get("short") or switch_cases[condition_value]',
    ),
    Broken(
        "switch",
        "rounds tasks",
        "flowspec.py",
        "chosen_step_func = switch_cases[condition_value]",
        'chosen_step_func = switch_cases.get("enough") or switch_cases[condition_value]',
    ),
    Broken("failing", "exception", CORE, 'return self["_exception"].data', "return None"),
    Broken("failing", "failed_task run", CORE, 'return self["_success"].data', "return True"),
    Broken("failing", "logs", CORE, 'return self._load_log("stderr")', 'return ""'),
    Broken(
        "failing",
        "times",
        CORE,
        'return self["_task_ok"].created_at',
        "return self.parent.parent.created_at",
    ),
    Broken(
        "failing",
        "kept",
        CORE,
        "        return obj\n\n    @property\n    def size",
        "        return obj[:-1] if type(obj) is str else obj\n\n    @property\n    def size",
    ),
    Broken("unpicklable", "failed_task run", CORE, 'return self["_success"].data', "return True"),
    Broken("unpicklable", "logs", CORE, 'return self._load_log("stderr")', 'return ""'),
    Broken(
        "unpicklable",
        "kept",
        CORE,
        "        return obj\n\n    @property\n    def size",
        "        return obj[:-1] if type(obj) is str else obj\n\n    @property\n    def size",
    ),
    Broken(
        "resume",
        "as_it_was kept once origin resume",
        "runtime.py",
        '        if origin and origin["_task_ok"]:',
        "        if False:",
    ),
    Broken("resume", "origin", "task.py", "value=str(origin_run_id)", "value=str(run_id)"),
    Broken("resume", "as_it_was run", CORE, 'return self["_success"].data', "return True"),
    Broken(
        "card",
        "refreshed",
        "plugins/cards/card_modules/components.py",
        "    def update(self, text=None):\n        self._text = self._dedent_text(text)",
        "    def update(self, text=None):\n        pass",
    ),
    Broken(
        "card",
        "card composed failing own refreshed",
        "plugins/cards/card_client.py",
        "self._html = self._card_ds.get_card_html(self.path)",
        'self._html = ""',
    ),
    Broken(
        "card",
        "composed refreshed several",
        "plugins/cards/card_client.py",
        "type=type, card_id=card_id",
        "type=type, card_id=None",
    ),
    Broken(
        "card",
        "own",
        "plugins/cards/card_cli.py",
        "                    options=options,\n",
        '                    options={"word": ""},\n',
    ),
    Broken(
        "card",
        "fetched",
        "plugins/cards/card_cli.py",
        "        print(card_datastore.get_card_html(available_card_paths[0]))\n",
        "        pass\n",
    ),
    Broken(
        "commands",
        "dumped",
        "cli_components/dump_cmd.py",
        "                ds.format(**kwargs),",
        '                "",',
    ),
    Broken(
        "commands",
        "packaged",
        "plugins/package_cli.py",
        "for path, _ in obj.package.path_tuples()",
        'for path, _ in obj.package.path_tuples() if "client" not in path',
    ),
    Broken(
        "commands",
        "status_told",
        "cmd/main_cli.py",
        "    from metaflow.client import get_metadata\n",
        "    return\n    from metaflow.client import get_metadata\n",
    ),
    Broken(
        "deployers",
        "step_functions_steps",
        "plugins/aws/step_functions/step_functions.py",
        "                State(node.name)\n",
        "                State(node.name[::-1])\n",
    ),
    Broken(
        "deployers",
        "argo_steps",
        "plugins/argo/argo_workflows.py",
        "                    Template(template_name)\n",
        '                    Template("a-" + template_name)\n',
    ),
    Broken(
        "deployers",
        "airflow_steps",
        "plugins/airflow/airflow.py",
        "            state = AirflowTask(\n                node.name,",
        '            state = AirflowTask(\n                "a_" + node.name,',
    ),
]


@pytest.fixture(scope="module")
def python(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a copy of an installed client."""
    needed = run.clients.requirements(run.plan.cells[0].client, run.plan.cells, MINOR)
    made = tool_python(f"client-{CLIENT}", needed).parent.parent
    copy = tmp_path_factory.mktemp("client") / "copied"
    # Links: a file that is broken is one of its own then, and the rest takes no room.
    shutil.copytree(made, copy, symlinks=True, copy_function=os.link)
    script = copy / "bin" / "metaflow"
    text = script.read_text(encoding="utf-8")
    script.unlink()
    script.write_text(text.replace(str(made), str(copy)), encoding="utf-8")
    script.chmod(0o755)
    return copy / "bin" / "python"


@contextmanager
def _broken(python: Path, one: Broken) -> Iterator[None]:
    """Break a line of the client for a while."""
    (package,) = (python.parent.parent / "lib").glob("python*/site-packages/metaflow")
    file = package / one.file
    text = file.read_text(encoding="utf-8")
    assert text.count(one.old) == 1, f"{one.file} has {text.count(one.old)} times {one.old!r}"

    def write(words: str) -> None:
        file.unlink()
        file.write_text(words, encoding="utf-8")
        # Its age in whole seconds may be the same.
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            compiled.unlink()

    write(text.replace(one.old, one.new))
    try:
        yield
    finally:
        write(text)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run of all probes, of which each test does what it needs."""
    results = str(tmp_path_factory.mktemp("results"))
    given = ["--metaflow", CLIENT, "--probe", "all", "--datastore", "local,s3", "--keep"]
    options = parse("local", [*given, "--results", results], load())
    plan = make_plan(options, [OnPython(options.clients[0], MINOR)])
    made = Run(options, plan, Screen(Console(file=io.StringIO())))
    try:
        yield made
    finally:
        made.end()


class Whole:
    """Does all of a probe's actions, and reads them back, as a cell does."""

    def __init__(self, run: Run, python: Path) -> None:
        self._run, self._python = run, python
        self._kept: dict[str, Doer] = {}
        self._attempts = itertools.count(2)

    def cell(self, probe: str) -> Cell:
        """Return the cell of a probe."""
        cells = [cell for cell in self._run.plan.cells if cell.probe.name == probe]
        return next(cell for cell in cells if cell.probe.is_for(cell.datastore))

    def red(self, probe: str, made: Mapping[str, CheckOutcome]) -> dict[str, CheckOutcome]:
        """Return the checks that are red, and not for what the release is declared to fail."""
        checks = self._run.judge_checks(self.cell(probe), made)
        return {name: check for name, check in checks.items() if not check.status.expected}

    def made(self, probe: str) -> dict[str, CheckOutcome]:
        """Run a probe's cell, and return what came of its checks."""
        cell, attempt = self.cell(probe), next(self._attempts)
        return self._run.clients.cell(cell, self._python, None, attempt=attempt).checks

    def read(self, probe: str) -> dict[str, CheckOutcome]:
        """Read once more what the whole client left, and return what came of the checks."""
        kept = self._kept[probe]
        (answer,) = read_runs(
            kept.surroundings,
            [Request(kept.cell, kept.done[FIRST_RUN].run_id, _read_checks(kept), kept.done)],
            name="again",
            deadline=time.monotonic() + kept.surroundings.timeout,
        )
        return answer.checks

    def keep(self, probe: str) -> None:
        """Do a probe's actions for those that read; with the client whole nothing is red."""
        if probe in self._kept:
            return
        cell = self.cell(probe)
        surroundings = self._run.clients.surroundings(
            probe, cell.client, self._python, None, datastore="local", data=None
        )
        surroundings.make_folders()
        doer = Doer(cell, surroundings, time.monotonic() + surroundings.timeout)
        for action in cell.probe.actions:
            if action.verb != "read":
                doer.do(action)
        self._kept[probe] = doer
        assert self.red(probe, self.read(probe)) == {}


def _read_checks(kept: Doer) -> tuple[str, ...]:
    """Return the checks that a read makes: all but those of commands."""
    made = {action.name for action in kept.cell.probe.actions if not action.makes_run}
    # It changes the run, which local metadata takes for a new one.
    made.add("changed_tags")
    asked = [check for check in kept.cell.checks if not kept.cell.unsupported(check)]
    return tuple(check.name for check in asked if check.name not in made)


@pytest.fixture(scope="module")
def whole(run: Run, python: Path) -> Whole:
    """What does a probe's actions with the copied client."""
    return Whole(run, python)


@pytest.mark.parametrize("one", BROKEN, ids=lambda one: f"{one.probe}-{one.red.replace(' ', '-')}")
def test_exactly_the_checks_that_look_at_it_are_red(
    whole: Whole, python: Path, one: Broken
) -> None:
    if one.file in READS:
        whole.keep(one.probe)
        with _broken(python, one):
            made = whole.read(one.probe)
    else:
        with _broken(python, one):
            made = whole.made(one.probe)
    red = whole.red(one.probe, made)
    assert sorted(red) == sorted(one.red.split()), f"{sorted(red)} in {red}"
