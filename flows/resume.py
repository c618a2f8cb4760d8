"""Resume: a run that failed goes on from where it failed. ``basics`` resumes a good one.

By hand: ``PROBE_BREAK=1 python flows/resume.py run``, then ``python flows/resume.py resume``.
"""

import os
import uuid

from metaflow import FlowSpec, current, step

ACTIONS = [
    {"verb": "run", "env": {"PROBE_BREAK": "1"}, "ends": "failed"},
    {"verb": "resume"},
]

CHECKS = {
    "kept": {
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

STARTED = "start made "
ENDED = "end saw "


class ResumeFlow(FlowSpec):
    """Make a token in the first task, and fail in the second one where the environment says so."""

    @step
    def start(self):
        self.token = uuid.uuid4().hex
        print(STARTED + self.token)
        self.next(self.end)

    @step
    def end(self):
        if os.environ.get("PROBE_BREAK"):
            raise ValueError("this task fails as the environment asks")
        self.origin = current.origin_run_id
        print(ENDED + self.token)


def token_of(outputs):
    """Return the token that the first task printed when it was run."""
    return outputs["run"].stdout.split(STARTED)[1].split()[0]


def check_kept(run, outputs):
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
