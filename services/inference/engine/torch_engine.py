"""The default engine: a transformers model, continuously batched over a slot cache."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Rows

import torch
from torch import Tensor

from services.inference.engine.answer import Answer
from services.inference.engine.batch import Segment
from services.inference.engine.budget import PrefillBudget
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
from services.inference.engine.sequence import Sequence, SlotOrder
from services.inference.engine.torch_runner import ModelRunner
from services.inference.engine.torch_sampling import choose_each
from services.inference.engine.torch_slots import SlotCache
from services.inference.models.prompt import Prompt

log = logging.getLogger(__name__)


class TorchEngine:
    """A step is: chunks of waiting prompts within the budget, then one token for every decoding row."""

    name = "torch"

    def __init__(
        self,
        *,
        runner: ModelRunner,
        cache: SlotCache,
        prompt: Prompt,
        model: ModelInfo,
        end_ids: frozenset[int],
        slots: int,
        budget: PrefillBudget,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._runner = runner
        self._cache = cache
        self._prompt = prompt
        self._model = model
        self._end_ids = end_ids
        self._slots = slots
        self._budget = budget
        self._clock_ns = clock_ns
        self._order = SlotOrder(cache)
        self._live: dict[str, Sequence] = {}
        self._ended: list[Sequence] = []  # admitted with an answer that was already complete: no slot needed
        self._arrivals = self._steps = self._prompt_tokens = self._output_tokens = self._computed = self._useful = 0

    @property
    def model(self) -> ModelInfo:
        return self._model

    def capacity(self) -> Capacity:
        free = self._slots - len(self._live)
        context = self._model.context_tokens
        return Capacity(
            free_slots=free,
            free_tokens=free * context,
            max_tokens=context,
            slots=self._slots,
            tokens=self._slots * context,
        )

    def load(self) -> Load:
        return Load(
            live=len(self._live),
            steps=self._steps,
            prompt_tokens=self._prompt_tokens,
            output_tokens=self._output_tokens,
            computed_tokens=self._computed,
            useful_tokens=self._useful,
        )

    def live(self) -> frozenset[str]:
        return frozenset(self._live)

    def prompt_tokens(self, work: Work) -> int:
        return len(self._render(work))

    def _render(self, work: Work) -> list[int]:
        ids = self._prompt.ids(work.messages)
        bound = self._model.context_tokens - work.sampling.max_tokens
        if len(ids) > bound:
            raise PromptTooLong(len(ids), bound)
        return ids

    def admit(self, work: Work) -> None:
        if work.request_id in self._live:
            raise AlreadyLive
        ids = self._render(work)
        if len(self._live) >= self._slots:
            raise EngineFull
        answer = Answer(self._prompt.detokenizer(), work.sampling, self._end_ids, self._prompt.opening(ids))
        answer.replay(work.emitted)
        self._arrivals += 1
        timing = Timing(admitted_ns=self._clock_ns())
        sequence = Sequence(work=work, prompt=ids, answer=answer, timing=timing, arrival=self._arrivals)
        self._live[work.request_id] = sequence
        if answer.finish is None:
            self._order.add(sequence)
        else:
            self._ended.append(sequence)

    def cancel(self, request_id: str) -> bool:
        sequence = self._live.get(request_id)
        if sequence is None:
            return False
        self._release(sequence)
        return True

    def close(self) -> None:
        for request_id in list(self._live):
            self.cancel(request_id)

    def step(self) -> list[StepOutput]:
        outputs = [sequence.output((), "") for sequence in self._ended]
        for sequence in list(self._ended):
            self._release(sequence)
        decoding = list(self._order.decoding)  # before prefill adds rows that have their token of this step already
        started, prefilled = self._clock_ns(), self._prompt_tokens
        outputs += self._prefill(beside_decode=bool(decoding))
        outputs += self._decode(decoding)
        if self._prompt_tokens > prefilled:
            self._budget.stepped(self._clock_ns() - started)
        self._steps += 1
        self._order.check()
        assert len(self._order) == len(self._live), "slots held differ from live requests"
        return outputs

    # Prefill

    def _prefill(self, *, beside_decode: bool) -> Iterator[StepOutput]:
        started = self._clock_ns()
        spent_ns = 0
        while self._order.prefilling:
            sequence = self._next_to_prefill()
            count = self._budget.chunk(sequence.pending, spent_ns=spent_ns, beside_decode=beside_decode)
            if not count:
                return
            yield from self._prefill_chunk(sequence, count)
            spent_ns = max(self._clock_ns() - started, 1)

    def _next_to_prefill(self) -> Sequence:
        """The oldest and, of the most urgent class, the one nearest to its first token take turns: no one starves,
        short prompts stay quick."""
        waiting = self._order.prefilling
        if self._steps % 2:
            return min(waiting, key=lambda sequence: (sequence.work.rank, sequence.pending, sequence.arrival))
        return min(waiting, key=lambda sequence: sequence.arrival)

    def _prefill_chunk(self, sequence: Sequence, count: int) -> list[StepOutput]:
        started = self._clock_ns()
        if not sequence.timing.prefill_started_ns:
            sequence.mark(prefill_started_ns=started)
        self._computed += count
        try:
            last = count == sequence.pending
            logits = self._runner.run([_segment(sequence, count)])
            token = self._choose([sequence], logits)[0] if last else None
        except Exception as error:  # whatever it is, it is this request's alone
            return [self._fail(sequence, _reason(error))]
        ended = self._clock_ns()
        self._budget.prefilled(count, ended - started)
        sequence.cached += count
        self._prompt_tokens += count
        self._useful += count
        if not last:
            return []
        sequence.mark(prefill_finished_ns=ended)
        self._order.promote(sequence)
        return [self._extend(sequence, token)]

    # Decode

    def _decode(self, rows: list[Sequence]) -> list[StepOutput]:
        if not rows:
            return []
        started = self._clock_ns()
        outputs = self._decode_rows(rows)
        self._budget.decoded(self._clock_ns() - started)
        return outputs

    def _decode_rows(self, rows: Rows[Sequence]) -> list[StepOutput]:
        """A pass that fails is halved until what makes it fail stands alone. Writing a position twice is safe."""
        self._computed += len(rows)
        try:
            tokens = self._choose(rows, self._runner.run([_segment(row, 1) for row in rows]))
        except Exception as error:
            reason = _reason(error)
        else:
            self._useful += len(rows)
            for sequence in rows:
                sequence.cached += 1
            return [self._extend(sequence, token) for sequence, token in zip(rows, tokens, strict=True)]
        # Outside the except: the error held the failed pass's tensors, and with them the memory that it lacked.
        if len(rows) == 1:
            return [self._fail(rows[0], reason)]
        middle = len(rows) // 2
        # The later half first: rows that leave it move none of the earlier half out of its slots.
        return self._decode_rows(rows[middle:]) + self._decode_rows(rows[:middle])

    def _choose(self, rows: Rows[Sequence], logits: Tensor) -> list[int | None]:
        return choose_each(logits, [(row.work.sampling, len(row.answer.tokens)) for row in rows])

    # One request

    def _extend(self, sequence: Sequence, token: int | None) -> StepOutput:
        """Take the next token, None where there was no number to choose by. The last one frees the slot at once."""
        if token is None:
            if sequence.slot >= 0:
                self._cache.clear(sequence.slot)  # a masked NaN would still poison the slot's next request
            return self._fail(sequence, Failure.NOT_FINITE)
        answer = sequence.answer
        text = answer.accept(token)
        self._output_tokens += 1
        if not sequence.timing.first_token_ns:
            sequence.mark(first_token_ns=self._clock_ns())
        output = sequence.output((token,), text)
        if output.last:
            self._release(sequence)
        return output

    def _fail(self, sequence: Sequence, failure: Failure) -> StepOutput:
        log.error("request %s failed: %s", sequence.work.request_id, failure)
        self._release(sequence)
        return sequence.output((), "", failure)

    def _release(self, sequence: Sequence) -> None:
        del self._live[sequence.work.request_id]
        if sequence in self._ended:
            self._ended.remove(sequence)
        else:
            self._order.remove(sequence)


def _segment(sequence: Sequence, count: int) -> Segment:
    """Its next `count` pending tokens."""
    ids = sequence.ids(sequence.cached, sequence.cached + count)
    return Segment(sequence.slot, sequence.cached, ids, logits=int(count == sequence.pending))


def _reason(error: Exception) -> Failure:
    """By type and by torch's fixed words; the text itself goes nowhere."""
    full = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "allocate memory" in str(error)
    return Failure.OUT_OF_MEMORY if full else Failure.ENGINE_ERROR
