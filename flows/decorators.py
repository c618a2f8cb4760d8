"""What a flow and its steps are decorated with: project, exit hook, one's own, and mutators."""

import os

import metaflow
from metaflow import FlowSpec, current, step

CHECKS = {
    "project": {
        "about": "a flow of a project knows it, and is found by its tags",
        "client": ">=2.3.0",
    },
    "exit_hook": {
        "about": "the hook for success is called when the run is done, and no other",
        "client": ">=2.15.19",
    },
    "exit_hook_named": {
        "about": "a hook given by the path to import it by is called when the run is done",
        "client": ">=2.15.19",
    },
    "own": {
        "about": "a step decorator of one's own runs around its step, with its arguments",
        "client": ">=2.16.0",
    },
    "mutated": {
        "about": "a mutator of a step adds a decorator to it, and one of a flow to its steps",
        "client": ">=2.16.0",
    },
}


def nothing(*_arguments, **_options):
    """Decorate with nothing, where the release has not what is asked for."""
    return lambda decorated: decorated


def on_success():
    """Be called when the run is done."""
    print("the hook for success was called")


def on_error():
    """Be called when the run failed."""
    print("the hook for errors was called")


if hasattr(metaflow, "user_step_decorator"):

    @metaflow.user_step_decorator
    def wrapped(step_name, flow, inputs, attributes):  # noqa: ARG001 - asked for by place
        """Note what runs before and after the step."""
        flow.before = "%s, %s" % (step_name, attributes["word"])
        yield
        flow.after = flow.before + ", after " + flow.during

    class WithWord(metaflow.StepMutator):
        """Give a step a variable."""

        def mutate(self, mutable_step):
            mutable_step.add_decorator(
                metaflow.environment, deco_kwargs={"vars": {"PROBE_WORD": "of the step"}}
            )

    class WithWords(metaflow.FlowMutator):
        """Give the first step a variable."""

        def mutate(self, mutable_flow):
            for name, one in mutable_flow.steps:
                if name == "start":
                    one.add_decorator(
                        metaflow.environment, deco_kwargs={"vars": {"PROBE_WORD": "of the flow"}}
                    )
else:
    wrapped, WithWord, WithWords = nothing, nothing, nothing

# Every Python has it, and it prints; this file itself is found from its own folder only.
NAMED = "pdb.help"


# Looked up: the file must be readable for every release since 2.0.0. And named: before Python 3.9
# a decorator is a name, or a call of one.
exit_hook = getattr(metaflow, "exit_hook", nothing)
project = getattr(metaflow, "project", nothing)


@WithWords()
@exit_hook(on_success=[on_success, NAMED], on_error=[on_error])
@project(name="probe_project")
class DecoratorsFlow(FlowSpec):
    """Note what each decorator did."""

    @wrapped(word="hexagon")
    @step
    def start(self):
        self.during = "in it"
        self.start_word = os.environ.get("PROBE_WORD")
        self.project = current.get("project_name")
        self.branch = current.get("branch_name")
        self.next(self.end)

    @WithWord()
    @step
    def end(self):
        self.end_word = os.environ.get("PROBE_WORD")


def check_project(run):
    """Read what the step knew, and the tags."""
    data = run["start"].task.data
    assert data.project == "probe_project", "the project is %r" % (data.project,)
    expected = ["project:probe_project", "project_branch:" + data.branch]
    for tag in expected:
        assert tag in run.tags, "%r is not among %r" % (tag, sorted(run.tags))
    assert run.id in [one.id for one in run.parent.runs(*expected)], "its tags do not find it"
    return {"runs_v3": [{"system_tags": expected}]}


def check_exit_hook(output):
    """Look for what the hooks print."""
    said = [line for line in output.stdout.splitlines() if "hook" in line]
    assert "the hook for success was called" in said, "of hooks was printed %r" % (said,)
    assert "the hook for errors was called" not in said, "the hook for errors was called, too"


def check_exit_hook_named(output):
    """Look for what the hook prints that was given by its path."""
    assert "Debugger" in output.stdout, "the output has %d characters" % len(output.stdout)


def check_own(run):
    """Read what the decorator set, before and after."""
    data = run["start"].task.data
    assert data.before == "start, hexagon", "before is %r" % (data.before,)
    assert data.after == "start, hexagon, after in it", "after is %r" % (data.after,)


def check_mutated(run):
    """Read what the mutators' decorators set."""
    found = (run.data.start_word, run.data.end_word)
    assert found == ("of the flow", "of the step"), "the words are %r" % (found,)


if __name__ == "__main__":
    DecoratorsFlow()
