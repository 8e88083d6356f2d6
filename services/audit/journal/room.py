"""What a disk still has room for: everything, what closes what was begun, or only the ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

from services.audit.journal.reserve import Reserve

# Once it was too little, so much more than that has to be free: freeing byte by byte opens and shuts no doors.
_AGAIN = 5 / 4
_MIB = 1024 * 1024
_LAST_PART = 4  # of the reserve, for the ends


class Room(IntEnum):
    """The more, the less is taken."""

    ALL = 0
    NO_NEW_RECORDS = 1  # what belongs to accepted requests, and what the log says of itself
    ENDS = 2  # no text is released any more, so that what was accepted can end


class HighWater:
    """Looked after from where groups are written, and read by whoever plans them."""

    def __init__(self, free: Callable[[], int], must_be_free: int, reserve: Reserve) -> None:
        """`free`: bytes of the disk."""
        self._free, self._must_be_free, self._reserve = free, must_be_free, reserve
        self._short = False
        self.free_bytes = 0  # on the disk, when that was last looked at

    def look(self) -> None:
        """What was taken of the reserve is set aside anew as soon as that leaves as much again."""
        free = self._free()
        if not self._reserve.there and free >= 2 * self._reserve.size:
            self._reserve.make()
            free = self._free()
        self.free_bytes = free
        self._short = free < (self._must_be_free * _AGAIN if self._short else self._must_be_free)

    def room(self, left: int) -> Room:
        """`left`: bytes that can be written without taking any of the disk."""
        if self._reserve.there:
            return Room.NO_NEW_RECORDS if self._short else Room.ALL
        return Room.ENDS if _LAST_PART * left < self._reserve.size else Room.NO_NEW_RECORDS

    @property
    def shortage(self) -> str:
        """What is missing, and the remedy; callers see it too."""
        why = "it, or a quota on it, took no more"
        if self._short:
            why = f"{self.free_bytes // _MIB} MiB are free on it, and {self._must_be_free // _MIB} MiB must be"
        return f"{why}; whoever runs the log has to free some space, or enlarge the volume"


def free_bytes(folder: Path) -> int:
    """For who is not root."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize
