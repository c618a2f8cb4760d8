"""Every way tasks follow one another: branches, joins, and foreach, narrow, wide and nested."""

from metaflow import FlowSpec, step

CHECKS = {
    "branches": {"about": "both branches of a split are run, and the join sees each by its name"},
    "conflict": {"about": "merging what the branches set differently is refused, by its name"},
    "merged": {"about": "what the branches agree on, or only one has, is handed on by a merge"},
    "narrow": {"about": "a foreach over one value makes one task"},
    "wide": {"about": "a foreach over 11 values makes 11 tasks, and its join sees them in order"},
    "nested": {"about": "a task of a foreach within a foreach knows both of its values"},
    "tasks": {"about": "the client lists all tasks of each step, and each has its own data"},
}

SHOWS = {"artifact": ["side", "both"]}

WIDTHS = [1, 11]


class GraphFlow(FlowSpec):
    """Split, and fan out twice within one branch."""

    @step
    def start(self):
        self.shared = "from the start"
        self.next(self.left, self.right)

    @step
    def left(self):
        self.side = "left"
        self.widths = WIDTHS
        self.next(self.outer, foreach="widths")

    @step
    def outer(self):
        self.width = self.input
        self.numbers = list(range(self.width))
        self.next(self.inner, foreach="numbers")

    @step
    def inner(self):
        self.made = (self.width, self.input, self.index)
        self.stack = [frame[2] for frame in self.foreach_stack()]
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.seen = [one.made for one in inputs]
        self.stacks = [one.stack for one in inputs]
        self.next(self.gather_all)

    @step
    def gather_all(self, inputs):
        self.all_seen = [one.seen for one in inputs]
        self.all_stacks = [one.stacks for one in inputs]
        self.side = "left"
        self.only_left = 12
        self.shared = "from the start"
        self.next(self.join)

    @step
    def right(self):
        self.side = "right"
        self.next(self.join)

    @step
    def join(self, inputs):
        self.sides = [inputs.gather_all.side, inputs.right.side]
        try:
            self.merge_artifacts(inputs)
        except Exception as error:
            self.conflict = "%s: %s" % (type(error).__name__, error)
        else:
            self.conflict = "nothing was refused"
        self.side = "both"
        self.merge_artifacts(inputs)
        self.next(self.end)

    @step
    def end(self):
        pass


def check_branches(run):
    """Read what the join saw."""
    assert run["join"].task.data.sides == ["left", "right"], run["join"].task.data.sides
    return {"steps_v3": [{"step_name": name} for name in ("left", "right", "join", "end")]}


def check_conflict(run):
    """Read how the merge ended that could not be made."""
    found = run["join"].task.data.conflict
    assert "MergeArtifactsException" in found, "it ended with: %s" % found
    assert "side" in found, "the artifact is not named: %s" % found


def check_merged(run):
    """Read in the last task what came from the branches."""
    data = run.data
    assert data.shared == "from the start", "shared is %r" % (data.shared,)
    assert data.only_left == 12, "only_left is %r" % (data.only_left,)
    assert data.side == "both", "side is %r" % (data.side,)


def check_narrow(run):
    """Read what the join of the narrow foreach saw."""
    seen = run.data.all_seen
    assert seen[0] == [(1, 0, 0)], "seen was %r" % (seen[0],)


def check_wide(run):
    """Read what the join of the wide foreach saw, in which order."""
    seen = run.data.all_seen
    assert seen[1] == [(11, at, at) for at in range(11)], "seen was %r" % (seen[1],)
    return {"tasks_v3": [{"step_name": "inner"}] * sum(WIDTHS)}


def check_nested(run):
    """Read the values of both foreachs as the inner tasks knew them."""
    stacks = run.data.all_stacks
    expected = [[[str(width), str(at)] for at in range(width)] for width in WIDTHS]
    found = [[[str(value) for value in stack] for stack in stacks_] for stacks_ in stacks]
    assert found == expected, "the stacks are %r" % (stacks,)


def check_tasks(run):
    """List the tasks of the steps that have several."""
    found = sorted(task.data.made for task in run["inner"])
    assert found == sorted((width, at, at) for width in WIDTHS for at in range(width)), found
    assert sorted(task.data.width for task in run["outer"]) == WIDTHS
    assert len(list(run["gather"])) == len(WIDTHS)
    assert len({task.id for task in run["inner"]}) == sum(WIDTHS), "ids are not unique"


if __name__ == "__main__":
    GraphFlow()
