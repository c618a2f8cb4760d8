"""A step that follows itself until a value says it is enough."""

from metaflow import FlowSpec, step

ACTIONS = [{"verb": "run", "client": ">=2.17.4"}]

CHECKS = {
    "rounds": {
        "about": "the step runs as often as its value says, and hands it on",
        "client": ">=2.17.4",
    },
    "tasks": {"about": "each round is a task of its own with its own data", "client": ">=2.17.4"},
}


class SwitchLoopFlow(FlowSpec):
    """Count to three."""

    @step
    def start(self):
        self.count = 0
        self.next(self.again)

    @step
    def again(self):
        self.count += 1
        self.decision = "enough" if self.count == 3 else "more"
        self.next({"more": self.again, "enough": self.end}, condition="decision")

    @step
    def end(self):
        pass


def check_rounds(run):
    """Read where the count ended."""
    assert run.data.count == 3, "the count is %r" % (run.data.count,)


def check_tasks(run):
    """Read what each round counted."""
    found = sorted(task.data.count for task in run["again"])
    assert found == [1, 2, 3], "the rounds counted %r" % (found,)
    return {"tasks_v3": [{"step_name": "again"}] * 3}


if __name__ == "__main__":
    SwitchLoopFlow()
