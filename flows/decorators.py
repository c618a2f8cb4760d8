"""What a flow is set up with: configs, exit hooks, decorators of one's own, and mutators.

By hand: ``python flows/decorators.py --config-value given '{"shape": "hexagon", "sides": [6, "ü"]}'
run``, from release 2.12.37 on.
"""

import os

import metaflow
from metaflow import FlowSpec, catch, step

ACTIONS = [
    {
        "verb": "run",
        "client": ">=2.12.37",
        "before": ["--config-value", "given", '{"shape": "hexagon", "sides": [6, "ü"]}'],
    },
]

CHECKS = {
    "given": {"about": "a config given by value is read in steps, and back", "client": ">=2.12.37"},
    "default": {"about": "a config that is not given has its default", "client": ">=2.12.37"},
    "decorated": {"about": "a decorator takes a value of a config", "client": ">=2.12.37"},
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
# Before 2.12.37 the flow is only looked at, and needs none.
Config = getattr(metaflow, "Config", None)
SHAPE = metaflow.config_expr("given.shape") if Config else "none"


@WithWords()
@exit_hook(on_success=[on_success, NAMED], on_error=[on_error])
class DecoratorsFlow(FlowSpec):
    """Note what each decorator did, and what the configs say."""

    given = Config("given", default_value='{"shape": "none", "sides": []}') if Config else None
    unset = Config("unset", default_value='{"shape": "circle"}') if Config else None

    @wrapped(word="hexagon")
    # Without an error it stores None under the name; environment is what the mutators add.
    @catch(var=SHAPE)
    @step
    def start(self):
        self.shape = self.given.shape
        self.sides = list(self.given["sides"])
        self.unset_shape = self.unset.shape
        self.during = "in it"
        self.start_word = os.environ.get("PROBE_WORD")
        self.next(self.end)

    @WithWord()
    @step
    def end(self):
        self.shape_at_end = self.given.shape
        self.end_word = os.environ.get("PROBE_WORD")


def check_given(run):
    """Read what the tasks saw, and the config itself."""
    data = run["start"].task.data
    assert data.shape == "hexagon", "the shape is %r" % (data.shape,)
    assert data.sides == [6, "ü"], "the sides are %r" % (data.sides,)
    assert run.data.shape_at_end == "hexagon", "at the end it is %r" % (run.data.shape_at_end,)
    assert dict(data.given)["shape"] == "hexagon", "the config is %r" % (data.given,)


def check_default(run):
    """Read the config that nobody gave."""
    found = run["start"].task.data.unset_shape
    assert found == "circle", "the shape is %r" % (found,)


def check_decorated(run):
    """Look for the artifact that the decorator stores, by the name that the config has."""
    found = sorted(artifact.id for artifact in run["start"].task)
    assert "hexagon" in found, "the artifacts are %r" % (found,)


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
