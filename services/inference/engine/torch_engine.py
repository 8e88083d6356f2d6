"""The default engine: a transformers model, continuously batched over a slot cache."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from collections.abc import Sequence as Rows

from torch import Tensor

from services.inference.engine.adapters import AdapterNotServed
from services.inference.engine.answer import Answer
from services.inference.engine.beginning import begun, rendered
from services.inference.engine.budget import PassLimit, PrefillBudget
from services.inference.engine.grammar import Grammars
from services.inference.engine.part import Part, split_logits
from services.inference.engine.prefix import PrefixCache
from services.inference.engine.protocol import (
    Capacity,
    EngineFull,
    Failure,
    Load,
    ModelInfo,
    StepOutput,
    Work,
    joined,
)
from services.inference.engine.residency import Residency
from services.inference.engine.roster import Roster
from services.inference.engine.scheduler import Scheduler
from services.inference.engine.sequence import Sequence, SlotOrder
from services.inference.engine.shaping import Shaping
from services.inference.engine.speculation import GUESSED_TOKENS
from services.inference.engine.torch_adapter_host import TorchAdapterHost
from services.inference.engine.torch_adapters import AdapterSet
from services.inference.engine.torch_runner import Runner
from services.inference.engine.torch_sampling import choose_next
from services.inference.engine.torch_slots import SlotCache
from services.inference.engine.torch_trouble import reason_of
from services.inference.models.prompt import Prompt

log = logging.getLogger(__name__)


class TorchEngine:
    """A step is one pass: a token of every row that decodes, and chunks of waiting prompts within the budget."""

    name = "torch"

    def __init__(
        self,
        *,
        runner: Runner,
        cache: SlotCache,
        prompt: Prompt,
        model: ModelInfo,
        end_ids: frozenset[int],
        scheduler: Scheduler[Sequence],
        adapters: AdapterSet,
        budget: PrefillBudget,
        guess_rows: int = 0,
        prefix: PrefixCache | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._runner = runner
        self._prefix = prefix
        self._residency = Residency(cache, slots=scheduler.slots, tokens=scheduler.tokens)
        self._prompt = prompt
        self._model = model
        self._end_ids = end_ids
        self._scheduler = scheduler
        self.adapters = TorchAdapterHost(
            adapters, runner, self._residency, free_slot=self._free_slot, users=self._users
        )
        self._budget = budget
        self._guess_rows = guess_rows
        self._clock_ns = clock_ns
        self._grammars = Grammars(lambda: prompt.vocabulary(model.vocabulary, end_ids), end_ids)
        self._order = SlotOrder(self._residency)
        self._roster = Roster(scheduler, model, clock_ns)
        self._steps = self._prompt_tokens = self._output_tokens = self._computed = self._useful = 0
        self._passes = self._requeued = self._guessed = self._guessed_right = 0
        self._limit = PassLimit()

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
            computed_tokens=self._computed,
            useful_tokens=self._useful,
            waiting=len(self._scheduler.waiting),
            preempted=self._scheduler.preemptions,
            memory_short=self._limit.times,
            requeued=self._requeued,
            guessed=self._guessed,
            guessed_right=self._guessed_right,
            prefix_asked=self._prefix.asked if self._prefix else 0,
            prefix_found=self._prefix.found if self._prefix else 0,
        )

    def live(self) -> frozenset[str]:
        return self._roster.ids

    def prompt_tokens(self, work: Work) -> int:
        return len(self._render(work))

    def _render(self, work: Work) -> list[int]:
        return rendered(work, self._prompt, self._model, tokens=self._scheduler.tokens)

    def prepare(self, work: Work) -> None:
        if work.sampling.grammar:
            self._grammars.compile(work.sampling.grammar)

    def admit(self, work: Work) -> None:
        self._roster.require_place(work)
        if work.adapter and work.adapter not in self.adapters:
            raise AdapterNotServed(work.adapter)
        ids = self._render(work)
        self._roster.add(work, ids, self._begun(work, ids))

    def _begun(self, work: Work, ids: list[int]) -> Answer:
        sampling = work.sampling
        mask = self._grammars.mask(sampling.grammar, self._prompt.opening(ids))
        shaping = None if sampling.plain else Shaping(sampling, ids, self._end_ids, mask)
        return begun(work, ids, self._prompt, self._end_ids, shaping)

    def cancel(self, request_id: str) -> bool:
        sequence = self._roster.get(request_id)
        if sequence is None:
            return False
        self._release(sequence)
        return True

    def close(self) -> None:
        for sequence in self._roster:
            self._release(sequence)

    def step(self) -> list[StepOutput]:
        outputs = self._roster.end_complete()
        batch = self._planned()
        started, tokens, passes = self._clock_ns(), sum(part.tokens for part in batch), self._passes
        prompts = len(batch) > len(self._order.decoding)
        outputs += self._pass(batch)
        if self._passes == passes + 1:  # of several, some failed
            self._budget.stepped(tokens, self._clock_ns() - started, prompt=prompts)
        self._steps += 1
        self._check()
        return outputs

    def _planned(self) -> list[Part]:
        """What the pass of this step carries, in the order of slots: those who decode come first."""
        plan = self._roster.plan(self._budget.prompt_tokens)
        for sequence in plan.expired + plan.preempted:
            self._leave_slot(sequence)
        for sequence in plan.admitted:
            self._order.add(sequence)
        self._residency.reserve([self._scheduler.reserves(sequence) for sequence in self._order])
        counts = dict(plan.parts)
        for sequence in plan.admitted:
            self._load_prefix(sequence)
            if sequence.pending == 1:
                self._order.promote(sequence)
                counts[sequence] = 1
        counts = {sequence: min(count, sequence.pending) for sequence, count in counts.items()}
        guesses = self._guesses([sequence for sequence, count in counts.items() if count == sequence.pending == 1])
        parts = [Part(sequence, count, guesses.get(sequence.slot, ())) for sequence, count in counts.items()]
        return sorted(parts, key=lambda part: part.sequence.slot)

    def _guesses(self, decoding: Rows[Sequence]) -> dict[int, tuple[int, ...]]:
        """By slot. Only where few rows decode: there a pass reads weights more than it computes."""
        if not 0 < len(decoding) <= self._guess_rows or not self._runner.mixes:
            return {}
        return {one.slot: tuple(one.guess(GUESSED_TOKENS // len(decoding))) for one in decoding}

    def _load_prefix(self, sequence: Sequence) -> None:
        if self._prefix and sequence.work.prefix_scope:
            sequence.cached = self._prefix.load(
                sequence.work.prefix_scope, sequence.ids(0, sequence.length), sequence.slot
            )
            self._residency.wrote(sequence.slot, sequence.cached)

    def _save_prefix(self, sequence: Sequence) -> None:
        """What its slot holds: of numbers all, for a token was chosen by them."""
        if self._prefix and sequence.work.prefix_scope:
            self._prefix.save(sequence.work.prefix_scope, sequence.ids(0, sequence.cached), sequence.slot)

    def _check(self) -> None:
        self._order.check()
        self._scheduler.check()
        assert set(self._order) == set(self._scheduler.running), "slots held differ from requests that run"
        assert len(self._scheduler) == len(self._roster), "requests that wait or run differ from live ones"

    def _pass(self, batch: Rows[Part]) -> list[StepOutput]:
        """A pass that fails is halved until what makes it fail stands alone. Writing a position twice is safe."""
        if not batch:
            return []
        tokens = sum(part.tokens for part in batch)
        if tokens > self._limit.most:
            return self._halves(batch)
        self._passes += 1
        self._computed += sum(part.count for part in batch)
        for part in batch:
            part.sequence.mark_once(prefill_started_ns=self._clock_ns())
            self._residency.wrote(part.sequence.slot, part.sequence.cached + part.tokens)
        try:
            logits = self._runner.run([part.segment for part in batch])
            firsts, further = split_logits(batch, logits)
            chosen = self._choose([part.sequence for part in batch if part.ends], firsts)
        except Exception as error:  # whatever it is, it is one request's alone
            reason = reason_of(error)
        else:
            self._limit.went_well()
            return self._passed(batch, chosen, further)
        # Outside the except: the error held the failed pass's tensors, and with them the memory that it lacked.
        if reason is Failure.OUT_OF_MEMORY:
            self._limit.short(tokens)
            return self._halves(batch) if tokens > 1 else self._short_alone(batch[0].sequence)
        alone = len(batch) == 1 and not batch[0].guess
        return [self._fail(batch[0].sequence, reason)] if alone else self._halves(batch)

    def _halves(self, batch: Rows[Part]) -> list[StepOutput]:
        """Of many segments, or of the one: without its guess, then with its second half left to a later step."""
        if len(batch) == 1:
            only = batch[0]
            return self._pass([Part(only.sequence, only.count if only.guess else only.count // 2)])
        middle = len(batch) // 2
        # The later half first: rows that leave it move none of the earlier half's decoding rows out of their slots.
        return self._pass(batch[middle:]) + self._pass(batch[:middle])

    def _short_alone(self, sequence: Sequence) -> list[StepOutput]:
        """Memory does not suffice for one token of it: it waits until another has ended."""
        if not self._scheduler.requeue(sequence, self._clock_ns()):
            return [self._fail(sequence, Failure.OUT_OF_MEMORY)]
        log.warning("request %s waits: memory does not suffice for it now", sequence.work.request_id)
        self._requeued += 1
        self._leave_slot(sequence)
        return []

    def _passed(self, batch: Rows[Part], chosen: Rows[int | None], further: Rows[Tensor]) -> list[StepOutput]:
        """`further`: each ending part's logits after its guessed tokens."""
        self._useful += sum(part.count for part in batch)
        ended = [part for part in batch if part.ends]
        for part in batch:  # all of them, guesses too, before one that leaves moves another one's cache
            self._prompt_tokens += 0 if part.sequence.timing.prefill_finished_ns else part.count
            part.sequence.cached += part.tokens
        for part in batch:
            if part.sequence.pending <= 1:
                self._order.promote(part.sequence)
        now = self._clock_ns()
        for part in ended:
            part.sequence.mark_once(prefill_finished_ns=now)
        return [self._follow_guess(*each) for each in zip(ended, chosen, further, strict=True)]

    def _follow_guess(self, part: Part, token: int | None, further: Tensor) -> StepOutput:
        """Takes the token, and one more for each guess that was the very token chosen."""
        sequence = part.sequence
        outputs = [self._extend(sequence, token)]
        for guessed, logits in zip(part.guess, further):
            if token != guessed or outputs[-1].last:
                break
            token = self._choose([sequence], logits[None])[0]
            outputs.append(self._extend(sequence, token))
        if not part.guess:
            return outputs[0]
        if not outputs[-1].last:
            sequence.cached = sequence.length - 1
        right = len(outputs) - 1
        self._useful, self._computed = self._useful + right, self._computed + right
        self._guessed, self._guessed_right = self._guessed + len(part.guess), self._guessed_right + right
        sequence.judge(len(part.guess), right)
        return joined(outputs)

    def _choose(self, rows: Rows[Sequence], logits: Tensor) -> list[int | None]:
        return choose_next(logits, [row.answer for row in rows])

    def _free_slot(self) -> int:
        """After those that are held. It is used before the next step, which may give it away."""
        if len(self._order) >= self._scheduler.slots:
            raise EngineFull
        return len(self._order)

    def _users(self, adapter: str) -> int:
        return sum(sequence.work.adapter == adapter for sequence in self._roster)

    # One request

    def _extend(self, sequence: Sequence, token: int | None) -> StepOutput:
        """Take the next token, None where there was no number to choose by. The last one frees the slot at once."""
        if token is None:
            if sequence.slot >= 0:
                self._residency.clear(sequence.slot)  # a masked NaN would still poison the slot's next request
            return self._fail(sequence, sequence.answer.failure)
        answer = sequence.answer
        text = answer.accept(token)
        self._output_tokens += 1
        first = not sequence.timing.first_token_ns
        sequence.mark_once(first_token_ns=self._clock_ns())
        output = sequence.output((token,), text)
        if first or output.last:
            self._save_prefix(sequence)
        if output.last:
            self._release(sequence)
        return output

    def _fail(self, sequence: Sequence, failure: Failure) -> StepOutput:
        log.error("request %s failed: %s", sequence.work.request_id, failure)
        self._release(sequence)
        return sequence.output((), "", failure)

    def _release(self, sequence: Sequence) -> None:
        self._roster.remove(sequence)
        self._leave_slot(sequence)

    def _leave_slot(self, sequence: Sequence) -> None:
        if sequence.slot >= 0:
            self._order.remove(sequence)
            sequence.cached = 0
