"""What a full disk leaves: room for what is written beside the journal, and an entry that says so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from services.audit.journal.journal import Journal
from services.audit.journal.reserve import Reserve, is_full
from services.audit.journal.room import Room
from services.audit.records.planning import ROOM_CHANGED, Control

log = logging.getLogger(__name__)


class Spare:
    """Set aside for keys, tiles and checkpoint. Used from any thread; what it lets go of, others may take first."""

    def __init__(self, path: Path, size: int, writing: Callable[[], None]) -> None:
        """`writing` is called before each attempt (fault tests)."""
        self._reserve, self._writing = Reserve(path, size), writing

    def make(self) -> None:
        self._reserve.make()

    def writing(self, write: Callable[[], None]) -> None:
        """Calls it, and once more if the disk was full and there was something to let go of."""
        try:
            self._writing()
            write()
        except OSError as error:
            if not (is_full(error) and self._reserve.give()):
                raise
            log.warning("the disk is full: what was set aside for keys, tiles and checkpoint is used now")
            self._writing()
            write()


class RoomWatch:
    """`look` is called now and again, in turn with the groups that are written."""

    def __init__(self, journal: Journal, spare: Spare) -> None:
        self._journal, self._spare = journal, spare
        self._room = Room.ALL  # as the log knows it

    def look(self) -> Control | None:
        """An entry where there is room for more or for less than there was."""
        before, self._room = self._room, self._journal.look_after_room()
        if self._room is Room.ALL:
            self._spare.make()
        if self._room is before:
            return None
        if self._room is Room.ALL:
            log.warning("the disk has room again: new requests are accepted")
        else:
            log.error("no new request is accepted: %s", self._journal.shortage)
        detail = {"free_bytes": self._journal.high_water.free_bytes, "reserve_bytes": self._journal.reserve_bytes}
        return Control(ROOM_CHANGED, {"room": self._room.name, **detail})
