"""Containers: one engine, the images on it, and what one run has there.

What is a database or a service is said elsewhere; here a container is a program with ports.
"""
