"""vLLM in the worker's process: what our protocol asks for, in terms of AsyncLLM's; text, stops and usage are ours."""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from services.inference.engine.answer import Answer
from services.inference.engine.beginning import begun, rendered
from services.inference.engine.features import check as check_features
from services.inference.engine.grammar import Grammars
from services.inference.engine.protocol import (
    AlreadyLive,
    Capacity,
    EngineDied,
    EngineFull,
    Failure,
    Finish,
    Load,
    ModelInfo,
    StepOutput,
    Timing,
    Work,
    joined,
)
from services.inference.engine.vllm_sampling import HAS, check, goes_on_behind, translated
from services.inference.engine.vllm_thread import Asked, LlmThread, Made
from services.inference.models.prompt import Prompt

log = logging.getLogger(__name__)

# Beyond the slots so many are taken that are more urgent than somebody who runs. vLLM runs them at once; where its KV
# cache is short it sets the least urgent back, and computes them again later.
URGENT_SEATS = 4

# A step of ours is what of vLLM's is there; without any it ends after this, so that cancels are heard in between.
PATIENCE_SECONDS = 0.01

AsVllm = Callable[[list[int], str, Mapping[str, Any]], tuple[Any, Any]]  # ids, cache salt, sampling → its own objects


@dataclass(slots=True)
class Counters:
    """What vLLM tells of its steps, since start. Written on its thread."""

    steps: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    computed_tokens: int = 0
    preempted: int = 0
    prefix_asked: int = 0
    prefix_found: int = 0


@dataclass(slots=True, eq=False)
class _Request:
    work: Work
    answer: Answer = field(repr=False)
    prompt: list[int] = field(repr=False)
    asked: Asked | None = None  # None: complete as it came
    again: deque[int] = field(default_factory=deque, repr=False)  # made once more and told before: not told
    reserved: int = 0  # tokens of KV, whole blocks
    timing: Timing = field(kw_only=True)

    def mark(self, now_ns: int, scheduled_seconds: float) -> None:
        """At its first token. vLLM's clock is this machine's monotonic one; on another node it may be another's."""
        began = int(scheduled_seconds * 1e9)
        if not self.timing.admitted_ns <= began <= now_ns:
            began = self.timing.admitted_ns
        self.timing = replace(self.timing, prefill_started_ns=began, prefill_finished_ns=now_ns, first_token_ns=now_ns)

    def output(self, token_ids: tuple[int, ...], text: str, failure: Failure | None = None) -> StepOutput:
        shown = (token_ids, text, failure)
        return self.answer.output(self.work.request_id, *shown, prompt=self.prompt, timing=self.timing)


class VllmEngine:
    """vLLM schedules, samples and keeps the KV cache. Driven by one thread."""

    name = "vllm"
    adapters = None

    def __init__(
        self,
        *,
        thread: LlmThread,
        counters: Counters,
        as_vllm: AsVllm,
        prompt: Prompt,
        model: ModelInfo,
        end_ids: frozenset[int],
        slots: int,
        tokens: int,
        block_tokens: int,
        server_key: bytes = b"",
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`tokens`: of KV in all. `server_key`: salts what is kept of prompts; by default a new one."""
        self._thread, self._counters, self._as_vllm = thread, counters, as_vllm
        self._prompt, self._model, self._end_ids = prompt, model, end_ids
        self._slots, self._tokens, self._block = slots, tokens, block_tokens
        self._server_key = server_key or secrets.token_bytes(32)
        self._clock_ns = clock_ns
        self._grammars = Grammars(lambda: prompt.vocabulary(model.vocabulary, end_ids), end_ids)
        self._live: dict[str, _Request] = {}

    @property
    def model(self) -> ModelInfo:
        return self._model

    def capacity(self) -> Capacity:
        """Raises EngineDied, so that an idle loop hears of it, too."""
        if self._thread.died:
            raise EngineDied
        return Capacity(
            free_slots=max(self._slots - len(self._live), 0),
            free_tokens=max(self._tokens - sum(request.reserved for request in self._live.values()), 0),
            max_tokens=min(self._model.context_tokens, self._tokens),
            slots=self._slots,
            tokens=self._tokens,
            yields_to=self._yields_to,
        )

    @property
    def _yields_to(self) -> int:
        if len(self._live) >= self._slots + URGENT_SEATS:
            return 0
        return max((request.work.rank for request in self._live.values()), default=0)

    def load(self) -> Load:
        told = self._counters
        return Load(
            live=len(self._live),
            steps=told.steps,
            prompt_tokens=told.prompt_tokens,
            output_tokens=told.output_tokens,
            computed_tokens=told.computed_tokens,
            useful_tokens=told.computed_tokens,  # nothing is padded, and nothing guessed
            waiting=self._waiting(),
            preempted=told.preempted,
            prefix_asked=told.prefix_asked,
            prefix_found=told.prefix_found,
        )

    def _waiting(self) -> int:
        """Those that the KV cache has no room for beside the ones before them, if all become as long as they may."""
        reserved = accumulate(request.reserved for request in self._live.values())
        return sum(tokens > self._tokens for tokens in reserved)

    def live(self) -> frozenset[str]:
        return frozenset(self._live)

    def prompt_tokens(self, work: Work) -> int:
        return len(self._render(work))

    def _render(self, work: Work) -> list[int]:
        check_features(work, HAS)
        ids = rendered(work, self._prompt, self._model, tokens=self._tokens)
        check(work.sampling, reasoning=bool(self._prompt.opening(ids)))
        return ids

    def prepare(self, work: Work) -> None:
        """By our own limits: vLLM compiles it once more, beside its steps."""
        check_features(work, HAS)
        if work.sampling.grammar:
            self._grammars.compile(work.sampling.grammar)

    def admit(self, work: Work) -> None:
        if work.request_id in self._live:
            raise AlreadyLive
        ids = self._render(work)
        if self.capacity().free_slots < 1 and work.rank >= self._yields_to:
            raise EngineFull
        answer = begun(work, ids, self._prompt, self._end_ids)
        request = _Request(work, answer, ids, timing=Timing(admitted_ns=self._clock_ns()))
        self._live[work.request_id] = request
        if answer.finish is None:
            request.reserved = -(-(len(ids) + work.sampling.max_tokens) // self._block) * self._block
            self._begin(request, behind=goes_on_behind(work.sampling))

    def _begin(self, request: _Request, *, behind: bool) -> None:
        """`behind`: what was said goes before the rest as a part of the prompt. Else the answer is made once more from
        its start, and told from where it had come to."""
        work, said = request.work, request.answer.tokens
        request.again = deque(() if behind else said)
        ids = [*request.prompt, *said] if behind else request.prompt
        sampling = translated(work.sampling, self._end_ids, said=len(said) if behind else 0)
        prompt, params = self._as_vllm(ids, self._salt(work.prefix_scope), sampling)
        headers = {"traceparent": work.traceparent} if work.traceparent else None
        request.asked = Asked(work.request_id, prompt, params, work.rank, headers)
        self._thread.begin(request.asked)

    def _salt(self, scope: str) -> str:
        """Blocks are found again under the same salt only. Where nothing may be shared, each request has one."""
        if not scope:
            return secrets.token_hex(16)
        return hmac.digest(self._server_key, scope.encode(), "sha256").hex()

    def step(self) -> list[StepOutput]:
        now = self._clock_ns()
        outputs: dict[str, list[StepOutput]] = {}
        for request in list(self._live.values()):
            if 0 < request.work.deadline_ns <= now:
                self.cancel(request.work.request_id)
            elif request.asked is None:
                outputs[request.work.request_id] = [request.output((), "")]
                del self._live[request.work.request_id]
        for made in self._thread.made(0 if outputs else PATIENCE_SECONDS):
            request_id = made.asked.request_id
            found = self._live.get(request_id)
            if found is not None and found.asked is made.asked and (output := self._take(found, made)):
                outputs.setdefault(request_id, []).append(output)
        if self._thread.died:
            raise EngineDied
        return [joined(each) for each in outputs.values()]

    def _take(self, request: _Request, made: Made) -> StepOutput | None:
        """None: nothing that was not told before."""
        if made.output is None:
            return self._end(request, request.output((), "", Failure.ENGINE_ERROR))
        [completion] = made.output.outputs
        known = self._once_more(request, completion.token_ids)
        if known is None or (request.again and completion.finish_reason):
            return self._another_way(request)
        answer, before = request.answer, len(request.answer.tokens)
        fresh = range(known, len(completion.token_ids))
        if not fresh and completion.finish_reason is None:
            return None
        text = "".join(self._accepted(answer, fresh, completion))
        text += self._cut(answer, completion.finish_reason)
        token_ids = tuple(answer.tokens[before:])
        if token_ids and not request.timing.first_token_ns:
            request.mark(self._clock_ns(), getattr(made.output.metrics, "scheduled_ts", 0.0))
        failed = Failure.ENGINE_ERROR if completion.finish_reason and answer.finish is None else None
        output = request.output(token_ids, text, failed)
        if output.last and completion.finish_reason is None and request.asked:
            self._thread.abort(request.asked)  # it ended at a stop string, of which vLLM knows nothing
        return self._end(request, output) if output.last else output

    def _once_more(self, request: _Request, token_ids: Sequence[int]) -> int | None:
        """How many of them were told before; None where another one comes than was told."""
        for place, token in enumerate(token_ids):
            if not request.again:
                return place
            if token != request.again.popleft():
                return None
        return len(token_ids)

    def _another_way(self, request: _Request) -> StepOutput | None:
        """Made once more, the answer is not what was told of it: what follows is made behind that. A grammar cannot be
        told where it stood."""
        log.info("request %s: made once more it goes another way", request.work.request_id)
        if request.asked:
            self._thread.abort(request.asked)
        if request.work.sampling.grammar:
            return self._end(request, request.output((), "", Failure.ENGINE_ERROR))
        self._begin(request, behind=True)
        return None

    def _cut(self, answer: Answer, reason: str | None) -> str:
        """Where vLLM ends it by a bound of its own."""
        if answer.finish is not None or reason not in ("stop", "length"):
            return ""
        return answer.cut(Finish.STOP if reason == "stop" else Finish.LENGTH)

    def _accepted(self, answer: Answer, places: Iterable[int], completion: Any) -> Iterable[str]:
        """Up to the answer's end: vLLM may have gone on behind a stop string."""
        for place in places:
            if answer.finish is not None:
                return
            token = completion.token_ids[place]
            if completion.logprobs is not None:
                told = completion.logprobs[place]
                answer.note_logprob(token, {one: likely.logprob for one, likely in told.items()})
            yield answer.accept(token)

    def _end(self, request: _Request, output: StepOutput) -> StepOutput:
        del self._live[request.work.request_id]
        return output

    def cancel(self, request_id: str) -> bool:
        request = self._live.pop(request_id, None)
        if request is None:
            return False
        if request.asked:
            self._thread.abort(request.asked)
        return True

    def close(self) -> None:
        for request_id in list(self._live):
            self.cancel(request_id)
        self._thread.close()
