"""Where clients put their data."""
