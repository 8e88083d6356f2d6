"""Every request that this worker holds, and the way between them and the engine."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from strongroom.inference.v1 import inference_pb2 as pb

from services.inference.engine.loop import EngineLoop
from services.inference.engine.protocol import (
    AlreadyLive,
    Engine,
    EngineFull,
    EngineRefusal,
    PromptTooLong,
    StepOutput,
    Work,
)
from services.inference.worker.cadence import Cadence
from services.inference.worker.handover import Handover
from services.inference.worker.observer import Observer
from services.inference.worker.prefix_scope import TENANT
from services.inference.worker.preparation import Preparation
from services.inference.worker.prompt_turns import PromptTurns
from services.inference.worker.provenance import provenance_of
from services.inference.worker.run import Run
from services.inference.worker.spans import record_generation, record_queue_wait
from services.inference.worker.tally import Tally
from services.inference.worker.work import work_of

log = logging.getLogger(__name__)

UNWANTED_KEPT = 4096  # ids; one is needed for as long as a claim's answer takes


class Runs:
    """Requests by id. Owned by the event loop; `open` must be called on it."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], float] = time.time,
        observer: Observer | None = None,
        prefix_scope: str = TENANT,
    ) -> None:
        """`prefix_scope`: whose prompts may share what was computed of them, one of PREFIX_SCOPES."""
        self._engine, self._clock, self._observer = engine, clock, observer or Observer()
        self._prefix_scope = prefix_scope
        self._runs: dict[str, Run] = {}
        self._deadlines: dict[str, asyncio.TimerHandle] = {}
        self._unwanted: dict[str, None] = {}  # cancelled and not held, the newest last: their claim may be on its way
        self._full: list[Run] = []  # the engine had no room after all; they go first when it has
        self._prompts = PromptTurns()
        self._loop: EngineLoop | None = None
        self.slots = engine.capacity().slots
        self.provenance = provenance_of(engine.name, engine.model)
        self._cadence = Cadence()
        self.changed = asyncio.Event()  # there is something to publish
        self.room_changed = asyncio.Event()
        self.engine_died = asyncio.Event()  # what is held gets no further output: it is to go on elsewhere
        self.counters: Counter[str] = Counter()
        self.claimed_tokens: Counter[str] = Counter()  # by class, what the jobs that were started cost
        self.tally = Tally()
        self._preparation = Preparation(engine)

    def open(self) -> None:
        outlet = Handover(
            asyncio.get_running_loop(),
            outputs=self.outputs, refused=self.refused, room_changed=self.room_changed, died=self.engine_died,
        )  # fmt: skip
        self._loop = EngineLoop(self._engine, outlet, stepped=self._observer.stepped)
        self._loop.start()

    async def aclose(self) -> None:
        for handle in self._deadlines.values():
            handle.cancel()
        self._preparation.close()
        await asyncio.to_thread(self.engine.stop)

    @property
    def engine(self) -> EngineLoop:
        assert self._loop, "open first"
        return self._loop

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._runs.values()))

    def __len__(self) -> int:
        return len(self._runs)

    def get(self, request_id: str) -> Run | None:
        return self._runs.get(request_id)

    @property
    def running(self) -> int:
        """Requests that the engine works on, or is about to."""
        return sum(not run.ended for run in self._runs.values())

    @property
    def room(self) -> int:
        """How many more may be claimed: by slots, and by the share of the KV cache that nobody has reserved."""
        capacity, waiting = self.engine.capacity(), self.engine.load().waiting
        free = self._free_tokens()
        if self._full or free <= 0:
            return 0
        slots = max(self.slots - self.running + min(waiting, self.running), 0)
        if waiting:  # for somebody there was no room: look for one that fits, one at a time
            return min(slots, capacity.free_slots, 1)
        return min(slots, -(-self.slots * free // capacity.tokens))

    def takes(self, run: Run) -> bool:
        """Whether a claimed request is held here. One that does not fit now waits in the engine, if no other does."""
        if self.room:
            return not self._waiting_for_room or run.cost <= self._free_tokens()
        return run.rank < self.yields_to

    @property
    def yields_to(self) -> int:
        """Requests of a rank below this one may be claimed though there is no room: others give way to them."""
        return 0 if self._full or self._unseen() else self.engine.capacity().yields_to

    @property
    def _waiting_for_room(self) -> bool:
        return self.engine.load().waiting > 0

    def _free_tokens(self) -> int:
        unseen = sum(run.cost for run in self._unseen()) + self._prompts.waiting_cost
        return self.engine.capacity().free_tokens - unseen

    def _unseen(self) -> list[Run]:
        """Given to the engine, and in none of its figures yet."""
        seen = self.engine.live()
        return [run for run in self._runs.values() if not run.ended and run.posted_ns and run.request_id not in seen]

    def start(self, run: Run) -> None:
        """Takes a claimed request on and gives it to the engine."""
        run.provenance = self.provenance
        self._hold(run)
        record_queue_wait(run)
        self.claimed_tokens[run.job.body.priority] += run.cost
        if run.request_id in self._unwanted:
            self.end(run, pb.FINISH_CANCELLED)
            return
        try:
            work = work_of(run, self._prefix_scope)
        except EngineRefusal as refusal:
            self.end(run, pb.FINISH_FAILED, refusal.reason)
            return
        if work.sampling.grammar is None:
            self._admit(run, work)
        else:
            self._preparation.begin(work, lambda failure: self._prepared(run, work, failure))

    def _prepared(self, run: Run, work: Work, failure: str) -> None:
        """The request may have ended meanwhile."""
        if self._runs.get(run.request_id) is not run or run.ended:
            return
        if failure:
            self.end(run, pb.FINISH_FAILED, failure)
        else:
            self._admit(run, work)

    def _admit(self, run: Run, work: Work) -> None:
        if not self._prompts.waits(run, work):
            self._post(run, work)

    def _post(self, run: Run, work: Work) -> None:
        run.posted_ns = time.monotonic_ns()
        self.engine.admit(work)

    def finish_unstarted(self, run: Run, finish: pb.Finish.ValueType, failure: str = "") -> None:
        """Takes a claimed request on only to answer that it ends."""
        self._hold(run)
        self.end(run, finish, failure)

    def cancel(self, request_id: str) -> None:
        """Nobody waits for it any more, whether it is here, on its way, or not ours."""
        run = self._runs.get(request_id)
        if run is not None:
            self.end(run, pb.FINISH_CANCELLED)
            return
        self._unwanted[request_id] = None
        if len(self._unwanted) > UNWANTED_KEPT:
            del self._unwanted[next(iter(self._unwanted))]

    def end(self, run: Run, finish: pb.Finish.ValueType, failure: str = "") -> None:
        """Stops it in the engine, before its next step, and tells the gateway how it ended."""
        if run.ended:
            return
        self._stop(run)
        run.end(finish, failure)
        self._has_ended(run)

    def drop(self, run: Run, why: str) -> None:
        """Lets go of a request that is no longer ours, or that nobody can be told about."""
        if self._runs.get(run.request_id) is not run:
            return
        self.counters[f"dropped_{why}"] += 1
        log.info("request %s dropped: %s", run.request_id, why)
        self._stop(run)
        self._release(run)

    def done(self, run: Run) -> None:
        """Its end is in Redis."""
        if self._runs.get(run.request_id) is run:
            self.tally.told(run)
            self._release(run)

    # From the engine, by way of Handover

    def outputs(self, outputs: Sequence[StepOutput]) -> None:
        for output in outputs:
            run = self._runs.get(output.request_id)
            if run is None:
                continue
            began = run.timing is not None and run.timing.first_token_ns > 0
            if not run.take(output):
                continue
            if not began and output.token_ids:
                for other, work in self._prompts.passed(run):
                    self._post(other, work)
            if not began and output.timing.first_token_ns and not run.emitted:
                self._observer.first_token(run)
            if run.ended:
                self._has_ended(run)
            elif run.waiting:
                self.changed.set()

        if self._cadence.step(time.monotonic(), self.running):
            self.pass_on()

    def pass_on_overdue(self) -> None:
        """Also where no step comes."""
        if self._cadence.due(time.monotonic(), self.running):
            self.pass_on()

    def pass_on(self) -> None:
        """Everything that was made is to be published."""
        self._cadence.passed(time.monotonic())
        for run in self._runs.values():
            if not run.ended:
                run.pass_on()
            if run.waiting:
                self.changed.set()

    def refused(self, request_id: str, refusal: EngineRefusal) -> None:
        run = self._runs.get(request_id)
        if run is None or run.ended:
            return
        if isinstance(refusal, AlreadyLive):  # of an earlier admission; this one runs
            return
        if isinstance(refusal, EngineFull):
            self._full.append(run)
            return
        if isinstance(refusal, PromptTooLong):
            run.input_tokens = refusal.prompt_tokens
        self.end(run, pb.FINISH_FAILED, refusal.reason)

    # Inside

    def _hold(self, run: Run) -> None:
        previous = self._runs.get(run.request_id)
        if previous is not None:  # claimed again from ourselves, after Redis forgot the first claim
            self.drop(previous, "claimed_again")
        self._runs[run.request_id] = run
        left = run.job.deadline_ms / 1000 - self._clock()
        loop = asyncio.get_running_loop()
        self._deadlines[run.request_id] = loop.call_later(max(left, 0), self.end, run, pb.FINISH_EXPIRED)

    def _give_way(self, run: Run) -> None:
        """It computes no prompt any more: of those that waited for that, the next one does."""
        for other, work in self._prompts.passed(run):
            self._admit(other, work)

    def _has_ended(self, run: Run) -> None:
        self._give_way(run)
        record_generation(run, f"{self._engine.name} {self._engine.model.version}".strip())
        self._observer.ended(run)
        self.counters[f"ended_{pb.Finish.Name(run.finish).removeprefix('FINISH_').lower()}"] += 1
        self._deadlines.pop(run.request_id).cancel()
        self._made_room()
        self.changed.set()

    def _stop(self, run: Run) -> None:
        if run in self._full:
            self._full.remove(run)
        elif not run.ended and run.posted_ns:
            self.engine.cancel(run.request_id)

    def _release(self, run: Run) -> None:
        del self._runs[run.request_id]
        self._give_way(run)
        if deadline := self._deadlines.pop(run.request_id, None):
            deadline.cancel()
        self._made_room()

    def _made_room(self) -> None:
        waiting, self._full = self._full, []
        for run in waiting:
            self._admit(run, work_of(run, self._prefix_scope))
        self.room_changed.set()
