"""The Metaflow UI: what it is deployed over, and where it comes from."""
