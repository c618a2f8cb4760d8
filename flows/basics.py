"""What every team relies on, in as few tasks as show it; ``compat`` runs it unasked.

Parameters, artifacts, logs, tags, namespaces, times, metadata, finding runs and what is in them,
and resume. The run is started with the tag ``probe:basics``. Branches, foreach and joins take many
tasks: they are in ``graph``.
"""

import pickle
import sys
import time
import uuid
from datetime import datetime, timezone

import metaflow
from metaflow import (
    Flow,
    FlowSpec,
    Metaflow,
    Parameter,
    Run,
    Step,
    Task,
    current,
    namespace,
    step,
)
from metaflow.exception import MetaflowNotFound

TAGS = ["probe:basics"]

ACTIONS = [
    {"verb": "run"},
    # 2.12.9 to 2.12.12 cannot: https://github.com/Netflix/metaflow/issues/1965
    {"verb": "resume", "about": "a good run is resumed from its last step", "step": "end"},
]

CHECKS = {
    "parameters": {"about": "a parameter's default reaches the steps and is read back"},
    "artifacts": {"about": "artifacts of several types are read back equal, by task and by run"},
    "handed_on": {"about": "what the first step stored and what the last one made of it agree"},
    "logs": {"about": "the lines of both outputs are read back, each as printed and in order"},
    # Sizes came with attempts: https://github.com/Netflix/metaflow/pull/725
    "sizes": {"about": "the sizes of a log and an artifact fit what they are", "client": ">=2.4.1"},
    "metadata": {"about": "each task's metadata has its attempt and where its data is"},
    "tags": {"about": "the tags given on the command line are on the run, and filter the flow"},
    "project": {
        "about": "a flow of a project knows it, and its run is found by the project's tags",
        "client": ">=2.3.0",
    },
    "namespace": {"about": "the run is in its user's namespace and hidden in another's"},
    "children": {
        "about": "steps and tasks fetched under one namespace have what is in them under another",
        # Before, the namespace of the moment is looked at, by design.
        "client": ">=2.8.3",
        "writer": ">=2.0.0",
    },
    # 2.12.4 to 2.12.6 fail under None: https://github.com/Netflix/metaflow/pull/1901
    "remembered": {
        "about": "a run fetched under one namespace has its steps under another",
        "client": ">=2.12.4",
        "writer": ">=2.0.0",
    },
    # 2.11.1 to 2.12.22 end with an AttributeError: https://github.com/Netflix/metaflow/pull/2066
    "flow": {"about": "Metaflow()[NAME] is the flow of that name"},
    "flows": {"about": "Metaflow() lists the flow in its run's namespace, and not in another"},
    "steps": {"about": "the run lists its steps, and each its task, which leads back to it"},
    "by_path": {"about": "run, step and task are found by their paths"},
    "missing": {"about": "what is not there is told so: run, step, task and artifact"},
    "end_task": {"about": "the end task of the run is that of the step end"},
    "carried": {
        "about": "a task that is pickled and read again leads to the same data",
        "client": ">=2.8.3",
        "writer": ">=2.0.0",
    },
    "latest": {"about": "the latest run of the flow is the newest of all that it lists"},
    "times": {"about": "a task is said to be made before it ran, and after its run"},
    "finished": {"about": "a task is finished after it ran, and its run not before that"},
    "heartbeat": {
        "about": "the run and its tasks said that they were alive",
        "client": ">=2.2.12",
        # Since then a service sets the first one with the row; before, a short task may be over
        # before its own arrives.
        "service": ">=2.3.0",
    },
    "order": {
        "about": "runs are listed newest first, and the newest good one is the latest of these",
        "action": "resume",
    },
    # After those of time: with local metadata, to change a run's tags makes it one of that moment.
    "changed_tags": {
        "about": "the client adds, removes and replaces tags, and leaves the others",
        "client": ">=2.7.0",
        "writer": ">=2.0.0",
        # Of the release, not of what it reports: v2.2.5 can change tags and says it is 2.2.3.
        "release": ">=2.2.5",
    },
    "resumed": {
        "about": "the resumed run has what the good one stored, and ran the last step alone",
        "action": "resume",
    },
}

SHOWS = {
    "log": ["end", "product: 21"],
    "artifact": ["factor", "3"],
    "steps": {"start": 1, "end": 1},
}

VALUES = {"text": "häß", "number": 7, "nested": {"a": [1, 2.5, None]}, "blob": b"\x00\xff" * 600}

OUT = ["first line", "", "  häß 日本 😀", "\ttab", "x" * 20000, "last line"]
ERR = ["error: first line", "error: ü", "error: last line"]

ELSEWHERE = "user:somebody-else"

# Looked up: the file must be readable for every release since 2.0.0, and it came with 2.3.0.
project = getattr(metaflow, "project", lambda **_options: lambda flow: flow)


@project(name="probe_project")
class BasicsFlow(FlowSpec):
    """Hand a few values from one step to the next."""

    factor = Parameter("factor", default=3, type=int)

    @step
    def start(self):
        print("token: " + uuid.uuid4().hex)
        sys.stdout.flush()
        for stream, lines in ((sys.stdout, OUT), (sys.stderr, ERR)):
            for line in lines:
                stream.buffer.write(line.encode("utf-8") + b"\n")
            stream.flush()
        self.project = getattr(current, "project_name", None)
        self.branch = getattr(current, "branch_name", None)
        for name, value in VALUES.items():
            setattr(self, name, value)
        self.next(self.end)

    @step
    def end(self):
        self.product = self.number * self.factor
        print("product: %d" % self.product)
        print("now: %.3f" % time.time())


def seconds(created):
    """Return a time as seconds since 1970: releases tell it as text, in UTC, or as a datetime.

    What some of them write behind the seconds of a text is ``.%fZ``, as it stands here.
    """
    if isinstance(created, str):
        text = created[: len("2026-11-25T21:16:06")]
        created = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return created.timestamp()


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


def check_handed_on(run):
    """Read what the last step made of what the first one stored."""
    assert run.data.product == 21, "the product is %r" % (run.data.product,)
    assert run.data.text == VALUES["text"], "the text handed on is %r" % (run.data.text,)
    return {"steps_v3": [{"step_name": "start"}, {"step_name": "end"}]}


def check_logs(run):
    """Compare all lines; stderr may also have warnings of old releases."""
    task = run["start"].task
    found = task.stdout.split("\n")
    assert found[0].startswith("token: "), "stdout begins with %.200r" % found[0]
    assert found[1:] == [*OUT, ""], "stdout is %.200r" % (found,)
    found = task.stderr.split("\n")
    at = found.index(ERR[0]) if ERR[0] in found else 0
    lines = found[at : at + len(ERR)]
    assert lines == ERR, "stderr has %.200r, and at its end %.300r" % (lines, found[-5:])
    last = run["end"].task.stdout.splitlines()
    assert "product: 21" in last, "stdout of the last task is %.200r" % (last,)


def check_sizes(run):
    """Ask for sizes. That of a log may count what the client keeps with each line."""
    task = run["start"].task
    token = task.stdout.splitlines()[0]
    printed = sum(len(line.encode("utf-8")) + 1 for line in (token, *OUT))
    found = task.stdout_size
    assert printed <= found <= printed + 200 * (len(OUT) + 1), "%d bytes, printed were %d" % (
        found,
        printed,
    )
    found = task["text"].size
    assert 0 < found < 1000, "the artifact has %r bytes" % (found,)


def check_metadata(run):
    """Read it as a list and by name."""
    for one in run:
        for task in one:
            found = task.metadata_dict
            assert found.get("attempt") == "0", "%s has the metadata %r" % (task, found)
            listed = {item.name for item in task.metadata}
            assert listed == set(found), "listed are %r" % (sorted(listed),)
    return {"metadata_v3": [{"step_name": "start", "field_name": "attempt", "value": "0"}]}


def check_tags(run):
    """Find the run by its tag, and not by another."""
    for tag in TAGS:
        assert tag in run.tags, "tag %r is not among %r" % (tag, sorted(run.tags))
    flow = run.parent
    assert run.id in [found.id for found in flow.runs(*TAGS)], "the tag does not find the run"
    assert not list(flow.runs("probe:another")), "a tag that no run has finds runs"
    return {"runs_v3": [{"tags": TAGS}]}


def check_project(run):
    """Read what the step knew, and the tags."""
    data = run["start"].task.data
    assert data.project == "probe_project", "the project is %r" % (data.project,)
    expected = ["project:probe_project", "project_branch:" + data.branch]
    for tag in expected:
        assert tag in run.tags, "%r is not among %r" % (tag, sorted(run.tags))
    assert run.id in [one.id for one in run.parent.runs(*expected)], "its tags do not find it"
    return {"runs_v3": [{"system_tags": expected}]}


# The output keeps it from being made again on runs of earlier stages: it changes them.
def check_changed_tags(run, output):
    """Change the run's tags, each time read by a new object."""
    before = sorted(run.tags)
    for change, tag in (
        (lambda: run.add_tag("probe:one"), "probe:one"),
        (lambda: run.replace_tag("probe:one", "probe:two"), "probe:two"),
    ):
        change()
        found = sorted(Run(run.pathspec).tags)
        assert found == sorted([*before, tag]), "tags are %r" % (found,)
    run.remove_tag("probe:two")
    found = sorted(Run(run.pathspec).tags)
    assert found == before, "tags are %r" % (found,)
    assert output.code == 0


def check_namespace(run):
    """Look at the run from its own namespace and from somebody else's."""
    user = [tag for tag in run.tags if tag.startswith("user:")]
    assert len(user) == 1, "user tags are %r" % (user,)
    namespace(user[0])
    assert Run(run.pathspec).id == run.id
    namespace(ELSEWHERE)
    try:
        Run(run.pathspec)
    except Exception as error:
        name = type(error).__name__
        assert "namespace" in name.lower(), "%s: %s" % (name, error)
    else:
        raise AssertionError("the run is visible in another user's namespace")
    return {"runs_v3": [{"system_tags": user}]}


def check_children(run):
    """Go on from what was fetched where everything is seen."""
    steps, task = list(run), run["start"].task
    namespace(ELSEWHERE)
    assert [len(list(one)) for one in steps] == [1, 1], "a step has no task any more"
    assert "text" in [artifact.id for artifact in task], "the artifacts are gone"
    assert task.data.text == VALUES["text"], "the data is gone"


def check_remembered(run):
    """Go on from a run that was fetched where everything is seen."""
    namespace(ELSEWHERE)
    steps = sorted(step.id for step in run)
    assert steps == ["end", "start"], "steps are %r" % (steps,)
    assert run["start"].task.data.text == VALUES["text"], "the data is gone"


def check_flow(run):
    """Fetch the flow by its name."""
    flow = Metaflow()[run.parent.id]
    assert flow.id == run.parent.id, "found is %r" % (flow,)
    assert run.id in [one.id for one in flow], "the run is not among those of %r" % (flow,)


def check_flows(run):
    """List the flows here and elsewhere."""
    name = run.parent.id
    assert name in [flow.id for flow in Metaflow()], "the flow is not listed"
    namespace(ELSEWHERE)
    assert name not in [flow.id for flow in Metaflow()], "the flow is listed for somebody else"


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


def check_carried(run):
    """Pickle and read again."""
    task = run["start"].task
    again = pickle.loads(pickle.dumps(task))  # noqa: S301 - of our own
    assert again.pathspec == task.pathspec, "it is %r" % (again,)
    assert again.data.text == VALUES["text"], "its data is %r" % (again.data.shape,)


def check_latest(run):
    """Compare with the times of all runs."""
    flow = Flow(run.parent.id)
    newest = max(flow, key=lambda one: one.created_at)
    # Where clients share a database others begin meanwhile: it may be a newer one.
    assert flow.latest_run.created_at >= newest.created_at, "latest is %r" % (flow.latest_run,)


def check_finished(run, output):
    """Compare with the time that the last task printed when it ran."""
    printed = float(output.stdout.split("now: ")[1].split()[0])
    task = run["end"].task
    ended = seconds(task.finished_at)
    # Texts of releases before 2.4.0 are cut to seconds.
    assert -1 <= ended - printed < 120, "the task finished %r s after it ran" % (ended - printed)
    whole = seconds(run.finished_at)
    assert -1 <= whole - ended < 120, "the run finished %r s after its task" % (whole - ended)


def check_heartbeat(run, rows):
    """Compare the times of the heartbeats with those of the tasks; the client shows none."""
    began = int(seconds(run.created_at))
    last = float(run["end"].task.stdout.split("now: ")[1].split()[0])
    # What holds the parameters is no task that runs.
    ran = [row for row in rows["tasks_v3"] if row["step_name"] != "_parameters"]
    for table, found, wanted in (("runs_v3", rows["runs_v3"], 1), ("tasks_v3", ran, 2)):
        assert len(found) == wanted, "%s has the rows %r" % (table, found)
        for beat in (row["last_heartbeat_ts"] for row in found):
            assert beat is not None, "%s has no heartbeat: %r" % (table, found)
            assert began <= beat <= last + 60, "a heartbeat is of %r, the run of %r to %r" % (
                beat,
                began,
                last,
            )


def check_order(run, runs):
    """List the runs of the flow."""
    flow = Flow(runs["run"].parent.id)
    expected = [run.id, runs["run"].id]
    found = [one.id for one in flow if one.id in expected]
    # Clients before 2.4.0 know whole seconds: of two runs that began in one, either may be first.
    began = [one.created_at for one in (run, runs["run"])]
    assert found == expected or began[0] == began[1], "the order is %r" % (found,)
    # Where clients share a database others begin and end meanwhile: it may be a newer one, but not
    # one of another client. Old ones look for what that stored, `_success` above all, in their own
    # folder, where it is not (2.0.5, seen).
    of_client = [tag for tag in run.tags if tag.startswith("mf-version:")]
    if of_client:
        namespace(of_client[0])
        flow = Flow(flow.id)
    good = next(one for one in flow if one.successful)
    latest = flow.latest_successful_run
    assert latest.successful, "the latest good one is %r, and it is not good" % (latest,)
    assert latest.created_at >= good.created_at, "the latest good one is %r, not %r" % (
        latest,
        good,
    )


def check_times(run, output):
    """Compare with the time that the last task printed when it ran."""
    printed = float(output.stdout.split("now: ")[1].split()[0])
    made = [seconds(one.created_at) for one in (run, run["start"].task)]
    assert made[0] <= made[1] <= printed, "made %r s before it ran" % [
        printed - one for one in made
    ]
    assert printed - made[0] < 600, "the run was made %d s before it ran" % (printed - made[0])


def check_resumed(run, runs, output):
    """Read what the resumed run took over, and look for what its steps print."""
    assert run.id != runs["run"].id
    assert run.data.product == 21, "the product is %r" % (run.data.product,)
    assert run["start"].task.data.text == VALUES["text"], "what the first step stored is gone"
    assert "product: 21" in output.stdout, "the last step did not run"
    assert "token: " not in output.stdout, "the first step was run again"


if __name__ == "__main__":
    BasicsFlow()
