"""What the harness needs of the machine it runs on: processes, tool environments, locks."""
