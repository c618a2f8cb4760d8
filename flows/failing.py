"""A run that fails on purpose: what was stored before stays readable, and the failure is told."""

from metaflow import FlowSpec, step

ENDS = "failed"

COVERED_BY = "resume"

CHECKS = {
    "kept": {"about": "what the task before the failure stored is read back"},
    "failed_task": {"about": "the failed task is there, and is neither successful nor its run"},
    "logs": {"about": "the log of the failed task tells the error"},
    "times": {
        "about": "the failed task was made after the good one had finished, and did not end before"
    },
    "exception": {"about": "the client gives the error of the failed task, and none of a good one"},
}

WORDS = "fails on purpose"

SHOWS = {
    "log": ["start", "the next task fails on purpose"],
    "artifact": ["shape", "pentagon"],
    "steps": {"start": 1, "end": 1},
}


class FailingFlow(FlowSpec):
    """Store something in the first task, and raise in the second."""

    @step
    def start(self):
        self.shape = "pentagon"
        print("the next task fails on purpose")
        self.next(self.end)

    @step
    def end(self):
        raise ValueError("this task " + WORDS)


def check_kept(run):
    """Read the artifact of the task that ended well."""
    task = run["start"].task
    assert task.successful, "the first task is not successful"
    assert task.data.shape == "pentagon", "the artifact is %r" % (task.data.shape,)
    return {"artifact_v3": [{"step_name": "start", "name": "shape"}]}


def check_failed_task(run):
    """Look at the task that raised."""
    task = run["end"].task
    assert not task.successful, "the failed task is successful"
    return {
        "steps_v3": [{"step_name": "start"}, {"step_name": "end"}],
        "tasks_v3": [{"step_name": "start"}, {"step_name": "end"}],
    }


def check_logs(run):
    """Read the error in the failed task's log."""
    task = run["end"].task
    assert WORDS in task.stderr, "stderr is %r" % (task.stderr,)


def check_times(run):
    """Compare the times of the run and both tasks."""
    good, failed = run["start"].task, run["end"].task
    told = [run.created_at, good.created_at, good.finished_at, failed.created_at]
    # Of a failed task it is when it ended, if anything.
    if failed.finished_at is not None:
        told.append(failed.finished_at)
    # Releases tell times as text, or as a datetime: both compare.
    assert told == sorted(told), "they are %r" % (told,)


def check_exception(run):
    """Ask the client for the errors of both tasks."""
    error = run["end"].task.exception
    assert WORDS in str(error), "the error is %r" % (error,)
    good = run["start"].task.exception
    assert good is None, "the good task has the error %r" % (good,)


if __name__ == "__main__":
    FailingFlow()
