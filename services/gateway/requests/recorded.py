"""A request as a record holds it, to be run once more: the model's very input, and nothing of it leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.gateway.requests.channel import CONTENT
from services.gateway.requests.outcome import ALLOW, Filtered, Screening
from services.gateway.requests.question import Adapter, Caller, Message, Question, Sampling

# Members of a request's parameters, by how they are written.
_AS_THEY_ARE = ("max_tokens", "seed", "top_k", "min_tokens", "logprobs", "json_schema", "regex", "n")
_DECIMALS = ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
_LISTS = ("stop", "stop_ids")
PRIORITY = "batch"


@dataclass(frozen=True, slots=True)
class Replayed:
    """The record that a request replays. `sealed_with`: the key that seals it, and is to seal the replay's."""

    record_id: str
    sealed_with: str
    policy_digest: bytes  # of the policy that redacted the messages


@dataclass(frozen=True, slots=True)
class Recorded:
    """`caller`: who asked for the replay, in the record's tenant."""

    question: Question
    caller: Caller
    adapter: Adapter
    replayed: Replayed


def recorded(record_id: str, sealed_with: str, caller: Caller, request_sent: bytes, parameters: bytes) -> Recorded:
    """From the two fields of a record that have it."""
    sent, told = json.loads(request_sent), json.loads(parameters)
    question = Question(
        messages=tuple(Message(message["role"], message["content"]) for message in sent["messages"]),
        model=sent["model"],
        sampling=sampling_of(sent["parameters"]),
        priority=PRIORITY,
        adapter=sent.get("adapter", ""),
    )
    adapter = Adapter(question.adapter, bytes.fromhex(told.get("adapter_digest", "")))
    return Recorded(question, caller, adapter, Replayed(record_id, sealed_with, bytes.fromhex(told["policy_digest"])))


def sampling_of(parameters: Mapping[str, Any]) -> Sampling:
    """What `fields.parameters` wrote. A decimal is read back as the very number that it was written of."""
    biases = parameters.get("logit_bias", {})
    values: dict[str, Any] = {
        **{name: parameters[name] for name in _AS_THEY_ARE if name in parameters},
        **{name: float(parameters[name]) for name in _DECIMALS if name in parameters},
        **{name: tuple(parameters[name]) for name in _LISTS if name in parameters},
        "logit_bias": tuple(sorted((int(token), float(bias)) for token, bias in biases.items())),
    }
    return Sampling(**values)


class NothingOut:
    """In the guard's place for a replay: its messages were redacted when they were recorded, and what is generated of
    them is released to nobody."""

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded

    def require(self) -> None:
        """It is always there."""

    async def screen(
        self,
        request_id: str,
        messages: Sequence[Message],
        deadline: float,
        texts: Sequence[str] = (),
        conversation: bytes = b"",
    ) -> Screening:
        question, replayed = self._recorded.question, self._recorded.replayed
        return Screening(ALLOW, replayed.policy_digest, messages=question.messages)

    async def filter(
        self,
        request_id: str,
        policy_digest: bytes,
        n: int,
        text: str,
        last: bool,
        deadline: float,
        released: int | None = None,
        channel: str = CONTENT,
        choice: int = 0,
    ) -> Filtered:
        return Filtered("")
