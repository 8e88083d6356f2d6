"""What is asked: messages, the choice of model and parameters, and how both look on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from strongroom.failures import InvalidRequest
from strongroom.gateway.v1 import gateway_pb2 as pb

_PARAMETERS = (
    "temperature", "top_p", "top_k", "seed", "max_tokens", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "min_tokens", "logprobs", "json_schema", "regex", "n",
)  # fmt: skip
_PRIORITIES = {
    "": pb.PRIORITY_UNSPECIFIED,
    "interactive": pb.PRIORITY_INTERACTIVE,
    "standard": pb.PRIORITY_STANDARD,
    "batch": pb.PRIORITY_BATCH,
}


@dataclass(frozen=True)
class Message:
    """One turn: role is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked and how. None and empty mean unset: the model profile's value."""

    messages: tuple[Message, ...]
    model: str = ""
    adapter: str = ""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # by token id
    stop_ids: tuple[int, ...] = ()  # token ids
    min_tokens: int | None = None
    logprobs: int | None = None  # how many alternatives to each token
    json_schema: str | None = None  # as text; of the two grammars one at most
    regex: str | None = None
    n: int | None = None  # answers; unset means one
    subject: str = ""
    idempotency_key: str = ""
    priority: str = ""  # interactive, standard or batch

    @classmethod
    def of(cls, text: str, *, system: str = "", **how: Any) -> Question:
        """A question in one turn."""
        turns = [Message("system", system)] if system else []
        return cls(messages=(*turns, Message("user", text)), **how)

    @property
    def parameters(self) -> dict[str, object]:
        """Those that are set."""
        every: dict[str, object] = {name: getattr(self, name) for name in _PARAMETERS}
        every["stop"] = list(self.stop) or None
        every["stop_ids"] = list(self.stop_ids) or None
        every["logit_bias"] = {str(token): bias for token, bias in self.logit_bias.items()} or None
        return {name: value for name, value in every.items() if value is not None}

    def as_received(self) -> dict[str, object]:
        """The request as `verify_receipt` takes it."""
        return {
            "messages": [{"role": message.role, "content": message.content} for message in self.messages],
            "model": self.model,
            "adapter": self.adapter,
            "parameters": self.parameters,
        }


def prompt_of(question: Question) -> pb.Prompt:
    """The question on the wire. What no field can hold raises InvalidRequest here, and is never quoted."""
    if question.priority not in _PRIORITIES:
        raise InvalidRequest("priority must be interactive, standard or batch", field="prompt.priority")
    prompt = pb.Prompt(priority=_PRIORITIES[question.priority])
    for name in ("model", "adapter", "subject", "idempotency_key"):
        _put(prompt, name, getattr(question, name), f"prompt.{name}")
    for index, message in enumerate(question.messages):
        turn = prompt.messages.add()
        _put(turn, "role", message.role, f"prompt.messages[{index}].role")
        _put(turn, "content", message.content, f"prompt.messages[{index}].content")
    for name in _PARAMETERS:
        if (value := getattr(question, name)) is not None:
            _put(prompt.sampling, name, value, f"prompt.sampling.{name}")
    _put_several(prompt.sampling, question)
    return prompt


def _put_several(sampling: pb.Sampling, question: Question) -> None:
    for name, kind in (("stop", "a sequence of texts"), ("stop_ids", "a sequence of token ids")):
        try:
            getattr(sampling, name).extend(getattr(question, name))
        except (ValueError, TypeError):
            raise InvalidRequest(f"{name} must be {kind}", field=f"prompt.sampling.{name}") from None
    try:
        for token, bias in question.logit_bias.items():
            sampling.logit_bias[token] = bias
    except (ValueError, TypeError, AttributeError):
        wanted = "logit_bias must map token ids to numbers"
        raise InvalidRequest(wanted, field="prompt.sampling.logit_bias") from None
    if question.json_schema is not None and question.regex is not None:
        raise InvalidRequest("json_schema and regex are both set: send one", field="prompt.sampling.regex")


def _put(message: Any, name: str, value: object, field: str) -> None:
    try:
        setattr(message, name, value)
    except (ValueError, TypeError):
        raise InvalidRequest(f"{name} must be {_kind(message, name)}", field=field) from None


def _kind(message: Any, name: str) -> str:
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.cpp_type == field.CPPTYPE_STRING:
        return "a text, and one that UTF-8 can write"
    return "a number that its field can hold: whole and not negative, or a decimal"
