"""Two steps: the smallest run that hands an artifact from step to step."""

from metaflow import FlowSpec, step

CHECKS = {
    "artifacts": {"about": "an artifact set in the first step is read in the last, and read back"},
}

COVERED_BY = "basics"

SHOWS = {
    "log": ["end", "hello world"],
    "artifact": ["greeting", "hello"],
    "steps": {"start": 1, "end": 1},
}


class HelloFlow(FlowSpec):
    """Say hello."""

    @step
    def start(self):
        self.greeting = "hello"
        self.next(self.end)

    @step
    def end(self):
        self.greeting = self.greeting + " world"
        print(self.greeting)


def check_artifacts(run):
    """Read the artifact of the last step, and name the rows it must have left."""
    assert run.data.greeting == "hello world", "greeting is %r" % (run.data.greeting,)
    return {"artifact_v3": [{"step_name": name, "name": "greeting"} for name in ("start", "end")]}


if __name__ == "__main__":
    HelloFlow()
