"""What every team relies on, in as few tasks as show it; ``compat`` runs it unasked.

Parameters, artifacts, logs, tags, namespaces, finding runs, and resume. The run is started with the
tag ``probe:basics``. Branches, foreach and joins take many tasks: they are in ``graph``.
"""

import sys
import time
import uuid
from datetime import datetime, timezone

from metaflow import Flow, FlowSpec, Metaflow, Parameter, Run, namespace, step

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
    "logs": {"about": "what a task printed to stdout and stderr is read back"},
    "tags": {"about": "the tags given on the command line are on the run, and filter the flow"},
    "namespace": {"about": "the run is in its user's namespace and hidden in another's"},
    "children": {
        "about": "steps and tasks fetched under one namespace have what is in them under another",
        # Before, the namespace of the moment is looked at, by design.
        "client": ">=2.8.3",
    },
    # 2.12.4 to 2.12.6 fail under None: https://github.com/Netflix/metaflow/pull/1901
    "remembered": {
        "about": "a run fetched under one namespace has its steps under another",
        "client": ">=2.12.4",
    },
    # 2.11.1 to 2.12.22 end with an AttributeError: https://github.com/Netflix/metaflow/pull/2066
    "flow": {"about": "Metaflow()[NAME] is the flow of that name"},
    "flows": {"about": "Metaflow() lists the flow in its run's namespace, and not in another"},
    "latest": {"about": "the latest run of the flow is the newest of all that it lists"},
    "times": {"about": "a task is said to be made before it ran, and after its run"},
    # After the times: with local metadata, to change a run's tags makes it a run of that moment.
    "changed_tags": {
        "about": "the client adds, removes and replaces tags, and leaves the others",
        "client": ">=2.7.0",
        # Of the release, not of what it reports: v2.2.5 can change tags and says it is 2.2.3.
        "release": ">=2.2.5",
    },
    "resumed": {
        "about": "the resumed run has what the good one stored, and ran the last step alone",
        "action": "resume",
    },
}

SHOWS = {"log": ["end", "product: 21"], "artifact": ["factor", "3"]}

VALUES = {"text": "häß", "number": 7, "nested": {"a": [1, 2.5, None]}, "blob": b"\x00\xff" * 600}

ELSEWHERE = "user:somebody-else"


class BasicsFlow(FlowSpec):
    """Hand a few values from one step to the next."""

    factor = Parameter("factor", default=3, type=int)

    @step
    def start(self):
        print("token: " + uuid.uuid4().hex)
        for name, value in VALUES.items():
            setattr(self, name, value)
        self.next(self.end)

    @step
    def end(self):
        self.product = self.number * self.factor
        print("product: %d" % self.product)
        sys.stderr.write("an error of product %d\n" % self.product)
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
    """Read what the last task printed."""
    task = run["end"].task
    assert "product: 21" in task.stdout.splitlines(), "stdout is %r" % (task.stdout,)
    found = task.stderr.splitlines()
    assert "an error of product 21" in found, "stderr is %.500r" % (found,)


def check_tags(run):
    """Find the run by its tag, and not by another."""
    for tag in TAGS:
        assert tag in run.tags, "tag %r is not among %r" % (tag, sorted(run.tags))
    flow = run.parent
    assert run.id in [found.id for found in flow.runs(*TAGS)], "the tag does not find the run"
    assert not list(flow.runs("probe:another")), "a tag that no run has finds runs"
    return {"runs_v3": [{"tags": TAGS}]}


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


def check_latest(run):
    """Compare with the times of all runs."""
    flow = Flow(run.parent.id)
    newest = max(flow, key=lambda one: one.created_at)
    assert flow.latest_run.created_at == newest.created_at, "latest is %r" % (flow.latest_run,)


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
