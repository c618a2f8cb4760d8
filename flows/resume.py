"""Resume: a run that failed goes on from where it failed, and a good one again from a named step.

By hand: ``PROBE_BREAK=1 python flows/resume.py run``, then ``python flows/resume.py resume``, and
``python flows/resume.py resume end``.
"""

import os
import uuid

from metaflow import FlowSpec, current, step

ACTIONS = [
    {"verb": "run", "env": {"PROBE_BREAK": "1"}, "ends": "failed"},
    {"verb": "resume"},
    # 2.12.9 to 2.12.12 cannot: https://github.com/Netflix/metaflow/issues/1965
    {"verb": "resume", "name": "from_step", "origin": "resume", "step": "end"},
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
        "about": "the task that is run knows which run is resumed",
        "action": "resume",
    },
    "from_step_kept": {
        "about": "what the task before the named step stored is read back",
        "action": "from_step",
    },
    "from_step_once": {
        "about": "the task before the named step is not run again, and the named one is, once",
        "action": "from_step",
    },
    "from_step_origin": {
        "about": "the task that is run from a named step knows which run is resumed",
        "action": "from_step",
    },
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


def assert_kept(run, outputs):
    """Compare the first task's token with the one it printed when it was run."""
    token = token_of(outputs)
    for task in (run["start"].task, run["end"].task):
        assert task.data.token == token, "the token of %s is %r" % (task, task.data.token)
    return {"artifact_v3": [{"step_name": name, "name": "token"} for name in ("start", "end")]}


def assert_once(output, outputs):
    """Look for what each task prints when it is run."""
    assert STARTED not in output.stdout, "the first task is run again"
    ended = output.stdout.count(ENDED + token_of(outputs))
    assert ended == 1, "the last task is run %d times" % ended


def check_kept(run, outputs):
    """Read what the resumed run took from the failed one."""
    return assert_kept(run, outputs)


def check_once(output, outputs):
    """Count what was run."""
    assert_once(output, outputs)


def check_origin(run, runs):
    """Compare the run that the task was told of with the one that failed."""
    origin = run["end"].task.data.origin
    assert origin == runs["run"].id, "the origin is %r" % (origin,)


def check_from_step_kept(run, outputs):
    """Read what the third run took from the second one, which took it from the first."""
    return assert_kept(run, outputs)


def check_from_step_once(output, outputs):
    """Count what was run."""
    assert_once(output, outputs)


def check_from_step_origin(run, runs):
    """Compare the run that the task was told of with the one that was resumed."""
    origin = run["end"].task.data.origin
    assert origin == runs["resume"].id, "the origin is %r" % (origin,)


if __name__ == "__main__":
    ResumeFlow()
