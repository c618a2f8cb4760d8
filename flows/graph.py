"""Every way tasks follow one another: branches, joins, and foreach, narrow, wide and nested."""

from metaflow import FlowSpec, step

CHECKS = {
    "branches": {"about": "both branches of a split are run, and the join sees each by its name"},
    "conflict": {"about": "merging what the branches set differently is refused, by its name"},
    "merged": {"about": "what the branches agree on, or only one has, is handed on by a merge"},
    "narrow": {"about": "a foreach over one value makes one task"},
    "wide": {"about": "a foreach over 11 values makes 11 tasks, each with its own data"},
    # From 2.4.0 to 2.19.22 in any order: https://github.com/Netflix/metaflow/pull/2974
    "order": {"about": "the join sees the tasks of a foreach in the order of their values"},
    "nested": {"about": "a task of a foreach within a foreach knows both of its values"},
    "lineage": {
        "about": "parents and children of each task are those that ran before and after it",
        "client": ">=2.14.1",
        "service": ">=2.5.0",
    },
}

SHOWS = {"artifact": ["side", "both"]}

WIDE = 11


class GraphFlow(FlowSpec):
    """Split, and fan out twice within one branch."""

    @step
    def start(self):
        self.shared = "from the start"
        self.next(self.left, self.right)

    @step
    def left(self):
        self.widths = [WIDE]
        self.next(self.outer, foreach="widths")

    @step
    def outer(self):
        self.width = self.input
        self.numbers = list(range(self.width))
        self.next(self.inner, foreach="numbers")

    @step
    def inner(self):
        self.made = (self.width, self.input, self.index)
        self.stack = [str(frame[2]) for frame in self.foreach_stack()]
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
    """Read what the foreach over one value made."""
    assert len(run.data.all_seen) == 1, "the join saw %d tasks" % len(run.data.all_seen)
    found = [task.data.width for task in run["outer"]]
    assert found == [WIDE], "the values are %r" % (found,)
    return {"tasks_v3": [{"step_name": "outer"}]}


def check_wide(run):
    """Read what each task of the wide foreach had."""
    found = sorted(task.data.made for task in run["inner"])
    assert found == [(WIDE, at, at) for at in range(WIDE)], "they had %r" % (found,)
    assert len({task.id for task in run["inner"]}) == WIDE, "ids are not unique"
    return {"tasks_v3": [{"step_name": "inner"}] * WIDE}


def check_order(run):
    """Read in which order the join of the wide foreach saw its tasks."""
    found = [made[2] for made in run.data.all_seen[0]]
    assert found == list(range(WIDE)), "the join saw them in the order %r" % (found,)


def check_nested(run):
    """Read the values of both foreachs as the inner tasks knew them."""
    expected = sorted([str(WIDE), str(at)] for at in range(WIDE))
    found = sorted(run.data.all_stacks[0])
    assert found == expected, "the values are %r" % (found,)


def check_lineage(run):
    """Go along the tasks, both ways."""

    def ids(tasks):
        return sorted(task.pathspec for task in tasks)

    tasks = {one.id: ids(one) for one in run}
    for name, before, after in (
        ("start", [], ["left", "right"]),
        ("left", ["start"], ["outer"]),
        ("outer", ["left"], ["inner"]),
        ("gather", ["inner"], ["gather_all"]),
        ("gather_all", ["gather"], ["join"]),
        ("join", ["gather_all", "right"], ["end"]),
        ("end", ["join"], []),
    ):
        task = run[name].task
        for told, names in ((task.parent_tasks, before), (task.child_tasks, after)):
            expected = sorted(path for one in names for path in tasks[one])
            found = [path for path in ids(told) if "/_parameters/" not in path]
            assert found == expected, "next to %s: %r instead of %r" % (name, found, expected)
    one = next(iter(run["inner"]))
    assert ids(one.parent_tasks) == tasks["outer"], "parents of inner: %r" % ids(one.parent_tasks)
    assert ids(one.child_tasks) == tasks["gather"], "children of inner: %r" % ids(one.child_tasks)


if __name__ == "__main__":
    GraphFlow()
