"""Databases: where they come from, and what is asked of them."""
