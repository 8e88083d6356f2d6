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

from services.inference.engine.beginning import begun, rendered
from services.inference.engine.features import check
from services.inference.engine.openvino_pipeline import ENDED, NO_MEMORY, REFUSED, RUNNING, Pipeline
from services.inference.engine.openvino_sampling import HAS, generation, narrow
from services.inference.engine.protocol import (
    Capacity,
    Failure,
    Load,
    ModelInfo,
    StepOutput,
    Work,
)
from services.inference.engine.roster import Roster
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
        self._roster = Roster(scheduler, model, clock_ns)
        self._rows: dict[int, _Row] = {}  # by the number that the pipeline knows it under
        self._numbers: dict[str, int] = {}  # the same by request id
        self._added: list[tuple[int, list[int], dict[str, Any]]] = []  # for the next turn
        self._cancelled: list[int] = []  # for the next turn
        self._number = self._steps = self._prompt_tokens = self._output_tokens = self._computed = 0

    @property
    def model(self) -> ModelInfo:
        return self._model

    def capacity(self) -> Capacity:
        return self._roster.capacity()

    def load(self) -> Load:
        return Load(
            live=len(self._roster),
            steps=self._steps,
            prompt_tokens=self._prompt_tokens,
            output_tokens=self._output_tokens,
            computed_tokens=self._prompt_tokens + self._computed,
            useful_tokens=self._prompt_tokens + self._output_tokens,
            waiting=len(self._scheduler.waiting),
            preempted=self._scheduler.preemptions,
        )

    def live(self) -> frozenset[str]:
        return self._roster.ids

    def prompt_tokens(self, work: Work) -> int:
        return len(self._render(work))

    def _render(self, work: Work) -> list[int]:
        check(work, HAS)
        return rendered(work, self._prompt, self._model, tokens=self._scheduler.tokens)

    def prepare(self, work: Work) -> None:
        check(work, HAS)

    def admit(self, work: Work) -> None:
        self._roster.require_place(work)
        ids = self._render(work)
        self._roster.add(work, ids, begun(work, ids, self._prompt, self._end_ids))

    def cancel(self, request_id: str) -> bool:
        sequence = self._roster.get(request_id)
        if sequence is None:
            return False
        self._roster.remove(sequence)
        self._withdraw(sequence)
        return True

    def close(self) -> None:
        for sequence in self._roster:
            self.cancel(sequence.work.request_id)
        self._pipeline.close()

    def step(self) -> list[StepOutput]:
        outputs = self._roster.end_complete()
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
        plan = self._roster.plan(lambda decoding: 0)
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
        self._roster.remove(sequence)
        if status == RUNNING:  # a stop string: the pipeline would go on
            self._withdraw(sequence)
        else:
            del self._rows[self._numbers.pop(sequence.work.request_id)]
