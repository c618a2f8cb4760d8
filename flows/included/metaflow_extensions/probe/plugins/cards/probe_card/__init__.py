"""A card of one's own, as a package of extensions brings it; the probe ``card`` uses it."""

from metaflow.cards import MetaflowCard


class ProbeCard(MetaflowCard):
    """Show a word that is given, and an artifact of the task."""

    type = "probe_card"

    def __init__(self, options=None, **_more):
        self.options = options or {}

    def render(self, task):
        """Return the page."""
        return "<html><body>%s: %s</body></html>" % (self.options["word"], task.data.shape)


CARDS = [ProbeCard]
