"""Runs Metaflow clients against metadata services and records what fits together."""
