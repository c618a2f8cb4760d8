"""Lines of client 2.19.39 that are broken on purpose, each with the checks that see it, exactly.

``test_broken_clients.py`` breaks them; docs/probes.md says of which checks this is all that turned
them red.
"""

from __future__ import annotations

from typing import NamedTuple

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
        "changed",
        "datastore/task_datastore.py",
        "                valid_artifacts.append((var, val))\n",
        "                if not (type(val) is list and var in self._objects):\n"
        "                    valid_artifacts.append((var, val))\n",
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
        "left_over left_over_by_name retried retried_task",
        "plugins/metadata_providers/local.py",
        "cls._read_json_file(attempts_done[-1])",
        "cls._read_json_file(attempts_done[0])",
    ),
    Broken(
        "graph", "caught_task", CORE, 'return self["_task_ok"].data', 'return self["_success"].data'
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
        "decorators",
        "taken not_taken rounds tasks",
        "flowspec.py",
        "chosen_step_func = switch_cases[condition_value]",
        'chosen_step_func = switch_cases.get("short") or switch_cases[condition_value]',
    ),
    Broken(
        "decorators",
        "rounds tasks",
        "flowspec.py",
        "chosen_step_func = switch_cases[condition_value]",
        'chosen_step_func = switch_cases.get("enough") or switch_cases[condition_value]',
    ),
    Broken(
        "decorators",
        "decorated given",
        "user_configs/config_options.py",
        "                if n in all_values:\n",
        "                if False:\n",
    ),
    Broken(
        "decorators",
        "default",
        "user_configs/config_options.py",
        "ConvertDictOrStr.convert_value(val, True)",
        'ConvertDictOrStr.convert_value(str(val).replace("circle", "square"), True)',
    ),
    Broken(
        "decorators",
        "exit_hook_named",
        "plugins/exit_hook/exit_hook_script.py",
        "importlib.import_module(module_path)",
        'importlib.import_module("no_" + module_path)',
    ),
    Broken(
        "decorators",
        "mutated",
        "user_decorators/mutable_step.py",
        "                self._my_step.decorators.append(step_deco)\n",
        "                pass\n",
    ),
    Broken(
        "decorators",
        "own",
        "user_decorators/user_step_decorator.py",
        "                        self._generator.send(None)\n",
        "                        raise StopIteration\n",
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
    Broken("commands", "failed_task run", CORE, 'return self["_success"].data', "return True"),
    Broken("commands", "failed_log", CORE, 'return self._load_log("stderr")', 'return ""'),
    Broken(
        "commands",
        "kept runner_made scheduled",
        CORE,
        "        return obj\n\n    @property\n    def size",
        "        return obj[:-1] if type(obj) is str else obj\n\n    @property\n    def size",
    ),
    Broken(
        "resume",
        "as_it_was once origin resume taken_over",
        "runtime.py",
        '        if origin and origin["_task_ok"]:',
        "        if False:",
    ),
    Broken("resume", "origin", "task.py", "value=str(origin_run_id)", "value=str(run_id)"),
    Broken(
        "resume", "as_it_was failed_task run", CORE, 'return self["_success"].data', "return True"
    ),
    Broken("resume", "exception", CORE, 'return self["_exception"].data', "return None"),
    Broken("resume", "logs", CORE, 'return self._load_log("stderr")', 'return ""'),
    Broken(
        "resume",
        "times",
        CORE,
        'return self["_task_ok"].created_at',
        "return self.parent.parent.created_at",
    ),
    Broken(
        "resume",
        "kept taken_over origin",
        CORE,
        "        return obj\n\n    @property\n    def size",
        "        return obj[:-1] if type(obj) is str else obj\n\n    @property\n    def size",
    ),
    Broken("card", "logs", CORE, 'return self._load_log("stdout")', 'return ""'),
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
    Broken("commands", "tag_added", "plugins/tag_cli.py", "    run.add_tags(tags)\n", "    pass\n"),
    Broken("commands", "logged", "plugins/logs_cli.py", "echo_unicode(line.msg)", "pass"),
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
