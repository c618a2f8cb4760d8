"""One step of several follows, by a value: the others are not run. And a step that follows itself.

Both are one flow, though a step could follow itself only two releases later than others.
"""

from metaflow import FlowSpec, step

ACTIONS = [{"verb": "run", "client": ">=2.17.4"}]

CHECKS = {
    "taken": {"about": "the way of the value is taken", "client": ">=2.17.4"},
    "not_taken": {"about": "the step of the other way is not there", "client": ">=2.17.4"},
    "rounds": {
        "about": "a step that follows itself runs as often as its value says",
        "client": ">=2.17.4",
    },
    "tasks": {"about": "each round is a task of its own with its own data", "client": ">=2.17.4"},
}


class SwitchFlow(FlowSpec):
    """Go one of two ways, and twice through one step."""

    @step
    def start(self):
        self.way = "long"
        self.count = 0
        self.next({"short": self.shortcut, "long": self.again}, condition="way")

    @step
    def shortcut(self):
        self.next(self.end)

    @step
    def again(self):
        self.count += 1
        self.decision = "enough" if self.count == 2 else "more"
        self.next({"more": self.again, "enough": self.end}, condition="decision")

    @step
    def end(self):
        self.counted = self.count


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
    SwitchFlow()
