"""What a caller asks, and the bounds within which it can be answered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from chassis.failures import InvalidArgument

T = TypeVar("T")

ROLES = ("system", "user", "assistant")
PRIORITIES = ("interactive", "standard", "batch")
MAX_MESSAGES = 256
MAX_PROMPT_CHARS = 262_144  # all messages together; the model's own bound in tokens comes on top
MAX_STOPS, MAX_STOP_CHARS = 4, 64
MAX_SEED = 2**53 - 1  # exact in every JSON reader, so that receipts are the same everywhere
MAX_ID_CHARS = 128  # subject, idempotency key


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen; None where the caller left it to the model's profile."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Adapter:
    """The LoRA adapter of a request, and what exactly it is."""

    name: str = ""
    digest: bytes = b""


NO_ADAPTER = Adapter()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who holds the credential."""

    tenant: str
    name: str


@dataclass(frozen=True, slots=True)
class Question:
    """One request as the caller sent it."""

    messages: tuple[Message, ...]
    model: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    subject: str = ""
    idempotency_key: str = ""
    priority: str = "standard"
    adapter: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """A model's values for what a caller leaves unset."""

    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 0
    max_tokens: int = 512

    def resolve(self, asked: Sampling, seed: int) -> Sampling:
        """Every value set; `seed` is what the gateway drew, used where the caller chose none."""
        return Sampling(
            temperature=_or(asked.temperature, self.temperature),
            top_p=_or(asked.top_p, self.top_p),
            top_k=_or(asked.top_k, self.top_k),
            seed=_or(asked.seed, seed),
            max_tokens=_or(asked.max_tokens, self.max_tokens),
            stop=asked.stop,
        )


def check(question: Question, context_tokens: int) -> None:
    """Raises InvalidArgument with the field, the bound and the remedy for the first thing that is wrong.

    `context_tokens` bounds max_tokens; 0 means that the model's context is not known yet.
    """
    _check_messages(question.messages)
    _check_sampling(question.sampling, context_tokens)
    _check_id("adapter", question.adapter)
    _check_id("subject", question.subject)
    _check_id("idempotency_key", question.idempotency_key)
    if question.priority not in PRIORITIES:
        raise InvalidArgument(f"prompt.priority must be one of {', '.join(PRIORITIES)}", field="prompt.priority")


def _check_messages(messages: Sequence[Message]) -> None:
    if not messages:
        raise InvalidArgument("prompt.messages is empty: send at least one user message", field="prompt.messages")
    if len(messages) > MAX_MESSAGES:
        raise InvalidArgument(
            f"prompt.messages has {len(messages)} messages, the bound is {MAX_MESSAGES}: drop older turns",
            field="prompt.messages",
        )
    for index, message in enumerate(messages):
        where = f"prompt.messages[{index}]"
        if message.role not in ROLES:
            raise InvalidArgument(f"{where}.role must be one of {', '.join(ROLES)}", field=f"{where}.role")
        if not message.content.strip():
            raise InvalidArgument(f"{where}.content is empty: send some text", field=f"{where}.content")
    if messages[-1].role != "user":
        last = f"prompt.messages[{len(messages) - 1}].role"
        raise InvalidArgument(f"{last} must be user: the last message is the question", field=last)
    total = sum(len(message.content) for message in messages)
    if total > MAX_PROMPT_CHARS:
        raise InvalidArgument(
            f"prompt.messages holds {total} characters, the bound is {MAX_PROMPT_CHARS}: shorten the prompt",
            field="prompt.messages",
            reason="PROMPT_TOO_LONG",
        )


def _check_sampling(sampling: Sampling, context_tokens: int) -> None:
    _check_range("temperature", sampling.temperature, 0, 2)
    _check_range("top_p", sampling.top_p, 0, 1, above=True)
    _check_range("top_k", sampling.top_k, 0, 1000)
    _check_range("seed", sampling.seed, 0, MAX_SEED)
    _check_range("max_tokens", sampling.max_tokens, 1, context_tokens or 2**31 - 1)
    if len(sampling.stop) > MAX_STOPS:
        raise InvalidArgument(
            f"prompt.sampling.stop has {len(sampling.stop)} strings, the bound is {MAX_STOPS}",
            field="prompt.sampling.stop",
        )
    if any(not 0 < len(stop) <= MAX_STOP_CHARS for stop in sampling.stop):
        raise InvalidArgument(
            f"each of prompt.sampling.stop must have 1 to {MAX_STOP_CHARS} characters", field="prompt.sampling.stop"
        )


def _check_range(name: str, value: float | None, low: float, high: float, above: bool = False) -> None:
    if value is None:
        return
    if not math.isfinite(value) or not low <= value <= high or (above and value == low):
        bound = f"above {low}, at most {high}" if above else f"{low} to {high}"
        raise InvalidArgument(
            f"prompt.sampling.{name} is out of range: it must be {bound}", field=f"prompt.sampling.{name}"
        )


def _check_id(name: str, value: str) -> None:
    if len(value) > MAX_ID_CHARS:
        raise InvalidArgument(
            f"prompt.{name} has {len(value)} characters, the bound is {MAX_ID_CHARS}: send an opaque id",
            field=f"prompt.{name}",
        )


def _or(value: T | None, default: T) -> T:
    return default if value is None else value
