"""A run that fails on purpose: what was stored before stays readable, and the failure is told.

Then it is resumed, and goes on from where it failed. ``basics`` resumes a good one, and ``failing``
is the failed run alone, for where runs are only looked at. By hand:
``python flows/resume.py run``, then ``PROBE_MENDED=1 python flows/resume.py resume``.
"""

import os
import uuid

from metaflow import FlowSpec, current, step

ACTIONS = [
    {"verb": "run", "ends": "failed"},
    {"verb": "resume", "env": {"PROBE_MENDED": "1"}},
]

CHECKS = {
    "kept": {"about": "what the task before the failure stored is read back"},
    "failed_task": {"about": "the failed task is there, and is neither successful nor its run"},
    "logs": {"about": "the log of the failed task tells the error"},
    "times": {
        "about": "the failed task was made after the good one had finished, and did not end before"
    },
    "exception": {"about": "the client gives the error of the failed task, and none of a good one"},
    "taken_over": {
        "about": "what the task before the failure stored is read back from the resumed run",
        "action": "resume",
    },
    "once": {
        "about": "the task that had ended well is not run again, and the failed one is, once",
        "action": "resume",
    },
    "origin": {
        "about": "the task that is run knows which run is resumed, and so does its metadata",
        "action": "resume",
    },
    "as_it_was": {"about": "the run that was resumed is failed still", "action": "resume"},
}

SHOWS = {"steps": {"start": 1, "end": 1}}

WORDS = "fails on purpose"

STARTED = "start made "
ENDED = "end saw "


class ResumeFlow(FlowSpec):
    """Store something in the first task, and raise in the second, unless that was mended."""

    @step
    def start(self):
        self.shape = "pentagon"
        self.token = uuid.uuid4().hex
        print(STARTED + self.token)
        self.next(self.end)

    @step
    def end(self):
        if not os.environ.get("PROBE_MENDED"):
            raise ValueError("this task " + WORDS)
        self.origin = current.origin_run_id
        print(ENDED + self.token)


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


def token_of(outputs):
    """Return the token that the first task printed when it was run."""
    return outputs["run"].stdout.split(STARTED)[1].split()[0]


def check_taken_over(run, outputs):
    """Compare the first task's token with the one it printed when it was run."""
    token = token_of(outputs)
    for task in (run["start"].task, run["end"].task):
        assert task.data.token == token, "the token of %s is %r" % (task, task.data.token)
    return {"artifact_v3": [{"step_name": name, "name": "token"} for name in ("start", "end")]}


def check_once(output, outputs):
    """Look for what each task prints when it is run."""
    assert STARTED not in output.stdout, "the first task is run again"
    ended = output.stdout.count(ENDED + token_of(outputs))
    assert ended == 1, "the last task is run %d times" % ended


def check_origin(run, runs):
    """Compare the run that the task was told of with the one that failed."""
    origin = run["end"].task.data.origin
    assert origin == runs["run"].id, "the origin is %r" % (origin,)
    # That of the task which was taken over came later.
    found = run["end"].task.metadata_dict.get("origin-run-id")
    assert found == origin, "the origin in its metadata is %r" % (found,)


def check_as_it_was(runs):
    """Look at the run that failed, after it was resumed."""
    failed = runs["run"]
    assert not failed.successful, "it is successful"
    assert "origin" not in failed["end"].task, "it has what the resumed run stored"


if __name__ == "__main__":
    ResumeFlow()
