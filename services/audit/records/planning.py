"""What the recorder is given and what it gives back: items, plans, limits, the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.audit.journal.frame import Entry
from services.audit.log.note import SignedCheckpoint
from services.audit.records.entries import Act, AppendRefused, Outcome, Recorded, RequestItem


@dataclass(frozen=True)
class Reap:
    """Ends the records of every gateway boot that has been without a stream for too long."""


@dataclass(frozen=True)
class Presence:
    """An append stream of a gateway boot opened or closed."""

    boot: str
    opened: bool


@dataclass(frozen=True)
class Control:
    """Something that happened to the log itself."""

    event: str
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """An act that changes what audit keeps. `decide` is called in the log's order; what it changes is made durable
    before its act is. It may raise CustodyRefused: then nothing was changed."""

    decide: Callable[[], Act]


# Events: a start; a clean stop; now and again, that audit lives; there is room for more or for less than there was;
# keys are destroyed next, after which what they seal is not counted again.
STARTED, STOPPED, HEARTBEAT, ROOM_CHANGED, COUNTED = "started", "stopped", "heartbeat", "room", "counted"

Item = RequestItem | Act | Decision | Reap | Presence | Control
Answer = Callable[[SignedCheckpoint], Outcome]


class Plan(NamedTuple):
    """Entries to make durable, and the answer once they are. `place` is the boot and sequence they account for."""

    entries: Sequence[Entry]
    answer: Answer
    place: tuple[str, int] | None = None
    reads: bool = False  # the answer is read back from the journal


@dataclass(frozen=True)
class RecordLimits:
    item_bytes: int = 8 * 1024 * 1024
    open_records: int = 10_000
    recent_records: int = 100_000
    idempotency_keys_per_tenant: int = 100_000
    gateway_lost_seconds: float = 10.0


@dataclass(frozen=True)
class Clock:
    """wall: Unix seconds, for what is written down. monotonic: for how long a gateway has been away. kept: what keeps
    the former in step, and how far off it may be; nothing where nobody is asked."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]
    kept: Callable[[], Mapping[str, object]] = dict

    def now_ms(self) -> int:
        return int(self.wall() * 1000)


_RECORDED = Recorded()


def recorded(_: SignedCheckpoint) -> Outcome:
    return _RECORDED


def refusing(refused: AppendRefused) -> Answer:
    def answer(_: SignedCheckpoint) -> Outcome:
        raise refused

    return answer
