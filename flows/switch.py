"""One step of several follows, by a value: the others are not run."""

from metaflow import FlowSpec, Parameter, step

ACTIONS = [
    {"verb": "run", "client": ">=2.17.2", "parameters": {"way": "long"}},
    {
        "verb": "run",
        "name": "other",
        "about": "the same flow takes the other way",
        "client": ">=2.17.2",
        "parameters": {"way": "short"},
    },
]

CHECKS = {
    "taken": {"about": "the way of the value is taken", "client": ">=2.17.2"},
    "not_taken": {"about": "no step of the other way is there", "client": ">=2.17.2"},
    "other_taken": {
        "about": "the other value takes the other way",
        "client": ">=2.17.2",
        "action": "other",
    },
}


class SwitchFlow(FlowSpec):
    """Go one of two ways."""

    way = Parameter("way", default="short")

    @step
    def start(self):
        self.next({"short": self.end, "long": self.detour}, condition="way")

    @step
    def detour(self):
        self.seen = "the detour"
        self.next(self.end)

    @step
    def end(self):
        self.saw = getattr(self, "seen", "nothing")


def check_taken(run):
    """Read what was seen on the way."""
    assert run.data.saw == "the detour", "seen was %r" % (run.data.saw,)
    assert run["detour"].task.finished
    return {"steps_v3": [{"step_name": name} for name in ("start", "detour", "end")]}


def check_not_taken(runs):
    """List the steps of the short way."""
    found = sorted(step.id for step in runs["other"])
    assert found == ["end", "start"], "steps are %r" % (found,)


def check_other_taken(run):
    """Read what was seen on the other way."""
    assert run.data.saw == "nothing", "seen was %r" % (run.data.saw,)


if __name__ == "__main__":
    SwitchFlow()
