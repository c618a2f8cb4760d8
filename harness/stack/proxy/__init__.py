"""The relay between clients and a service, which loses answers on purpose."""
