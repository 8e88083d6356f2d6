"""An engine held to a number of steps a second, so that a fault can strike in the middle of an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from services.inference.engine.adapters import AdapterHost
from services.inference.engine.protocol import Capacity, Engine, Load, ModelInfo, StepOutput, Work


class PacedEngine:
    """Every step takes at least its share of a second. Sleeps on the engine's thread."""

    def __init__(
        self,
        engine: Engine,
        steps_per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine, self._seconds = engine, 1 / steps_per_second
        self._clock, self._sleep = clock, sleep
        self._next = 0.0

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def model(self) -> ModelInfo:
        return self._engine.model

    @property
    def adapters(self) -> AdapterHost | None:
        return self._engine.adapters

    def step(self) -> Sequence[StepOutput]:
        now = self._clock()
        if self._next > now:
            self._sleep(self._next - now)
        self._next = max(self._next, now) + self._seconds
        return self._engine.step()

    def capacity(self) -> Capacity:
        return self._engine.capacity()

    def load(self) -> Load:
        return self._engine.load()

    def prompt_tokens(self, work: Work) -> int:
        return self._engine.prompt_tokens(work)

    def prepare(self, work: Work) -> None:
        self._engine.prepare(work)

    def admit(self, work: Work) -> None:
        self._engine.admit(work)

    def cancel(self, request_id: str) -> bool:
        return self._engine.cancel(request_id)

    def live(self) -> frozenset[str]:
        return self._engine.live()

    def close(self) -> None:
        self._engine.close()
