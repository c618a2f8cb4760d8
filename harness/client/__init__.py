"""Clients: their environments, their programs, and the reader inside them."""
