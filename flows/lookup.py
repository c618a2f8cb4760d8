"""What a client tells of a run beside its values: order, times, metadata, logs, sizes.

Its namespace is set at the top of the file, for the steps too.
"""

import pickle
import sys
import time
from datetime import datetime, timezone

from metaflow import Flow, FlowSpec, Run, Step, Task, current, get_namespace, namespace, step
from metaflow.exception import MetaflowNotFound

# From 2.19.0 on steps get '' instead: https://github.com/Netflix/metaflow/issues/2734
namespace(None)

ACTIONS = [
    {"verb": "run"},
    {"verb": "run", "name": "again", "about": "a second run of the flow ends well"},
]

CHECKS = {
    "of_file": {"about": "a namespace set at the top of the file holds within the steps"},
    "found_in_step": {"about": "a step finds its own run in the namespace of the file"},
    "order": {"about": "runs are listed newest first, and the latest is the newest"},
    "latest_successful": {"about": "the latest successful run is the newest that ended well"},
    "steps": {"about": "the run lists its steps, and each its task, which leads back to it"},
    "by_path": {"about": "run, step and task are found by their paths"},
    "missing": {"about": "what is not there is told so: run, step, task and artifact"},
    "end_task": {"about": "the end task of the run is that of the step end"},
    "times": {"about": "a task is finished after it ran, and its run not before that"},
    "metadata": {"about": "each task's metadata has its attempt and where its data is"},
    "logs": {"about": "the lines of both outputs are read back, each as printed and in order"},
    # Sizes came with attempts: https://github.com/Netflix/metaflow/pull/725
    "sizes": {"about": "the sizes of a log and an artifact fit what they are", "client": ">=2.4.1"},
    "carried": {
        "about": "a task that is pickled and read again leads to the same data",
        "client": ">=2.8.3",
    },
}

OUT = ["first line", "", "  häß 日本 😀", "\ttab", "x" * 20000, "last line"]
ERR = ["error: first line", "error: ü", "error: last line"]

SHOWS = {"log": ["start", "last line"], "artifact": ["shape", "heptagon"]}


def attempt(operation):
    """Return what an operation returned, or its error in words: the run must go on."""
    try:
        return operation()
    except Exception as error:
        return "%s: %s" % (type(error).__name__, error)


class LookupFlow(FlowSpec):
    """Look around from within a step, and print to both outputs."""

    @step
    def start(self):
        self.shape = "heptagon"
        self.namespace = repr(get_namespace())
        own = "%s/%s" % (current.flow_name, current.run_id)
        self.own_run = attempt(lambda: Run(own).pathspec)
        for line in OUT:
            sys.stdout.buffer.write(line.encode("utf-8") + b"\n")
        sys.stdout.flush()
        for line in ERR:
            sys.stderr.buffer.write(line.encode("utf-8") + b"\n")
        sys.stderr.flush()
        self.next(self.end)

    @step
    def end(self):
        print("now: %.3f" % time.time())


def seconds(moment):
    """Return a time as seconds since 1970: releases tell it as text, in UTC, or as a datetime."""
    if isinstance(moment, str):
        text = moment[: len("2026-11-25T21:16:06")]
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return moment.timestamp()


def check_of_file(run):
    """Read which namespace the step had."""
    found = run["start"].task.data.namespace
    assert found == "None", "the namespace is %s" % found


def check_found_in_step(run):
    """Read what the step found."""
    found = run["start"].task.data.own_run
    assert found == run.pathspec, "the step found %s" % found


def check_order(run, runs):
    """List the runs of the flow."""
    found = [one.id for one in Flow(run.parent.id)]
    expected = [runs["again"].id, run.id]
    assert [one for one in found if one in expected] == expected, "the order is %r" % (found,)
    latest = Flow(run.parent.id).latest_run
    assert latest.id == found[0], "the latest is %r of %r" % (latest.id, found)


def check_latest_successful(runs):
    """Ask the flow for it."""
    found = Flow(runs["again"].parent.id).latest_successful_run
    assert found.id == runs["again"].id, "it is %r" % (found,)


def check_steps(run):
    """Go down, and up again."""
    found = sorted(one.id for one in run)
    assert found == ["end", "start"], "steps are %r" % (found,)
    for one in run:
        tasks = list(one)
        assert len(tasks) == 1, "%s has the tasks %r" % (one, tasks)
        for task in tasks:
            assert task.parent.id == one.id, "the task %s leads to %s" % (task, task.parent)
            assert task.parent.parent.id == run.id, "the task %s leads elsewhere" % task
    return {"steps_v3": [{"step_name": name} for name in ("start", "end")]}


def check_by_path(run):
    """Fetch each by its path."""
    assert Run(run.pathspec).id == run.id
    for one in run:
        assert Step(one.pathspec).id == one.id
        for task in one:
            assert Task(task.pathspec).id == task.id


def check_missing(run):
    """Ask for what nobody made."""
    task = run["start"].task
    for kind, path in (
        (Flow, "NobodysFlow"),
        (Run, run.parent.id + "/987654321"),
        (Step, run.pathspec + "/nowhere"),
        (Task, run.pathspec + "/start/987654321"),
    ):
        try:
            found = kind(path)
        except MetaflowNotFound:
            continue
        raise AssertionError("%s is there: %r" % (path, found))
    for ask in (lambda: run["nowhere"], lambda: task["nothing"]):
        try:
            found = ask()
        except KeyError:
            continue
        raise AssertionError("there is %r" % (found,))
    assert "nothing" not in task


def check_end_task(run):
    """Compare both ways to it."""
    assert run.end_task.pathspec == run["end"].task.pathspec, "it is %r" % (run.end_task,)


def check_times(run, output):
    """Compare with the time that the last task printed when it ran."""
    printed = float(output.stdout.split("now: ")[1].split()[0])
    task = run["end"].task
    ended = seconds(task.finished_at)
    # Texts of releases before 2.4.0 are cut to seconds.
    assert -1 <= ended - printed < 120, "the task finished %r s after it ran" % (ended - printed)
    whole = seconds(run.finished_at)
    assert -1 <= whole - ended < 120, "the run finished %r s after its task" % (whole - ended)


def check_metadata(run):
    """Read it as a list and by name."""
    for one in run:
        for task in one:
            found = task.metadata_dict
            assert found.get("attempt") == "0", "%s has the metadata %r" % (task, found)
            listed = {item.name for item in task.metadata}
            assert listed == set(found), "listed are %r" % (sorted(listed),)
    return {"metadata_v3": [{"step_name": "start", "field_name": "attempt", "value": "0"}]}


def check_logs(run):
    """Compare all lines; stderr may also have warnings of old releases."""
    task = run["start"].task
    found = task.stdout.split("\n")
    assert found == [*OUT, ""], "stdout is %.200r" % (found,)
    found = task.stderr.split("\n")
    at = found.index(ERR[0]) if ERR[0] in found else 0
    lines = found[at : at + len(ERR)]
    assert lines == ERR, "stderr has %.200r, and at its end %.300r" % (lines, found[-5:])


def check_sizes(run):
    """Ask for sizes. That of a log may count what the client keeps with each line."""
    task = run["start"].task
    printed = sum(len(line.encode("utf-8")) + 1 for line in OUT)
    found = task.stdout_size
    assert printed <= found <= printed + 200 * len(OUT), "%d bytes, printed were %d" % (
        found,
        printed,
    )
    found = task["shape"].size
    assert 0 < found < 1000, "the artifact has %r bytes" % (found,)


def check_carried(run):
    """Pickle and read again."""
    task = run["start"].task
    again = pickle.loads(pickle.dumps(task))  # noqa: S301 - of our own
    assert again.pathspec == task.pathspec, "it is %r" % (again,)
    assert again.data.shape == "heptagon", "its data is %r" % (again.data.shape,)


if __name__ == "__main__":
    LookupFlow()
