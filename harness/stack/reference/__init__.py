"""The reference service: the metadata service's public REST API at the levels of its history.

It is the control of every experiment: real HTTP over a real PostgreSQL, with no Docker and no
checkout. A cell that fails here is not a released service's fault, and this service is never
reported as a released one.

``python -m harness.stack.reference --level 2.3`` runs in an environment of its own, so nothing in
this package imports the rest of the harness.
"""
