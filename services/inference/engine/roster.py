"""Who is live on an engine whose rows our own scheduler places, from admission to the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from services.inference.engine.answer import Answer
from services.inference.engine.protocol import (
    AlreadyLive,
    Capacity,
    EngineFull,
    ModelInfo,
    StepOutput,
    Timing,
    Work,
)
from services.inference.engine.scheduler import Plan, Scheduler
from services.inference.engine.sequence import Sequence


class Roster:
    """A live request is the scheduler's; or its answer was complete when it came, and the next step ends it."""

    def __init__(self, scheduler: Scheduler[Sequence], model: ModelInfo, clock_ns: Callable[[], int]) -> None:
        self._scheduler, self._model, self._clock_ns = scheduler, model, clock_ns
        self._live: dict[str, Sequence] = {}
        self._complete: list[Sequence] = []
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(list(self._live.values()))

    def get(self, request_id: str) -> Sequence | None:
        return self._live.get(request_id)

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(self._live)

    def capacity(self) -> Capacity:
        scheduler = self._scheduler
        return Capacity(
            free_slots=scheduler.free_slots,
            free_tokens=scheduler.free_tokens,
            max_tokens=min(self._model.context_tokens, scheduler.tokens),
            slots=scheduler.slots,
            tokens=scheduler.tokens,
            yields_to=scheduler.yields_to,
        )

    def require_place(self, work: Work) -> None:
        """Raises AlreadyLive, EngineFull."""
        if work.request_id in self._live:
            raise AlreadyLive
        if not self._scheduler.takes(work.rank):
            raise EngineFull

    def add(self, work: Work, prompt: list[int], answer: Answer) -> None:
        self._arrivals += 1
        timing = Timing(admitted_ns=self._clock_ns())
        sequence = Sequence(work=work, prompt=prompt, answer=answer, timing=timing, arrival=self._arrivals)
        self._live[work.request_id] = sequence
        if answer.finish is None:
            self._scheduler.add(sequence)
        else:
            self._complete.append(sequence)

    def end_complete(self) -> list[StepOutput]:
        """The last word on those that came with all of their answer."""
        outputs = [sequence.output((), "") for sequence in self._complete]
        for sequence in list(self._complete):
            self.remove(sequence)
        return outputs

    def plan(self, prompt_tokens: Callable[[int], int]) -> Plan[Sequence]:
        """The scheduler's; what has expired is live no longer."""
        plan = self._scheduler.plan(self._clock_ns(), prompt_tokens)
        for sequence in plan.expired:
            del self._live[sequence.work.request_id]
        return plan

    def remove(self, sequence: Sequence) -> None:
        """At whatever stage it is. Where its row lies is the engine's to free."""
        del self._live[sequence.work.request_id]
        if sequence in self._complete:
            self._complete.remove(sequence)
        else:
            self._scheduler.remove(sequence, self._clock_ns())
