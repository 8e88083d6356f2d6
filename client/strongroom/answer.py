"""What is answered: the events of a stream and the whole, read from the wire."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from strongroom.failures import CallFailed, InternalFailure
from strongroom.gateway.v1 import gateway_pb2 as pb


@dataclass(frozen=True)
class Started:
    """The request is accepted and durably recorded."""

    request_id: str
    model: str
    trace_id: str


@dataclass(frozen=True)
class TokenLogprob:
    """How likely the model held a token of the answer, and the likeliest ones in its place."""

    token: bytes  # may begin and end within a character
    logprob: float
    top: tuple[tuple[bytes, float], ...]


@dataclass(frozen=True)
class Piece:
    """A piece of the answer, already in the audit log. Of its two texts, the reasoning comes first."""

    text: str
    reasoning: str
    logprobs: tuple[TokenLogprob, ...] = ()  # of tokens whose text is out with this piece


@dataclass(frozen=True)
class Model:
    """Something that can be asked."""

    id: str
    context_tokens: int
    workers: int
    engine: str
    adapters: tuple[str, ...] = ()  # what Question.adapter takes


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The whole answer and everything known about it."""

    request_id: str
    model: str
    text: str
    reasoning: str
    finish_reason: str  # STOP, LENGTH, TOOL, REFUSED or WITHHELD
    input_tokens: int
    output_tokens: int
    verdict: str  # ALLOW, FLAG or REFUSE
    rule: str
    findings: list[dict[str, object]] = field(default_factory=list)
    receipt_state: str
    receipt: dict[str, Any]
    trace_id: str
    timings: dict[str, float]  # milliseconds
    reasoning_unfinished: bool = False  # it ended within its reasoning: there is no text
    read_back: bool = False  # given before, to the same request under the same idempotency key
    logprobs: tuple[TokenLogprob, ...] = ()  # of the text's tokens, up to the first character that the guard changed

    def as_released(self) -> dict[str, object]:
        """The answer as `verify_receipt` takes it."""
        return {"content": self.text, "finish_reason": self.finish_reason, "reasoning": self.reasoning}


Event = Started | Piece | Answer


class Reading:
    """What one stream has said so far: turns each response into an event."""

    def __init__(self) -> None:
        self.started: Started | None = None
        self.answer: Answer | None = None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._logprobs: list[TokenLogprob] = []

    def event(self, response: pb.StreamGenerateResponse) -> Event | None:
        """None for an event of a newer contract."""
        match response.WhichOneof("event"):
            case "started":
                started = response.started
                self.started = Started(started.request_id, started.model, started.trace_id)
                return self.started
            case "delta":
                self._text.append(response.delta.text)
                self._reasoning.append(response.delta.reasoning)
                logprobs = logprobs_of(response.delta.logprobs)
                self._logprobs += logprobs
                return Piece(response.delta.text, response.delta.reasoning, logprobs)
            case "outcome":
                texts = "".join(self._text), "".join(self._reasoning)
                self.answer = answer_of(response.outcome, *texts, tuple(self._logprobs))
                return self.answer
        return None

    def cut_short(self) -> CallFailed:
        """A stream that ended well, and without its last event."""
        return self.naming(InternalFailure("the stream ended without an outcome", reason="NO_OUTCOME"))

    def naming(self, failure: CallFailed) -> CallFailed:
        """The failure, with the id of the request that had been accepted."""
        if self.started and not failure.request_id:
            failure.request_id = self.started.request_id
        return failure


def answer_of(outcome: pb.Outcome, text: str, reasoning: str, logprobs: tuple[TokenLogprob, ...] = ()) -> Answer:
    return Answer(
        request_id=outcome.request_id,
        model=outcome.model,
        text=text,
        reasoning=reasoning,
        finish_reason=_name(pb.FinishReason, outcome.finish_reason),
        input_tokens=outcome.usage.input_tokens,
        output_tokens=outcome.usage.output_tokens,
        verdict=_name(pb.Verdict, outcome.guard.verdict),
        rule=outcome.guard.rule,
        findings=[_members(finding) for finding in outcome.guard.findings],
        receipt_state=_name(pb.ReceiptState, outcome.receipt.state),
        receipt=receipt_of(outcome.receipt),
        trace_id=outcome.trace_id,
        timings=_members(outcome.timings),
        reasoning_unfinished=outcome.reasoning_unfinished,
        read_back=outcome.read_back,
        logprobs=logprobs,
    )


def logprobs_of(told: Iterable[pb.TokenLogprob]) -> tuple[TokenLogprob, ...]:
    return tuple(TokenLogprob(one.token, one.logprob, tuple((a.token, a.logprob) for a in one.top)) for one in told)


def models_of(response: pb.ListModelsResponse) -> list[Model]:
    return [
        Model(model.id, model.context_tokens, model.workers, model.engine, tuple(model.adapters))
        for model in response.models
    ]


def receipt_of(receipt: pb.Receipt) -> dict[str, Any]:
    """Empty where there is none that can be read: what is empty verifies nothing."""
    try:
        document = json.loads(receipt.document) if receipt.document else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _members(message: pb.Finding | pb.Timings) -> dict[str, Any]:
    return {descriptor.name: getattr(message, descriptor.name) for descriptor in message.DESCRIPTOR.fields}


def _name(enum: Any, number: int) -> str:
    """`FINISH_REASON_STOP` reads STOP; a number of a newer contract, as itself."""
    if number not in enum.values():
        return str(number)
    prefix = enum.Name(0).removesuffix("UNSPECIFIED")
    return str(enum.Name(number).removeprefix(prefix))
