"""How much work waits for this worker's model, and how well its slots were filled while some did."""

from __future__ import annotations

from collections.abc import Mapping

from streams.depths import Depth

IN_TRANSIT_SECONDS = 0.05  # a job younger than this is on its way to a worker and says nothing about slots


class Demand:
    """Sampled, not counted by the step: an engine that takes nothing while work waits makes no step to count by."""

    def __init__(self) -> None:
        self.waiting: Mapping[str, int] = {}  # by class, jobs that no worker has been given
        self.fill = 0.0  # sum of active / min(slots, active + waiting)
        self.samples = 0  # with demand

    def sample(self, active: int, slots: int, depths: Mapping[str, Depth]) -> None:
        self.waiting = {priority: depth.waiting for priority, depth in depths.items()}
        kept_waiting = [depth.waiting for depth in depths.values() if depth.oldest_seconds >= IN_TRANSIT_SECONDS]
        demanded = min(slots, active + sum(kept_waiting))
        if demanded:
            self.fill += min(active / demanded, 1.0)
            self.samples += 1
