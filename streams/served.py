"""What a gateway knows of the models that workers serve: who does, in how many buckets, how full, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from strongroom.inference.v1.inference_pb2 import Worker

from chassis.departures import Departures
from streams import keys
from streams.connection import Connection
from streams.depths import Depth, look
from streams.failures import QueueFull

LOOK_EVERY_SECONDS = 1.0
MODELS_KNOWN = 64  # work may wait for a model whose workers are gone: the most recent are still looked at
NOTHING = Depth()

Class = tuple[str, str]  # of a model: its name, the priority


@dataclass(frozen=True, slots=True)
class _Model:
    buckets: int  # that all its workers read
    streams: Mapping[str, Sequence[str]]  # by class, also those of a time when there were more buckets


class Served:
    """As of the last look. Who calls `look` every LOOK_EVERY_SECONDS says when Redis is away."""

    def __init__(self, bound: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`bound`: jobs that may wait or run in one class of one model, its buckets together."""
        self._bound, self._clock = bound, clock
        self.workers: tuple[Worker, ...] = ()
        self._models: dict[str, _Model] = {}  # seen on workers, the most recent last
        self._depths: dict[Class, Depth] = {}
        self._departures: dict[Class, Departures] = {}  # as many as depths
        self._looked = 0.0  # when depths were read

    @property
    def models(self) -> tuple[str, ...]:
        """Models that workers have served, also those that none does now."""
        return tuple(self._models)

    def depth(self, model: str, priority: str) -> Depth:
        return self._depths.get((model, priority), NOTHING)

    def buckets(self, model: str) -> int:
        """How many to spread a model's tenants over."""
        return self._models[model].buckets if model in self._models else 1

    def streams(self, model: str, priority: str) -> Sequence[str]:
        """All in which jobs of a class may be."""
        known = self._models.get(model)
        return known.streams[priority] if known else keys.work_streams(model, 1)[priority]

    def require_room(self, model: str, priority: str, more: int = 1) -> None:
        """For so many more jobs. Raises QueueFull."""
        jobs = self.depth(model, priority).jobs + more - 1
        if jobs >= self._bound:
            # Until the next look nobody would see that there is room.
            seen_in = self._looked + LOOK_EVERY_SECONDS - self._clock()
            raise self._full((model, priority), jobs, more, at_least=seen_in)

    def full(self, model: str, priority: str, jobs: int, left: int) -> QueueFull:
        """What Redis said when it took no more: so many in the class, so many ended so far."""
        self._departures_of((model, priority)).note(left, True)
        return self._full((model, priority), jobs, 1)

    async def look(self, redis: Connection, seats: Sequence[bytes]) -> None:
        """`seats` of workers that live."""
        written = await redis.mget([keys.WORKER + seat.decode() for seat in seats]) if seats else []
        self.workers = tuple(Worker.FromString(worker) for worker in written if worker)
        self._note_models(self.workers)
        classes = [(model, priority) for model in self._models for priority in keys.CLASSES]
        groups = [self._models[model].streams[priority] for model, priority in classes]
        self._depths = dict(zip(classes, await look(redis, groups), strict=True))
        self._looked = self._clock()
        self._departures = {of: self._departures_of(of) for of in classes}
        for of, depth in self._depths.items():
            self._departures[of].note(depth.left, depth.waiting > 0 or 2 * depth.jobs >= self._bound)

    def _note_models(self, workers: Iterable[Worker]) -> None:
        """Any of a model's workers may be the last one left, so all must read what is written."""
        buckets: dict[str, int] = {}
        for worker in workers:
            read = min(max(worker.tenant_buckets, 1), keys.MOST_BUCKETS)
            buckets[worker.model] = min(read, buckets.get(worker.model, read))
        for model, used in buckets.items():
            before = self._models.pop(model, None)
            most = max(used, len(before.streams[keys.CLASSES[0]]) if before else 1)
            self._models[model] = _Model(used, keys.work_streams(model, most))
        for model in list(self._models)[:-MODELS_KNOWN]:
            del self._models[model]

    def _full(self, of: Class, jobs: int, more: int, at_least: float = 0.0) -> QueueFull:
        room = self._departures_of(of).seconds_until_room(jobs - self._bound + 1)
        return QueueFull(of[1], self._bound, more, max(room, at_least))

    def _departures_of(self, of: Class) -> Departures:
        return self._departures.get(of) or Departures(self._clock)
