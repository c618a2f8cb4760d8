"""What there is to run: versions.json, selectors, Pythons."""
