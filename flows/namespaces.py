"""Finding things: by namespace, also one set for the whole file, by flow, and by order."""

import metaflow
from metaflow import Flow, FlowSpec, Metaflow, Run, get_namespace, namespace, step

# From 2.19.0 on steps get '' instead: https://github.com/Netflix/metaflow/issues/2734
namespace(None)

CHECKS = {
    "of_file": {"about": "a namespace set at the top of the file holds within the steps"},
    "found_in_step": {"about": "a step finds its own run in the namespace of the file"},
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
}

ELSEWHERE = "user:somebody-else"


def attempt(operation):
    """Return what an operation returned, or its error in words: the run must go on."""
    try:
        return operation()
    except Exception as error:
        return "%s: %s" % (type(error).__name__, error)


class NamespacesFlow(FlowSpec):
    """Look around from within a step."""

    @step
    def start(self):
        self.namespace = repr(get_namespace())
        own = "%s/%s" % (metaflow.current.flow_name, metaflow.current.run_id)
        self.own_run = attempt(lambda: Run(own).pathspec)
        self.next(self.end)

    @step
    def end(self):
        pass


def check_of_file(run):
    """Read which namespace the step had."""
    found = run["start"].task.data.namespace
    assert found == "None", "the namespace is %s" % found


def check_found_in_step(run):
    """Read what the step found."""
    found = run["start"].task.data.own_run
    assert found == run.pathspec, "the step found %s" % found


def check_children(run):
    """Go on from what was fetched where everything is seen."""
    steps, task = list(run), run["start"].task
    namespace(ELSEWHERE)
    assert [len(list(one)) for one in steps] == [1, 1], "a step has no task any more"
    assert "namespace" in [artifact.id for artifact in task], "the artifacts are gone"
    assert task.data.namespace, "the data is gone"


def check_remembered(run):
    """Go on from a run that was fetched where everything is seen."""
    namespace(ELSEWHERE)
    steps = sorted(step.id for step in run)
    assert steps == ["end", "start"], "steps are %r" % (steps,)
    assert run["start"].task.data.namespace


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


if __name__ == "__main__":
    NamespacesFlow()
