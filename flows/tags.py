"""Tags of a run that is done: added, listed and removed by command."""

from metaflow import FlowSpec, step

TAGS = ["probe:tags"]

ACTIONS = [
    {"verb": "run"},
    {
        "verb": "command",
        "name": "tag_add",
        "about": "a tag is added by command",
        "client": ">=2.7.0",
        # Of the release, not of what it reports: v2.2.5 can change tags and says it is 2.2.3.
        "release": ">=2.2.5",
        "args": ["tag", "add", "--run-id", "{run_id}", "probe:added"],
        "run_id": "{run_id}",
    },
    {
        "verb": "command",
        "name": "tag_list",
        "about": "the tags of a run are listed by command",
        "client": ">=2.7.0",
        "release": ">=2.2.5",
        "args": ["tag", "list", "--run-id", "{tag_add.run_id}"],
    },
]

CHECKS = {
    "added": {"about": "the tag added by command is on the run", "action": "tag_add"},
    "listed": {"about": "the tags listed are those of the run", "action": "tag_list"},
}


class TagsFlow(FlowSpec):
    """Do next to nothing."""

    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


def check_added(run):
    """Read the run's tags."""
    for tag in ("probe:added", *TAGS):
        assert tag in run.tags, "%r is not among %r" % (tag, sorted(run.tags))
        assert tag in run.user_tags, "%r is not among %r" % (tag, sorted(run.user_tags))
    return {"runs_v3": [{"tags": ["probe:added", *TAGS]}]}


def check_listed(output):
    """Look for the tags in what was printed."""
    for tag in ("probe:added", *TAGS):
        assert tag in output.stdout, "%r is not in %r" % (tag, output.stdout)


if __name__ == "__main__":
    TagsFlow()
