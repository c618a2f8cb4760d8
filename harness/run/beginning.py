"""The first entries of a run: what it is, what it is going to do, what is worth knowing of it."""

from __future__ import annotations

from collections.abc import Collection

from harness.core.entries import Begun, Resumed, now
from harness.core.plan import Plan, notes_on_data, notes_on_pins
from harness.run.options import Options
from harness.run.record import Record
from harness.stack.service.checkout import service_pins
from harness.stack.store.datastore import Datastore


def why_no_backend(options: Options) -> str:
    """Return the sentence on a run that starts no service and no database itself."""
    if options.scheduler is not None:
        return f"{options.backend}, on the workers of {options.scheduler}"
    return "none: clients alone, local metadata"


def record_start(
    options: Options, plan: Plan, record: Record, backend: str, datastores: Collection[Datastore]
) -> None:
    """Write down that a run begins, or goes on.

    Args:
        options: of the run.
        plan: what is left to do.
        record: of the run.
        backend: the sentence on where database and service come from.
        datastores: where data is.
    """
    if options.resumed is not None:
        again = {cell.id for cell in plan.cells} if plan.path else set()
        aside = [cell.id for cell in record.view.finished if cell.id in again]
        given = list(options.given)
        record.add(Resumed(at=now(), run=record.run, options=given, set_aside=aside))
        return
    record.add(
        Begun(
            at=now(),
            run=record.run,
            session=options.session,
            options=list(options.given),
            backend=backend,
            datastores=[datastore.description for datastore in datastores],
            clients=[client.name for client in plan.clients],
            services=[service.name for service in options.services],
        )
    )
    # Before anything runs, so that what never ran is told from what was never asked for.
    record.add(plan.entry(record.run))
    for client in plan.clients:
        if client.label:
            record.note("", f"Metaflow {client.name} is {client.label}")
    of_data = [told for store in datastores for told in notes_on_data(plan.cells, store.pins)]
    for told in (*notes_on_pins(plan.cells), *of_data):
        record.note("", told)
    if options.clone is not None and options.backend == "embedded":
        for told in service_pins(options.services):
            record.note("", told)
    for service in options.services:
        if service.label:
            record.note(service.name, f"{service.name} is {service.label}")
