"""Tags of a run that is done: added, listed, removed and replaced, by command and by the client."""

from metaflow import FlowSpec, Run, step

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
    "changed": {
        "about": "the client adds, removes and replaces tags, and leaves the others",
        "client": ">=2.7.0",
        "release": ">=2.2.5",
    },
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


# The output keeps it from being made again on runs of earlier stages: it changes them.
def check_changed(run, output):
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


if __name__ == "__main__":
    TagsFlow()
