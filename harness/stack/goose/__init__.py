"""A small goose (https://github.com/pressly/goose), for machines that have none.

A released migration service shells out to ``goose``. Where the real one is not on PATH,
``harness/stack/goose/bin`` is put on the service's PATH: the verbs the service calls, with the
output streams, exit codes and bookkeeping of the real one as far as the service reads them.
"""
