"""Tasks that run side by side and know of each other: ``num_parallel``."""

import metaflow
from metaflow import FlowSpec, current, step

ACTIONS = [{"verb": "run", "client": ">=2.4.7"}]

CHECKS = {
    "nodes": {
        "about": "each of two tasks knows its own number, how many there are, and the main one",
        "client": ">=2.4.7",
    },
    "joined": {"about": "the join sees both, in the order of their numbers", "client": ">=2.4.7"},
    "tasks": {"about": "the client lists both tasks", "client": ">=2.4.7"},
}

SHOWS = {"steps": {"start": 1, "work": 2, "join": 1, "end": 1}}


def parallel(function):
    """Decorate a step of several nodes, where the release can."""
    # Not imported by name: the file must be readable for every release since 2.0.0.
    decorate = getattr(metaflow, "parallel", None)
    return decorate(function) if decorate else function


class ParallelFlow(FlowSpec):
    """Do the same on two nodes, which are processes of one machine here."""

    @step
    def start(self):
        self.next(self.work, num_parallel=2)

    @parallel
    @step
    def work(self):
        self.node = current.parallel.node_index
        self.nodes = current.parallel.num_nodes
        self.main = current.parallel.main_ip
        self.next(self.join)

    @step
    def join(self, inputs):
        self.order = [one.node for one in inputs]
        self.next(self.end)

    @step
    def end(self):
        pass


def check_nodes(run):
    """Read what each task knew."""
    found = sorted((task.data.node, task.data.nodes) for task in run["work"])
    assert found == [(0, 2), (1, 2)], "nodes are %r" % (found,)
    mains = [task.data.main for task in run["work"]]
    assert all(mains), "the main node's address is %r" % (mains,)


def check_joined(run):
    """Read what the join saw."""
    found = run["join"].task.data.order
    assert found == [0, 1], "the order is %r" % (found,)


def check_tasks(run):
    """Count what is listed."""
    found = list(run["work"])
    assert len(found) == 2, "there are %r" % (found,)
    assert all(task.finished for task in found), "a task is not finished"
    return {"tasks_v3": [{"step_name": "work"}] * 2}


if __name__ == "__main__":
    ParallelFlow()
