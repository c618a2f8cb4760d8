"""The declarations of options, by subject; ``harness.cli.declared`` puts them in order."""
