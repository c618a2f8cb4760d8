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
]

CHECKS = {
    "given": {"about": "a config given by value is read in steps, and back", "client": ">=2.12.37"},
    "default": {"about": "a config that is not given has its default", "client": ">=2.12.37"},
    "decorated": {"about": "a decorator takes a value of a config", "client": ">=2.12.37"},
}


# Looked up: the file must be readable for every release since 2.0.0.
Config = getattr(metaflow, "Config", None)
SHAPE = metaflow.config_expr("given.shape") if Config else "none"


class ConfigsFlow(FlowSpec):
    """Read a config in a step, and in a decorator."""

    given = Config("given", default_value='{"shape": "none", "sides": []}') if Config else None
    unset = Config("unset", default_value='{"shape": "circle"}') if Config else None

    @environment(vars={"PROBE_SHAPE": SHAPE})
    @step
    def start(self):
        self.shape = self.given.shape
        self.sides = list(self.given["sides"])
        self.unset_shape = self.unset.shape
        self.in_environment = os.environ.get("PROBE_SHAPE")
        self.next(self.end)

    @step
    def end(self):
        self.shape_at_end = self.given.shape


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
    """Read what the decorator set."""
    found = run["start"].task.data.in_environment
    assert found == "hexagon", "the variable is %r" % (found,)


if __name__ == "__main__":
    ConfigsFlow()
