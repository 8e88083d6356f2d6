"""What a worker asks of an engine: plain values and one Protocol, no model library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from services.inference.engine.adapters import AdapterHost
from services.inference.engine.sampling import EngineRefusal as EngineRefusal
from services.inference.engine.sampling import ImpossibleSampling as ImpossibleSampling
from services.inference.engine.sampling import Sampling as Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of the conversation. `role` is system, user or assistant; a template may know more."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One request. `emitted` are token ids that another worker already published: the engine continues after them."""

    request_id: str
    messages: tuple[Message, ...]
    sampling: Sampling
    emitted: tuple[int, ...] = ()
    rank: int = 0  # of its class, 0 the most urgent: who goes first and who gives way, no token of the answer
    adapter: str = ""  # name of a loaded adapter; empty: the model as it is
    scope: str = ""  # within which what was computed of prompts may be shared; empty: not at all
    deadline_ns: int = 0  # monotonic; from then on no step holds it, and its holder tells of its end. 0: none
    traceparent: str = ""  # of W3C Trace Context, for an engine that leaves spans of its own

    @property
    def prefix_scope(self) -> str:
        """Within which its prefix is shared; empty: not at all. An adapter makes other keys and values."""
        return "" if self.adapter else self.scope


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """What can be admitted now. With a free slot a request is taken; it runs at once if prompt + max_tokens ≤
    free_tokens, else it waits inside the engine."""

    free_slots: int
    free_tokens: int
    max_tokens: int  # bound of prompt + max_tokens for one request: the context, or the KV arena if that is smaller
    slots: int
    tokens: int  # size of the whole KV arena
    yields_to: int = 0  # requests of a rank below this one are taken though no slot is free: others give way


class Finish(StrEnum):
    STOP = "STOP"  # end-of-sequence token or a stop string
    LENGTH = "LENGTH"  # sampling.max_tokens reached


class Failure(StrEnum):
    """Why the engine gave up a request: a reason code, never exception text."""

    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    ENGINE_ERROR = "ENGINE_ERROR"
    NOT_FINITE = "NOT_FINITE"  # the model produced NaN or infinity for this request
    GRAMMAR_TOO_COMPLEX = "GRAMMAR_TOO_COMPLEX"  # its limits were reached, at compiling it or within the answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Phase borders of one request on this engine, `time.monotonic_ns`; 0 = not reached yet."""

    admitted_ns: int
    prefill_started_ns: int = 0
    prefill_finished_ns: int = 0
    first_token_ns: int = 0


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely the model held a token of the answer, and the most likely ones in its place."""

    token: bytes  # its text, which may end within a character
    logprob: float
    top: tuple[tuple[bytes, float], ...]
    end: int  # characters of the answer, those held back included, up to and with this token's


@dataclass(frozen=True, kw_only=True, slots=True)
class StepOutput:
    """What one step added to one request.

    With `finish` or `failure` set it is the request's last output and its slot is already free. Before that `text`
    may be "" while characters or a possible stop string are held back. Texts of all outputs, put together, are the
    answer: cut before the stop string, special tokens left out.
    """

    request_id: str
    token_ids: tuple[int, ...]  # new this step
    text: str  # newly decodable text
    finish: Finish | None
    input_tokens: int  # of the prompt as rendered
    output_tokens: int  # all generated so far, those emitted elsewhere included
    timing: Timing
    failure: Failure | None = None
    logprobs: tuple[TokenLogprob, ...] = ()  # of this step's tokens, where they were asked for
    prompt: Sequence[int] = ()  # its tokens as rendered, the engine's own list; empty where it has none

    @property
    def last(self) -> bool:
        return self.finish is not None or self.failure is not None


def joined(outputs: Sequence[StepOutput]) -> StepOutput:
    """Several of one request and one step, in order, as one."""
    return replace(
        outputs[-1],
        token_ids=tuple(token for output in outputs for token in output.token_ids),
        text="".join(output.text for output in outputs),
        logprobs=tuple(logprob for output in outputs for logprob in output.logprobs),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """What runs, for listing and for the record."""

    name: str
    revision: str
    digest: str  # SHA-256 in hex of what the weights were made from; "" when unknown
    template_digest: str  # SHA-256 in hex of the chat template
    dtype: str
    device: str
    device_reason: str
    attention: str
    attention_reason: str
    context_tokens: int
    parameters: int
    vocabulary: int = 0  # token ids are below it; 0 = the engine knows none
    lacks: tuple[str, ...] = ()  # names of FEATURES; what a request can ask for of them is refused
    version: str = ""  # of the engine, where it is not this suite's own
    quantization: str = ""  # of the weights; empty: they are in `dtype`
    quantization_loss: str = ""  # what is expected of it
    platform: str = ""  # what it computes with, where that decides the last bits
    batch_invariant: bool = False  # batch mates change no token


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """Counters since start, for metrics. Ratios are made by the reader."""

    live: int
    steps: int
    prompt_tokens: int  # prefilled
    output_tokens: int
    computed_tokens: int  # rows × columns run through the model, padding and failed passes included, wrong guesses not
    useful_tokens: int  # of those, the ones that were a request's own token
    waiting: int = 0  # of the live ones, those without a slot
    preempted: int = 0  # times that a request gave its slot to a more urgent one
    memory_short: int = 0  # passes that memory did not suffice for
    prefix_asked: int = 0  # tokens of requests whose start was looked for
    prefix_found: int = 0  # of those, the ones that need not be computed
    requeued: int = 0  # requests that waited, because of that, until another one had ended
    guessed: int = 0  # tokens run in advance because the text had gone on so before
    guessed_right: int = 0  # of those, the ones that were then chosen


class PromptTooLong(EngineRefusal):
    """Prompt and max_tokens together do not fit the context."""

    reason = "PROMPT_TOO_LONG"

    def __init__(self, prompt_tokens: int, bound_tokens: int) -> None:
        super().__init__(
            "messages",
            str(bound_tokens),
            f"the prompt has {prompt_tokens} tokens, at most {max(bound_tokens, 0)} fit beside max_tokens: "
            "shorten the messages or lower max_tokens",
        )
        self.prompt_tokens = prompt_tokens
        self.bound_tokens = bound_tokens


class PromptRefused(EngineRefusal):
    """The messages cannot be rendered: empty, or a role or order that the chat template does not know."""

    reason = "PROMPT_REFUSED"


class EngineFull(EngineRefusal):
    """No slot now, or too many wait already. The worker should have asked `capacity` first."""

    reason = "ENGINE_FULL"

    def __init__(self) -> None:
        super().__init__("capacity", "0", "the engine is full: try again when a request has ended")


class AlreadyLive(EngineRefusal):
    reason = "ALREADY_LIVE"

    def __init__(self) -> None:
        super().__init__("request_id", "unique", "a request with this id is already running on this engine")


class EngineDied(Exception):
    """The engine is gone for good, with all that it held: raised from whatever it is asked. Its worker must end."""


class Engine(Protocol):
    """A continuously batching engine, driven by one thread. Others may call `prompt_tokens` and `prepare`."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> ModelInfo: ...

    @property
    def adapters(self) -> AdapterHost | None:
        """None: it runs none."""
        ...

    def capacity(self) -> Capacity: ...

    def load(self) -> Load: ...

    def prompt_tokens(self, work: Work) -> int:
        """Length of the rendered prompt. Raises PromptTooLong, PromptRefused."""
        ...

    def prepare(self, work: Work) -> None:
        """What takes a while and needs no step, before `admit`: compiles a grammar. Raises EngineRefusal."""
        ...

    def admit(self, work: Work) -> None:
        """It joins the next step, or the first one after that in which it fits. Raises EngineRefusal."""
        ...

    def step(self) -> Sequence[StepOutput]:
        """One step for what is live. Never raises for the fault of a request: that request ends with a failure."""
        ...

    def cancel(self, request_id: str) -> bool:
        """Drop it and free its slot at once, with no further output. False: it was not live."""
        ...

    def live(self) -> frozenset[str]: ...

    def close(self) -> None: ...
