"""An engine without a model: it answers with the last user message, one word a step. For wiring and benchmarks."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.inference.engine.features import check, lacking
from services.inference.engine.protocol import (
    AlreadyLive,
    Capacity,
    EngineFull,
    Finish,
    Load,
    ModelInfo,
    PromptRefused,
    PromptTooLong,
    StepOutput,
    Timing,
    Work,
)
from services.inference.engine.stops import StopStrings

if TYPE_CHECKING:
    from services.inference.engine.opening import EngineSettings

# Of these it needs no more than max_tokens and stop: with one word to choose from, the others change nothing.
HAS = ("temperature", "top_p", "top_k", "min_p", "seed", "max_tokens", "stop")
_PIECES = re.compile(r"\s*\S+|\s+")


def pieces(text: str) -> list[str]:
    """Words with the white space before them; joined they give the text back."""
    return _PIECES.findall(text)


@dataclass(slots=True)
class _Echo:
    work: Work
    words: list[str]
    input_tokens: int
    done: int
    stops: StopStrings
    finish: Finish | None
    timing: Timing

    def advance(self, now_ns: int) -> StepOutput:
        token_ids: tuple[int, ...] = ()
        text = ""
        if self.finish is None:
            token_ids = (self.done,)  # a token id is the index of its word
            text = self.say(self.words[self.done])
        if not self.timing.first_token_ns:
            admitted = self.timing.admitted_ns
            self.timing = Timing(
                admitted_ns=admitted, prefill_started_ns=admitted, prefill_finished_ns=now_ns, first_token_ns=now_ns
            )
        return StepOutput(
            request_id=self.work.request_id,
            token_ids=token_ids,
            text=text,
            finish=self.finish,
            input_tokens=self.input_tokens,
            output_tokens=self.done,
            timing=self.timing,
        )

    def say(self, word: str) -> str:
        text = self.stops.feed(word)
        self.done += 1
        self.finish = self._finish_now()
        return text if self.stops.hit or self.finish is None else text + self.stops.flush()

    def _finish_now(self) -> Finish | None:
        if self.stops.hit or self.done >= len(self.words):
            return Finish.STOP
        return Finish.LENGTH if self.done >= self.work.sampling.max_tokens else None


class EchoEngine:
    """Deterministic and immediate. Tokens are words; their ids are their positions in the answer."""

    name = "echo"
    adapters = None

    def __init__(
        self,
        *,
        model_name: str = "echo",
        slots: int = 64,
        context_tokens: int = 8192,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._slots = slots
        self._context = context_tokens
        self._clock_ns = clock_ns
        self._live: dict[str, _Echo] = {}
        self._steps = self._prompt_tokens = self._output_tokens = 0
        self._model = ModelInfo(
            name=model_name,
            revision="",
            digest=hashlib.sha256(b"echo").hexdigest(),
            template_digest=hashlib.sha256(b"").hexdigest(),
            dtype="none",
            device="cpu",
            device_reason="echo computes nothing",
            attention="none",
            attention_reason="echo computes nothing",
            context_tokens=context_tokens,
            parameters=0,
            lacks=lacking(HAS),
            batch_invariant=True,
        )

    @property
    def model(self) -> ModelInfo:
        return self._model

    def capacity(self) -> Capacity:
        free = self._slots - len(self._live)
        return Capacity(
            free_slots=free,
            free_tokens=free * self._context,
            max_tokens=self._context,
            slots=self._slots,
            tokens=self._slots * self._context,
        )

    def load(self) -> Load:
        return Load(
            live=len(self._live),
            steps=self._steps,
            prompt_tokens=self._prompt_tokens,
            output_tokens=self._output_tokens,
            computed_tokens=self._prompt_tokens + self._output_tokens,
            useful_tokens=self._prompt_tokens + self._output_tokens,
        )

    def prompt_tokens(self, work: Work) -> int:
        check(work, HAS)
        if not any(message.content.strip() for message in work.messages):
            raise PromptRefused("messages", "1 or more", "there is nothing to answer: send at least one message")
        count = sum(len(pieces(message.content)) for message in work.messages)
        bound = self._context - work.sampling.max_tokens
        if count > bound:
            raise PromptTooLong(count, bound)
        return count

    def prepare(self, work: Work) -> None:
        check(work, HAS)

    def admit(self, work: Work) -> None:
        if work.request_id in self._live:
            raise AlreadyLive
        input_tokens = self.prompt_tokens(work)
        if len(self._live) >= self._slots:
            raise EngineFull
        self._live[work.request_id] = self._start(work, input_tokens)
        self._prompt_tokens += input_tokens

    def _start(self, work: Work, input_tokens: int) -> _Echo:
        asked = [message.content for message in work.messages if message.role == "user"]
        words = pieces(asked[-1] if asked else work.messages[-1].content)
        timing = Timing(admitted_ns=self._clock_ns())
        echo = _Echo(work, words, input_tokens, 0, StopStrings(work.sampling.stop), None, timing)
        if not words:
            echo.finish = Finish.STOP
        for token in work.emitted:
            if echo.finish is None:
                echo.say(words[token])
        return echo

    def step(self) -> list[StepOutput]:
        outputs = [echo.advance(self._clock_ns()) for echo in self._live.values()]
        self._steps += bool(outputs)
        self._output_tokens += sum(len(output.token_ids) for output in outputs)
        for output in outputs:
            if output.last:
                del self._live[output.request_id]
        return outputs

    def cancel(self, request_id: str) -> bool:
        return self._live.pop(request_id, None) is not None

    def live(self) -> frozenset[str]:
        return frozenset(self._live)

    def close(self) -> None:
        self._live.clear()


def open_echo(settings: EngineSettings, home: Path, progress: Callable[[str], None]) -> EchoEngine:
    return EchoEngine(slots=settings.slots, context_tokens=settings.context_tokens or 8192)
