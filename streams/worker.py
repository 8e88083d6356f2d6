"""The worker's half: claims, the one call a step, leases. Every method is one round trip."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from strongroom.inference.v1.inference_pb2 import Worker

from streams import keys, scripts
from streams.connection import blocking_client, command_client
from streams.jobs import Entry, OpenedJob
from streams.work import WorkStreams

LINGER_MS = 60_000  # an ended request's claim and token log, for a call whose answer got lost
UNLED_MS = 60_000  # reply stream of a gateway without a lease
WORKER_MS = 5_000  # an announcement
DEAD_KEPT = 1_000  # dead letters, the newest
FREE_MS = 86_400_000  # idle time given to what is handed back: more than any lease


class ClaimState(StrEnum):
    CLAIMED = "claimed"
    ENDED = "ended"  # delivered again after its end: dropped
    REPLAY = "replay"  # another entry has this ticket: dropped
    LOST = "lost"  # another worker has the entry by now


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What Redis says of an entry. All but `state` matter only when it is CLAIMED."""

    state: ClaimState
    epoch: int = 0
    deliveries: int = 0
    cancelled: bool = False
    log: tuple[bytes, ...] = ()  # the token log so far


@dataclass(frozen=True, kw_only=True, slots=True)
class Advance:
    """One request's part of a step; without items it only asks whether the request is still ours and wanted."""

    request_id: str
    epoch: int
    gateway: str
    first: int  # number of the first item
    items: Sequence[bytes] = ()  # frames of one item each
    last: bool = False  # the last item is the end


@dataclass(slots=True)
class Report:
    """What the call a step found. Who is not named was written and goes on."""

    stale: set[str] = field(default_factory=set)
    gaps: dict[str, int] = field(default_factory=dict)  # request → first item to send again
    cancelled: set[str] = field(default_factory=set)
    orphaned: set[str] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A claim to keep or to give back."""

    request_id: str
    epoch: int
    work: str
    entry_id: str


class WorkQueue:
    """One seat at the work streams of one model. Raises what `connection.out_of_service` recognises."""

    def __init__(
        self,
        url: str,
        model: str,
        seat: str,
        boot_id: str,
        *,
        buckets: int = keys.BUCKETS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis, self._waiting = command_client(url), blocking_client(url)
        self.work = WorkStreams(self._redis, self._waiting, model, seat, buckets)
        self._seat, self._boot, self._clock = seat, boot_id, clock

    async def aclose(self) -> None:
        await self._redis.aclose()
        await self._waiting.aclose()

    async def claim(self, jobs: Sequence[OpenedJob]) -> list[Claim]:
        """Makes each job ours under a new epoch; what was claimed or ended under another entry is dropped here."""
        calls: list[scripts.Call] = [
            ([job.entry.work],
             [job.entry.request_id, job.entry.entry_id, self._seat, self._boot, job.kept_until_ms])
            for job in jobs
        ]  # fmt: skip
        return [_claim(answer) for answer in await scripts.claim.run_each(self._redis, calls)]

    async def drop(self, entry: Entry) -> None:
        """Removes an entry that nobody shall run."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.xack(entry.work, keys.GROUP, entry.entry_id)
        pipe.xdel(entry.work, entry.entry_id)
        await pipe.execute()

    async def set_aside(self, job: OpenedJob, deliveries: int, reason: str) -> None:
        """A dead letter: says which job nobody tries again, and why. The job itself ends like any other."""
        letter = {
            "id": job.entry.request_id,
            "work": job.entry.work,
            "reason": reason,
            "deliveries": deliveries,
            "worker": self._seat,
        }
        await self._redis.xadd(keys.DEAD, letter, maxlen=DEAD_KEPT, approximate=False)

    async def publish(self, advances: Sequence[Advance]) -> Report:
        """The one fenced call a step. May be repeated: what was written already is not written again."""
        arguments: list[scripts.Argument] = [len(advances), LINGER_MS, UNLED_MS]
        for advance in advances:
            arguments += (advance.request_id, advance.epoch, advance.first, int(advance.last), advance.gateway)
            arguments.append(len(advance.items))
            arguments += advance.items
        return _report(await scripts.publish.run(self._redis, [], arguments))

    async def renew(self, held: Iterable[Held]) -> set[str]:
        """Renews the leases; returns the requests that are no longer ours."""
        arguments: list[scripts.Argument] = [self._seat]
        for job in held:
            arguments += (job.request_id, job.epoch, job.work, job.entry_id)
        return {request.decode() for request in await scripts.renew.run(self._redis, [], arguments)}

    async def hand_back(self, entries: Iterable[Entry | Held]) -> int:
        """Lets any worker take these at once; returns how many were still ours."""
        arguments: list[scripts.Argument] = [self._seat, FREE_MS]
        for entry in entries:
            arguments += (entry.work, entry.entry_id)
        return int(await scripts.hand_back.run(self._redis, [], arguments))

    async def announce(self, worker: Worker) -> None:
        """Tells gateways that this seat serves its model."""
        now_ms = int(self._clock() * 1000)
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(keys.WORKER + self._seat, worker.SerializeToString(), px=WORKER_MS)
        pipe.zadd(keys.WORKERS, {self._seat: now_ms})
        pipe.zremrangebyscore(keys.WORKERS, "-inf", now_ms - 10 * WORKER_MS)
        await pipe.execute()

    async def leave(self) -> None:
        """Takes the announcement back."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.delete(keys.WORKER + self._seat)
        pipe.zrem(keys.WORKERS, self._seat)
        await pipe.execute()


def _claim(answer: Sequence[Any]) -> Claim:
    state = ClaimState(answer[0].decode())
    if state is not ClaimState.CLAIMED:
        return Claim(state=state)
    return Claim(
        state=state,
        epoch=int(answer[1]),
        deliveries=int(answer[2]),
        cancelled=bool(answer[3]),
        log=tuple(answer[4:]),
    )


def _report(flat: Sequence[Any]) -> Report:
    report = Report()
    for request, what, at in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
        request_id = request.decode()
        if what == b"stale":
            report.stale.add(request_id)
        elif what == b"gap":
            report.gaps[request_id] = int(at)
        elif what == b"cancel":
            report.cancelled.add(request_id)
        else:
            report.orphaned.add(request_id)
    return report
