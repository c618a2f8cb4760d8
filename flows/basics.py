"""What every team relies on, in six tasks: parameters, artifacts, foreach, join, tags, namespaces.

The run is started with the tag ``probe:basics``.
"""

from metaflow import FlowSpec, Parameter, Run, namespace, step

TAGS = ["probe:basics"]

CHECKS = {
    "parameters": {"about": "a parameter's default reaches the steps and is read back"},
    "artifacts": {"about": "artifacts of several types are read back equal, by task and by run"},
    "foreach": {"about": "a foreach over three values makes three tasks, each with its input"},
    "join": {"about": "the join sees all three branches and merges what they share"},
    "tags": {"about": "the tags given on the command line are on the run, and filter the flow"},
    "namespace": {"about": "the run is in its user's namespace and hidden in another's"},
}

SHOWS = {"log": ["end", "products: [3, 6, 9]"], "artifact": ["factor", "3"]}

VALUES = {"text": "häß", "number": 7, "nested": {"a": [1, 2.5, None]}, "blob": b"\x00\xff" * 600}


class BasicsFlow(FlowSpec):
    """Fan out over three values and join them again."""

    factor = Parameter("factor", default=3, type=int)

    @step
    def start(self):
        for name, value in VALUES.items():
            setattr(self, name, value)
        self.items = [1, 2, 3]
        self.next(self.work, foreach="items")

    @step
    def work(self):
        self.item = self.input
        self.product = self.item * self.factor
        self.next(self.join)

    @step
    def join(self, inputs):
        self.products = sorted(branch.product for branch in inputs)
        self.merge_artifacts(inputs, exclude=["item", "product"])
        self.next(self.end)

    @step
    def end(self):
        print("products: %s" % self.products)


def check_parameters(run):
    """Read the parameter as the first and the last step saw it."""
    assert run.data.factor == 3, "factor is %r" % (run.data.factor,)
    assert run["start"].task.data.factor == 3
    return {"artifact_v3": [{"step_name": "start", "name": "factor"}]}


def check_artifacts(run):
    """Read every artifact back from the task that set it."""
    task = run["start"].task
    for name, expected in VALUES.items():
        assert name in task, "artifact %r of %s is missing" % (name, task.pathspec)
        value = task[name].data
        assert value == expected, "artifact %r is %r" % (name, value)
    return {"artifact_v3": [{"step_name": "start", "name": name} for name in VALUES]}


def check_foreach(run):
    """Read the three branches."""
    found = sorted((task.data.item, task.data.product) for task in run["work"])
    assert found == [(1, 3), (2, 6), (3, 9)], "branches are %r" % (found,)
    return {"tasks_v3": [{"step_name": "work"}] * 3, "steps_v3": [{"step_name": "work"}]}


def check_join(run):
    """Read what the join made of the branches."""
    assert run["join"].task.data.products == [3, 6, 9]
    assert run.data.text == VALUES["text"], "the merged artifact is %r" % (run.data.text,)
    return {"steps_v3": [{"step_name": "join"}, {"step_name": "end"}]}


def check_tags(run):
    """Find the run by its tag, and not by another."""
    for tag in TAGS:
        assert tag in run.tags, "tag %r is not among %r" % (tag, sorted(run.tags))
    flow = run.parent
    assert run.id in [found.id for found in flow.runs(*TAGS)], "the tag does not find the run"
    assert not list(flow.runs("probe:another")), "a tag that no run has finds runs"
    return {"runs_v3": [{"tags": TAGS}]}


def check_namespace(run):
    """Look at the run from its own namespace and from somebody else's."""
    user = [tag for tag in run.tags if tag.startswith("user:")]
    assert len(user) == 1, "user tags are %r" % (user,)
    try:
        namespace(user[0])
        assert Run(run.pathspec).id == run.id
        namespace("user:somebody-else")
        try:
            Run(run.pathspec)
        except Exception as error:
            name = type(error).__name__
            assert "namespace" in name.lower(), "%s: %s" % (name, error)
        else:
            raise AssertionError("the run is visible in another user's namespace")
    finally:
        namespace(None)
    return {"runs_v3": [{"system_tags": user}]}


if __name__ == "__main__":
    BasicsFlow()
