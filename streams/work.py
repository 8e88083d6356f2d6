"""The work streams of one model, as one seat sees them: what waits in them, and what it is given of that."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from streams import keys, scripts
from streams.connection import BLOCK_MS, Connection
from streams.depths import Depth, look
from streams.jobs import Entry, told_cost

Bucket = tuple[str, int]  # of a class


class WorkStreams:
    """Every method but `wait` is one round trip, however many buckets there are."""

    def __init__(self, redis: Connection, waiting: Connection, model: str, seat: str, buckets: int) -> None:
        """`waiting` is for reads that block."""
        self._redis, self._waiting, self._model, self._seat = redis, waiting, model, seat
        self.buckets = buckets
        self._streams = keys.work_streams(model, buckets)
        self._next_overdue = dict.fromkeys(keys.CLASSES, 0)
        self.vanished = 0  # entries that were deleted while somebody held them: their jobs are gone

    async def open(self) -> None:
        """Makes streams and group where they are missing; the group sees everything in them from the start.

        To be called again whenever Redis was away: one without its data has no group.
        """
        self._streams = keys.work_streams(self._model, await self._buckets_in_use())
        pipe = self._redis.pipeline(transaction=False)
        for work in self._all():
            pipe.xgroup_create(work, keys.GROUP, id="0", mkstream=True)
        for answer in await pipe.execute(raise_on_error=False):
            if isinstance(answer, Exception) and not str(answer).startswith("BUSYGROUP"):
                raise answer

    async def _buckets_in_use(self) -> int:
        """At least as many as were asked for; more while jobs are left of a time when there were more."""
        pipe = self._redis.pipeline(transaction=False)
        for bucket in range(self.buckets, keys.MOST_BUCKETS):
            for priority in keys.CLASSES:
                pipe.xlen(keys.work(self._model, priority, bucket))
        lengths = await pipe.execute()
        left = [at for at, length in enumerate(lengths) if length]
        return self.buckets + (left[-1] // len(keys.CLASSES) + 1 if left else 0)

    def bucket(self, entry: Entry) -> Bucket:
        """Where an entry waited."""
        priority, _, number = entry.work.rpartition(":")
        return priority.rpartition(":")[2], int(number)

    async def heads(self, among: Collection[str], depth: int) -> dict[str, dict[int, list[int]]]:
        """Class → bucket that has jobs nobody has been given → what the first `depth` of them cost."""
        places = [(name, bucket) for name in among for bucket in range(len(self._streams[name]))]
        streams = [self._streams[name][bucket] for name, bucket in places]
        found: dict[str, dict[int, list[int]]] = {}
        for place, *costs in await scripts.heads.run(self._redis, streams, [depth]):
            name, bucket = places[place - 1]
            found.setdefault(name, {})[bucket] = [told_cost(cost) for cost in costs]
        return found

    async def read(self, counts: Mapping[Bucket, int]) -> list[Entry]:
        """Waiting entries, at most so many of each bucket; does not block."""
        pipe = self._redis.pipeline(transaction=False)
        for (priority, bucket), count in counts.items():
            pipe.xreadgroup(keys.GROUP, self._seat, {self._streams[priority][bucket]: ">"}, count=count)
        return [entry for streams in await pipe.execute() for entry in _entries(streams)]

    async def wait(self) -> list[Entry]:
        """Blocks up to BLOCK_MS for the first entry of any. Never cancel it: it would lose a delivery."""
        streams = dict.fromkeys(self._all(), ">")
        return _entries(await self._waiting.xreadgroup(keys.GROUP, self._seat, streams, count=1, block=BLOCK_MS))

    async def depths(self) -> dict[str, Depth]:
        """How full each class is."""
        return dict(zip(self._streams, await look(self._redis, list(self._streams.values())), strict=True))

    async def predecessors(self, count: int) -> list[Entry]:
        """What the last process on this seat held, at most so much. Call it once, before claiming anything else."""
        pipe = self._redis.pipeline(transaction=False)
        for work in self._all():
            pipe.xreadgroup(keys.GROUP, self._seat, {work: "0"}, count=count)
        return [entry for streams in await pipe.execute() for entry in _entries(streams)][:count]

    async def overdue(self, lease_ms: int, count: int) -> list[Entry]:
        """Takes over entries whose holder has not renewed them for a lease: of each class from the bucket on whose turn
        it is."""
        streams = [work for name in self._streams for work in self._from(name, self._next_overdue[name])]
        vanished, *flat = await scripts.overdue.run(self._redis, streams, [self._seat, lease_ms, count])
        self.vanished += vanished
        found = [
            _entry(streams[place - 1], entry_id, dict(zip(fields[::2], fields[1::2], strict=True)))
            for place, entry_id, fields in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        ]
        for entry in found:
            name, bucket = self.bucket(entry)
            self._next_overdue[name] = bucket + 1
        return found

    def _from(self, name: str, bucket: int) -> Sequence[str]:
        streams = self._streams[name]
        return streams[bucket:] + streams[:bucket]

    def _all(self) -> list[str]:
        return [work for streams in self._streams.values() for work in streams]


def _entries(streams: Any) -> list[Entry]:
    return [
        _entry(name.decode(), entry_id, fields) for name, messages in streams or () for entry_id, fields in messages
    ]


def _entry(work: str, entry_id: bytes, fields: Mapping[bytes, bytes] | None) -> Entry:
    fields = fields or {}  # none: it was deleted while somebody held it
    return Entry(
        work=work,
        entry_id=entry_id.decode(),
        request_id=fields.get(b"id", b"").decode("utf-8", "replace"),
        key_id=fields.get(b"k", b"").decode("ascii", "replace"),
        sealed=fields.get(b"job", b""),
        cost=told_cost(fields.get(keys.COST_FIELD.encode(), b"")),
    )
