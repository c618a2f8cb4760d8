"""What is asked before anything starts: whether the places of a run can be used."""

from __future__ import annotations

import os

from harness.cli.postgres import check_images
from harness.run.cluster.cluster import check_scheduler
from harness.run.folder import check_results
from harness.run.options import Options
from harness.stack.database.binaries import check_restore, check_tls, check_variants
from harness.stack.database.cluster import unprivileged_user
from harness.stack.database.embedded import check_port
from harness.stack.database.existing import check_existing
from harness.stack.database.tls import check_program
from harness.stack.service.external import check_external
from harness.stack.store.choice import choose_datastores


def check_places(options: Options) -> None:
    """Raise UsageError for a place, user, image, database or bucket that a run could not use."""
    check_results(options.results)
    if options.scheduler is not None:
        # All else is a matter of its workers.
        check_scheduler(options.scheduler)
        return
    somebody_elses = options.database_url is not None or options.service_url is not None
    embedded = options.backend == "embedded" and not somebody_elses
    runs_as = unprivileged_user() if embedded else None
    if options.database_port is not None:
        check_port(options.database_port, runs_as)
    check_variants(options.postgres, upgrade=options.postgres_upgrade)
    modes = ",".join(filter(None, options.database_tls))
    if modes:
        check_program(modes)
    if modes and embedded:
        check_tls(modes, options.postgres, upgrade=options.postgres_upgrade)
    elif modes and options.postgres_upgrade:
        check_restore(modes, options.postgres)
    if options.backend == "docker" and options.session != "local":
        check_images(options)
    if options.service_url is not None:
        # A run that goes on finds the flows it wrote itself.
        allow = options.allow_existing or options.resumed is not None
        check_external(options.services[0], options.database_url, allow=allow)
    elif options.database_url is not None:
        check_existing(options.database_url, options.path, allow=options.allow_existing)
    for datastore in choose_datastores(options, options.results, os.environ).values():
        datastore.check()
