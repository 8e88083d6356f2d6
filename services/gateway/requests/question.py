"""What a caller asks, and the bounds within which it can be answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chassis.failures import InvalidArgument
from services.gateway.requests.sampling import Able, check_sampling
from services.gateway.requests.sampling import Profile as Profile
from services.gateway.requests.sampling import Sampling as Sampling

ROLES = ("system", "user", "assistant")
PRIORITIES = ("interactive", "standard", "batch")
MAX_MESSAGES = 256
MAX_PROMPT_CHARS = 262_144  # all messages together; the model's own bound in tokens comes on top
MAX_ID_CHARS = 128  # subject, idempotency key


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Adapter:
    """The LoRA adapter of a request, and what exactly it is."""

    name: str = ""
    digest: bytes = b""


NO_ADAPTER = Adapter()
ADAPTER_SIGN = ":"  # between model and adapter where one word names both; no adapter's name has one


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


def check(question: Question, able: Able, profile: Profile) -> None:
    """Raises InvalidArgument with the field, the bound and the remedy for the first thing that is wrong."""
    _check_messages(question.messages)
    check_sampling(question.sampling, able, profile)
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


def _check_id(name: str, value: str) -> None:
    if len(value) > MAX_ID_CHARS:
        raise InvalidArgument(
            f"prompt.{name} has {len(value)} characters, the bound is {MAX_ID_CHARS}: send an opaque id",
            field=f"prompt.{name}",
        )
