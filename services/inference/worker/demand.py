"""How much work waits for this worker's model, and how well its slots were filled while some did."""

from __future__ import annotations

from collections.abc import Mapping

NOTHING: Mapping[str, int] = {}


class Demand:
    """Sampled, not counted by the step: an engine that takes nothing while work waits makes no step to count by."""

    def __init__(self) -> None:
        self.waiting: Mapping[str, int] = NOTHING  # by class, jobs that no worker has been given
        self.fill = 0.0  # sum of active / min(slots, active + waiting)
        self.samples = 0  # with demand

    def sample(self, active: int, slots: int, waiting: Mapping[str, int]) -> None:
        self.waiting = waiting
        demanded = min(slots, active + sum(waiting.values()))
        if demanded:
            self.fill += min(active / demanded, 1.0)
            self.samples += 1
