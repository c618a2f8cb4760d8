"""How tasks follow one another, and what keeps one in bounds, or its failure from the run.

Branches, joins, and foreach, narrow, wide and nested; retry, catch, timeout and environment.
"""

import os
import sys
import time

from metaflow import FlowSpec, Task, catch, current, environment, retry, step, timeout

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
    "retried": {"about": "what the last attempt stored is read back, and not the failed one's"},
    "left_over": {"about": "what only the failed attempt stored is not listed with the task"},
    # Services before 2.2.0 find it: https://github.com/Netflix/metaflow-service/pull/256
    "left_over_by_name": {"about": "what only the failed attempt stored is not found by its name"},
    "retried_task": {"about": "the task that failed first and then ended well is successful"},
    "retried_logs": {"about": "the log of the last attempt is read back, both outputs"},
    "attempts": {
        "about": "each attempt is read back by its number, with its own data and log",
        "client": ">=2.4.1",
        "service": ">=2.0.6",
    },
    "environment": {"about": "variables of the decorator are set in the task, and not in others"},
    "timed_out": {"about": "a task that takes too long is ended, and its caught error says so"},
    "caught_task": {"about": "the task of a caught error is finished and has what it stored"},
    "run_on": {"about": "the step after the caught one sees its error"},
}

SHOWS = {
    "artifact": ["side", "both"],
    "steps": {
        "start": 1,
        "left": 1,
        "right": 1,
        "outer": 1,
        "inner": 11,
        "gather": 1,
        "gather_all": 1,
        "join": 1,
        "end": 1,
    },
}

WIDE = 11

LINE = "this is attempt %d"

WORD = "hexagon; $HOME 'ü'"


class GraphFlow(FlowSpec):
    """Split, and fan out twice within one branch; fail twice, to be tried again and caught."""

    # Unasked a retry waits two minutes.
    @retry(times=1, minutes_between_retries=0)
    @environment(vars={"PROBE_WORD": WORD})
    @step
    def start(self):
        self.word = os.environ.get("PROBE_WORD")
        self.attempt = current.retry_count
        print(LINE % self.attempt)
        sys.stderr.write(LINE % self.attempt + " too\n")
        if not self.attempt:
            self.left_over = "of the failed attempt"
            raise ValueError("the first attempt fails on purpose")
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

    @catch(var="caught")
    @timeout(seconds=2)
    @step
    def right(self):
        self.side = "right"
        self.word_after = os.environ.get("PROBE_WORD")
        time.sleep(60)
        # Where an error is caught, the way on is taken from the graph, which is made of this line.
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
        print("the error of the branch: %s" % (self.caught,))


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


def check_retried(run):
    """Read what the task stored."""
    attempt = run["start"].task.data.attempt
    assert attempt == 1, "the data is of attempt %r" % (attempt,)


def check_left_over(run):
    """Look for the artifact that the last attempt did not store in the list."""
    names = sorted(artifact.id for artifact in run["start"].task)
    assert "left_over" not in names, "artifacts are %r" % (names,)


def check_left_over_by_name(run):
    """Ask for the artifact that the last attempt did not store."""
    try:
        found = run["start"].task["left_over"].data
    except KeyError:
        return
    raise AssertionError("the task has what the failed attempt stored: %r" % (found,))


def check_retried_task(run):
    """Look at the task as a user would."""
    task = run["start"].task
    assert task.successful, "the task is not successful"
    assert task.finished, "the task is not finished"
    assert task.exception is None, "the exception is %r" % (task.exception,)


def check_retried_logs(run):
    """Read both outputs of the last attempt."""
    task = run["start"].task
    assert LINE % 1 in task.stdout.splitlines(), "stdout is %r" % (task.stdout,)
    assert LINE % 1 + " too" in task.stderr.splitlines(), "stderr is %r" % (task.stderr,)


def check_attempts(run):
    """Read each attempt."""
    pathspec = run["start"].task.pathspec
    for number in (0, 1):
        task = Task(pathspec, attempt=number)
        assert task.current_attempt == number
        assert task.data.attempt == number, "its data is of %r" % (task.data.attempt,)
        assert LINE % number in task.stdout.splitlines(), "stdout is %r" % (task.stdout,)


def check_environment(run):
    """Read what two tasks saw."""
    found = run["start"].task.data.word
    assert found == WORD, "the variable is %r" % (found,)
    after = run["right"].task.data.word_after
    assert after is None, "the next task has the variable, too: %r" % (after,)


def check_caught_task(run):
    """Look at the task whose error was caught."""
    task = run["right"].task
    assert task.finished, "it is not finished"
    assert task.data.side == "right", "side is %r" % (task.data.side,)


def check_timed_out(run):
    """Read the error of the task that took too long."""
    text = str(run["right"].task.data.caught)
    assert "timed out" in text, "it is %r" % (text,)
    return {"artifact_v3": [{"step_name": "right", "name": "caught"}]}


def check_run_on(run):
    """Read what the last task printed of the error of the branch."""
    found = run["end"].task.stdout
    assert "timed out" in found, "it printed %r" % (found,)


if __name__ == "__main__":
    GraphFlow()
