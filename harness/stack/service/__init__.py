"""Metadata services: where they come from, and how they are brought up."""
