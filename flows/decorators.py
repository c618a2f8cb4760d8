"""What a flow is set up with: configs, exit hooks, decorators of one's own, and mutators.

And one step of several follows, by a value, and a step that follows itself: where the release can,
the flow has these steps between its two. Both came as one, though a step could follow itself only
two releases later than others.

By hand: ``python flows/decorators.py --config-value given '{"shape": "hexagon", "sides": [6, "ü"]}'
run``, from release 2.12.37 on.
"""

import os
import re

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
    "taken": {"about": "the way of the value is taken", "client": ">=2.17.4"},
    "not_taken": {"about": "the step of the other way is not there", "client": ">=2.17.4"},
    "rounds": {
        "about": "a step that follows itself runs as often as its value says",
        "client": ">=2.17.4",
    },
    "tasks": {"about": "each round is a task of its own with its own data", "client": ">=2.17.4"},
}

# Nothing that can be looked up came with it.
SWITCHES = [int(part) for part in re.findall(r"\d+", metaflow.__version__)[:3]] >= [2, 17, 4]


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
    """Note what each decorator did, and what the configs say; go one of two ways, and twice one."""

    given = Config("given", default_value='{"shape": "none", "sides": []}') if Config else None
    unset = Config("unset", default_value='{"shape": "circle"}') if Config else None

    def note(self):
        """Do what the first step does, wherever it goes on."""
        self.shape = self.given.shape
        self.sides = list(self.given["sides"])
        self.unset_shape = self.unset.shape
        self.during = "in it"
        self.start_word = os.environ.get("PROBE_WORD")
        self.way = "long"
        self.count = 0

    if SWITCHES:

        @wrapped(word="hexagon")
        @step
        def start(self):
            self.note()
            self.next({"short": self.shortcut, "long": self.again}, condition="way")

        @step
        def shortcut(self):
            self.next(self.end)

        @step
        def again(self):
            self.count += 1
            self.decision = "enough" if self.count == 2 else "more"
            self.next({"more": self.again, "enough": self.end}, condition="decision")

    else:  # the last of the name: releases that read the class as text know that one alone
        # They look up each function that stands in it.
        shortcut, again = None, None

        @wrapped(word="hexagon")
        @step
        def start(self):
            self.note()
            self.next(self.end)

    @WithWord()
    # Without an error it stores None under the name; environment is what the mutators add.
    @catch(var=SHAPE)
    @step
    def end(self):
        self.shape_at_end = self.given.shape
        self.end_word = os.environ.get("PROBE_WORD")
        self.counted = self.count


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
    found = sorted(artifact.id for artifact in run["end"].task)
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


def check_taken(run):
    """Read what was counted on the way."""
    assert run["again"].task.finished
    assert run.data.counted, "nothing was counted"
    return {"steps_v3": [{"step_name": name} for name in ("start", "again", "end")]}


def check_not_taken(run):
    """List the steps."""
    found = sorted(step.id for step in run)
    assert found == ["again", "end", "start"], "steps are %r" % (found,)


def check_rounds(run):
    """Read where the count ended."""
    assert run.data.counted == 2, "the count is %r" % (run.data.counted,)


def check_tasks(run):
    """Read what each round counted."""
    found = sorted(task.data.count for task in run["again"])
    assert found == [1, 2], "the rounds counted %r" % (found,)
    return {"tasks_v3": [{"step_name": "again"}] * 2}


if __name__ == "__main__":
    DecoratorsFlow()
