"""The openvino engine: openvino-genai batches and computes; who runs, and what an answer is, is decided here.

Rows are admitted, preempted and expired by the scheduler that the torch engine has, so that the pipeline never holds
more than its cache has room for. Of an answer the pipeline makes tokens alone: text, stops and counts are Answer's.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from services.inference.engine.answer import Answer
from services.inference.engine.features import check
from services.inference.engine.openvino_pipeline import ENDED, NO_MEMORY, REFUSED, RUNNING, Pipeline
from services.inference.engine.openvino_sampling import HAS, generation, narrow
from services.inference.engine.protocol import (
    AlreadyLive,
    Capacity,
    EngineFull,
    Failure,
    Load,
    ModelInfo,
    PromptTooLong,
    StepOutput,
    Timing,
    Work,
)
from services.inference.engine.scheduler import Scheduler
from services.inference.engine.sequence import Sequence
from services.inference.models.prompt import Prompt

log = logging.getLogger(__name__)

_SEEDS = 2**64
# Of what an answer has not ended with. The pipeline ends one of its own accord only where Answer does, too.
_FAILURES = {NO_MEMORY: Failure.OUT_OF_MEMORY, REFUSED: Failure.ENGINE_ERROR, ENDED: Failure.ENGINE_ERROR}


@dataclass(slots=True)
class _Row:
    """A sequence in the pipeline. `again`: tokens that it makes once more, and that were told before."""

    sequence: Sequence
    again: deque[int] = field(default_factory=deque)


class OpenVinoEngine:
    name = "openvino"
    adapters = None

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        prompt: Prompt,
        model: ModelInfo,
        end_ids: frozenset[int],
        scheduler: Scheduler[Sequence],
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._pipeline, self._prompt, self._model, self._end_ids = pipeline, prompt, model, end_ids
        self._scheduler, self._clock_ns = scheduler, clock_ns
        self._live: dict[str, Sequence] = {}
        self._ended: list[Sequence] = []  # admitted with an answer that was already complete
        self._rows: dict[int, _Row] = {}  # by the number that the pipeline knows it under
        self._numbers: dict[str, int] = {}  # the same by request id
        self._added: list[tuple[int, list[int], dict[str, Any]]] = []  # for the next turn
        self._cancelled: list[int] = []  # for the next turn
        self._number = self._arrivals = self._steps = self._prompt_tokens = self._output_tokens = self._computed = 0

    @property
    def model(self) -> ModelInfo:
        return self._model

    def capacity(self) -> Capacity:
        scheduler = self._scheduler
        return Capacity(
            free_slots=scheduler.free_slots,
            free_tokens=scheduler.free_tokens,
            max_tokens=self._bound,
            slots=scheduler.slots,
            tokens=scheduler.tokens,
            yields_to=scheduler.yields_to,
        )

    @property
    def _bound(self) -> int:
        return min(self._model.context_tokens, self._scheduler.tokens)

    def load(self) -> Load:
        return Load(
            live=len(self._live),
            steps=self._steps,
            prompt_tokens=self._prompt_tokens,
            output_tokens=self._output_tokens,
            computed_tokens=self._prompt_tokens + self._computed,
            useful_tokens=self._prompt_tokens + self._output_tokens,
            waiting=len(self._scheduler.waiting),
            preempted=self._scheduler.preemptions,
        )

    def live(self) -> frozenset[str]:
        return frozenset(self._live)

    def prompt_tokens(self, work: Work) -> int:
        return len(self._render(work))

    def _render(self, work: Work) -> list[int]:
        check(work, HAS)
        work.sampling.check_ids(self._model.vocabulary)
        ids = self._prompt.ids(work.messages)
        bound = self._bound - work.sampling.max_tokens
        if len(ids) > bound:
            raise PromptTooLong(len(ids), bound)
        return ids

    def prepare(self, work: Work) -> None:
        check(work, HAS)

    def admit(self, work: Work) -> None:
        if work.request_id in self._live:
            raise AlreadyLive
        ids = self._render(work)
        if not self._scheduler.takes(work.rank):
            raise EngineFull
        answer = Answer(self._prompt.detokenizer(), work.sampling, self._end_ids, self._prompt.opening(ids))
        answer.replay(work.emitted)
        self._arrivals += 1
        timing = Timing(admitted_ns=self._clock_ns())
        sequence = Sequence(work=work, prompt=ids, answer=answer, timing=timing, arrival=self._arrivals)
        self._live[work.request_id] = sequence
        if answer.finish is None:
            self._scheduler.add(sequence)
        else:
            self._ended.append(sequence)

    def cancel(self, request_id: str) -> bool:
        sequence = self._live.pop(request_id, None)
        if sequence is None:
            return False
        if sequence in self._ended:
            self._ended.remove(sequence)
        else:
            self._scheduler.remove(sequence, self._clock_ns())
            self._withdraw(sequence)
        return True

    def close(self) -> None:
        for request_id in list(self._live):
            self.cancel(request_id)
        self._pipeline.close()

    def step(self) -> list[StepOutput]:
        outputs = [sequence.output((), "") for sequence in self._ended]
        for sequence in self._ended:
            del self._live[sequence.work.request_id]
        self._ended.clear()
        self._plan()
        if self._rows or self._cancelled:
            added, self._added = self._added, []
            cancelled, self._cancelled = self._cancelled, []
            for number, tokens, logprobs, status in self._pipeline.turn(added, cancelled):
                outputs += self._made(number, tokens, logprobs, status)
        self._steps += 1
        assert len(self._rows) == len(self._scheduler.running), "rows of the pipeline differ from requests that run"
        return outputs

    def _plan(self) -> None:
        plan = self._scheduler.plan(self._clock_ns(), lambda decoding: 0)
        for sequence in plan.expired:
            del self._live[sequence.work.request_id]
        for sequence in plan.expired + plan.preempted:
            self._withdraw(sequence)
        for sequence in plan.admitted:
            self._enter(sequence)

    def _enter(self, sequence: Sequence, *, anew: bool = False) -> None:
        """What was said before, by another worker or before it gave way, are tokens of its answer.

        Greedy, they are read as part of the prompt. Drawn, they are made once more, which alone brings the pipeline's
        generator to where it was. `anew`: that went another way, as it can with other batch mates in less than fp32;
        so they are read after all, and what follows is drawn under another seed.
        """
        self._number += 1
        said, sampling = sequence.answer.tokens, sequence.work.sampling
        again = () if narrow(sampling) or anew else tuple(said)
        self._rows[self._number] = _Row(sequence, deque(again))
        self._numbers[sequence.work.request_id] = self._number
        sequence.mark_once(prefill_started_ns=self._clock_ns())
        prompt = sequence.prompt if again else sequence.prompt + said
        self._prompt_tokens += len(prompt)
        seed = (sampling.seed + len(said)) % _SEEDS if anew else None
        asked = generation(sampling, self._end_ids, said=0 if again else len(said), seed=seed)
        self._added.append((self._number, prompt, asked))

    def _withdraw(self, sequence: Sequence) -> None:
        """If it is in the pipeline: from the next turn on it no longer is."""
        number = self._numbers.pop(sequence.work.request_id, 0)
        if self._rows.pop(number, None) is None:
            return
        waiting = len(self._added)
        self._added = [one for one in self._added if one[0] != number]
        if len(self._added) == waiting:
            self._cancelled.append(number)

    def _made(self, number: int, tokens: list[int], logprobs: list[float], status: str) -> list[StepOutput]:
        row = self._rows.get(number)
        if row is None:
            return []
        self._computed += len(tokens)
        fresh = 0
        for token in tokens:
            if not row.again:
                break
            if token != row.again.popleft():
                log.info("request %s: drawn once more it goes another way", row.sequence.work.request_id)
                self._withdraw(row.sequence)
                self._enter(row.sequence, anew=True)
                return []
            fresh += 1
        if fresh == len(tokens) and status == RUNNING:
            return []
        return [self._told(row.sequence, tokens[fresh:], logprobs[fresh:], status)]

    def _told(self, sequence: Sequence, tokens: list[int], logprobs: list[float], status: str) -> StepOutput:
        now, answer = self._clock_ns(), sequence.answer
        if tokens:
            sequence.mark_once(prefill_finished_ns=now, first_token_ns=now)
        text, before = "", len(answer.tokens)
        for place, token in enumerate(tokens):
            if answer.finish is None:
                if logprobs:
                    answer.note_logprob(token, {token: logprobs[place]})
                text += answer.accept(token)
        new = tuple(answer.tokens[before:])
        self._output_tokens += len(new)
        failure = None if answer.finish else _FAILURES.get(status)
        if answer.finish or failure:
            self._leave(sequence, status)
        return sequence.output(new, text, failure)

    def _leave(self, sequence: Sequence, status: str) -> None:
        del self._live[sequence.work.request_id]
        self._scheduler.remove(sequence, self._clock_ns())
        if status == RUNNING:  # a stop string: the pipeline would go on
            self._withdraw(sequence)
        else:
            del self._rows[self._numbers.pop(sequence.work.request_id)]
