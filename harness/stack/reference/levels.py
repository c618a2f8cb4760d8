"""API levels: what the service could do at the points of its history where clients notice.

Source of the facts: the releases themselves, each run as a process and asked.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Level:
    """One API level.

    Attributes:
        name: what users write: ``2.0.4``.
        reported: the version told in ``GET /version`` and the header of ``GET /ping``; clients
            gate their features on it.
        migrations: versions of the migrations the level brings, oldest first; none at 1.0, whose
            service creates its tables when it starts.
        latest_from: the oldest schema for which the level's migration API says that its own
            metadata service is the right one to start.
    """

    name: str
    reported: str
    migrations: tuple[int, ...] = ()
    latest_from: int = 0

    @property
    def _number(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.name.split("."))

    @property
    def _reported(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.reported.split("."))

    @property
    def has_migrations(self) -> bool:
        """A migration API beside the metadata API, string ids, and ``GET /version``."""
        return self._number >= (2, 0)

    @property
    def has_string_ids(self) -> bool:
        """Runs and tasks may be registered under a name of the client's."""
        return self._number >= (2, 0)

    @property
    def has_heartbeat(self) -> bool:
        """Runs and tasks have a heartbeat, which their bodies show."""
        return self._number >= (2, 0, 4)

    @property
    def has_attempts(self) -> bool:
        """Artifacts can be asked for by attempt, and the latest attempt is judged per task.

        The releases since then also answer ``GET /healthcheck``, and take a heartbeat only when the
        last one is old enough.
        """
        return self._number >= (2, 0, 6)

    @property
    def has_run_tags(self) -> bool:
        """Tags of a run can be changed, and what lies below a run shows the run's tags.

        The releases since then also set the first heartbeat when a run or task is created.
        """
        return self._number >= (2, 3)

    # What came between two levels goes by the version a level reports: where a level stands for a
    # release, as in the images of the tests, that is the release's.

    @property
    def encodes_missing_once(self) -> bool:
        """The body of a 404 is encoded once, as releases since 2.0.5 do."""
        return self._reported >= (2, 0, 5)

    @property
    def takes_latest_attempt(self) -> bool:
        """An artifact asked for without an attempt is the latest attempt's, since 2.2.0."""
        return self._reported >= (2, 2)

    @property
    def has_filtered_tasks(self) -> bool:
        """Tasks can be selected by their metadata."""
        return self._number >= (2, 5)


_V2_0 = (1, 20200603104139)
_V2_0_6 = (*_V2_0, 20201002000616)
_V2_3 = (*_V2_0_6, 20210202145952, 20210260056859, 20211202100726, 20220503175500)
_V2_5 = (*_V2_3, 20230118020300)

LEVELS = {
    level.name: level
    for level in (
        Level("1.0", "1.0.0"),
        Level("2.0", "2.0.0", _V2_0, latest_from=20200603104139),
        Level("2.0.4", "2.0.4", _V2_0, latest_from=20200603104139),
        Level("2.0.6", "2.0.6", _V2_0_6, latest_from=20200603104139),
        Level("2.3", "2.3.0", _V2_3, latest_from=20211202100726),
        Level("2.5", "2.5.0", _V2_5, latest_from=20230118020300),
    )
}
"""Every level by its name, oldest first."""
