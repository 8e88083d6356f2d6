"""Gateway boots: their gap-free sequence numbers, and whether they have an append stream."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from dataclasses import dataclass, field

REMEMBERED_SEQUENCES = 65_536  # of a boot, at least, unless all boots together have more than the next
REMEMBERED_IN_ALL = 64 * REMEMBERED_SEQUENCES  # 8 bytes each
REMEMBERED_BOOTS = 4_096


@dataclass
class _Boot:
    next: int = 0
    # locations[i] is where sequence number first + i is in the journal.
    first: int = 0
    locations: array[int] = field(default_factory=lambda: array("Q"))
    streams: int = 0
    absent_since: float = 0.0


class Boots:
    """Owned by whoever commits, one group at a time. `started` is audit's own start on the same clock as `now`."""

    def __init__(self, started: float, in_all: int = REMEMBERED_IN_ALL) -> None:
        self._started, self._in_all = started, in_all
        self._boots: OrderedDict[str, _Boot] = OrderedDict()  # the one that appended last at the end
        self._located = 0  # sequence numbers of all

    def _boot(self, boot: str) -> _Boot:
        found = self._boots.get(boot)
        if found is None:
            found = self._boots[boot] = _Boot(absent_since=self._started)
        return found

    def next(self, boot: str) -> int:
        """The sequence number that the boot's next item must have; they count from 0."""
        found = self._boots.get(boot)
        return found.next if found else 0

    def advance(self, boot: str, sequence: int) -> None:
        self._boot(boot).next = sequence + 1
        self._boots.move_to_end(boot)

    def located(self, boot: str, sequence: int, location: int) -> None:
        found = self._boot(boot)
        if not found.locations:
            found.first = sequence
        found.locations.append(location)
        self._located += 1
        if len(found.locations) > 2 * REMEMBERED_SEQUENCES:
            del found.locations[:REMEMBERED_SEQUENCES]
            found.first += REMEMBERED_SEQUENCES
            self._located -= REMEMBERED_SEQUENCES
        if self._located > self._in_all:
            self._forget_locations()

    def _forget_locations(self) -> None:
        """Of the boots that have been silent for longest, to half of what is too much: seldom, and much at once."""
        for boot in self._boots.values():
            if self._located <= self._in_all // 2:
                return
            self._located -= len(boot.locations)
            boot.locations = array("Q")

    def location(self, boot: str, sequence: int) -> int | None:
        found = self._boot(boot)
        index = sequence - found.first
        return found.locations[index] if 0 <= index < len(found.locations) else None

    def stream_opened(self, boot: str) -> None:
        self._boot(boot).streams += 1

    def stream_closed(self, boot: str, now: float) -> None:
        found = self._boot(boot)
        found.streams -= 1
        found.absent_since = now

    def absent_for(self, boot: str, now: float) -> float:
        """Seconds without a stream; 0 while there is one."""
        found = self._boot(boot)
        return 0.0 if found.streams else now - max(found.absent_since, self._started)

    def forget_oldest(self, keep: set[str]) -> None:
        """Bounds memory: boots that have neither a stream nor a record in `keep` are forgotten, oldest first."""
        excess = len(self._boots) - REMEMBERED_BOOTS
        if excess <= 0:
            return
        idle = [name for name, boot in self._boots.items() if not boot.streams and name not in keep]
        for name in idle[:excess]:
            self._located -= len(self._boots.pop(name).locations)
