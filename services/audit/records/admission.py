"""What must hold before a record is opened, and while it goes on: room on the disk, and among the open records."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Protocol

from chassis.departures import Departures
from services.audit.journal.room import Room
from services.audit.records.entries import AppendRefused, Refusal

# Audit looks every second, but somebody has to free space first.
FULL_RETRY_SECONDS = 10.0


class Disk(Protocol):
    """That holds the journal."""

    @property
    def room(self) -> Room: ...

    @property
    def shortage(self) -> str:
        """What is missing, and the remedy."""
        ...


class Admission:
    """`open_records` are those that are open now, at most `bound`."""

    def __init__(self, disk: Disk, open_records: Sized, bound: int, monotonic: Callable[[], float]) -> None:
        self._disk, self._open, self._bound = disk, open_records, bound
        self._ended, self._departures = 0, Departures(monotonic)

    def require_room(self, room: Room) -> None:
        """Refuses what is not taken any more where there is only so much room."""
        if self._disk.room >= room:
            raise AppendRefused(
                Refusal.JOURNAL_FULL, detail=self._disk.shortage, retry_after_seconds=FULL_RETRY_SECONDS
            )

    def require_place(self) -> None:
        """For one more open record."""
        if len(self._open) >= self._bound:
            self.ended(0)
            raise AppendRefused(
                Refusal.OPEN_RECORDS_FULL,
                detail=f"at most {self._bound}",
                retry_after_seconds=self._departures.seconds_until_room(),
            )

    def ended(self, records: int) -> None:
        self._ended += records
        self._departures.note(self._ended, 2 * len(self._open) >= self._bound)
