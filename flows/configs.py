"""``Config``: values that are known when the flow is deployed, used by steps and decorators."""

import os

import metaflow
from metaflow import FlowSpec, environment, step

ACTIONS = [
    {
        "verb": "run",
        "client": ">=2.12.37",
        "before": ["--config-value", "given", '{"shape": "hexagon", "sides": [6, "ü"]}'],
    },
    {
        "verb": "run",
        "name": "unset",
        "about": "the flow runs with the defaults of its configs",
        "client": ">=2.12.37",
    },
]

CHECKS = {
    "given": {"about": "a config given by value is read in steps, and back", "client": ">=2.12.37"},
    "default": {
        "about": "a config that is not given has its default",
        "client": ">=2.12.37",
        "action": "unset",
    },
    "decorated": {"about": "a decorator takes a value of a config", "client": ">=2.12.37"},
}


# Looked up: the file must be readable for every release since 2.0.0.
Config = getattr(metaflow, "Config", None)
SHAPE = metaflow.config_expr("given.shape") if Config else "none"


class ConfigsFlow(FlowSpec):
    """Read a config in a step, and in a decorator."""

    given = Config("given", default_value='{"shape": "circle", "sides": []}') if Config else None

    @environment(vars={"PROBE_SHAPE": SHAPE})
    @step
    def start(self):
        self.shape = self.given.shape
        self.sides = list(self.given["sides"])
        self.in_environment = os.environ.get("PROBE_SHAPE")
        self.next(self.end)

    @step
    def end(self):
        self.shape_at_end = self.given.shape


def assert_config(run, shape, sides):
    """Compare what the tasks saw, and what is read back of the config itself."""
    data = run["start"].task.data
    assert data.shape == shape, "the shape is %r" % (data.shape,)
    assert data.sides == sides, "the sides are %r" % (data.sides,)
    assert run.data.shape_at_end == shape, "at the end it is %r" % (run.data.shape_at_end,)
    assert dict(data.given)["shape"] == shape, "the config is %r" % (data.given,)


def check_given(run):
    """Read the run that was given a value."""
    assert_config(run, "hexagon", [6, "ü"])


def check_default(run):
    """Read the run that was not."""
    assert_config(run, "circle", [])


def check_decorated(run, runs):
    """Read what the decorator set, in both."""
    for one, expected in ((run, "hexagon"), (runs["unset"], "circle")):
        found = one["start"].task.data.in_environment
        assert found == expected, "the variable is %r" % (found,)


if __name__ == "__main__":
    ConfigsFlow()
