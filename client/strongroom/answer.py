"""What is answered: the events of a stream and the whole, read from the wire."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
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
    choice: int = 0  # which of several answers it is a piece of


@dataclass(frozen=True)
class Choice:
    """One of several answers to one question."""

    text: str
    reasoning: str
    finish_reason: str
    reasoning_unfinished: bool = False
    logprobs: tuple[TokenLogprob, ...] = ()

    def as_released(self) -> dict[str, object]:
        return {"content": self.text, "finish_reason": self.finish_reason, "reasoning": self.reasoning}


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
    """The whole answer and everything known about it. Where `n` asked for several, text, reasoning, finish_reason and
    logprobs are the first one's; the tokens and what the guard says are all of theirs."""

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

    choices: tuple[Choice, ...] = ()  # all answers, the first one too, where there are several

    def as_released(self) -> dict[str, object] | list[dict[str, object]]:
        """The answer as `verify_receipt` takes it."""
        if self.choices:
            return [choice.as_released() for choice in self.choices]
        return Choice(self.text, self.reasoning, self.finish_reason).as_released()


Event = Started | Piece | Answer


class Reading:
    """What one stream has said so far: turns each response into an event."""

    def __init__(self) -> None:
        self.started: Started | None = None
        self.answer: Answer | None = None
        self._pieces: list[Piece] = []

    def event(self, response: pb.StreamGenerateResponse) -> Event | None:
        """None for an event of a newer contract."""
        match response.WhichOneof("event"):
            case "started":
                started = response.started
                self.started = Started(started.request_id, started.model, started.trace_id)
                return self.started
            case "delta":
                delta = response.delta
                piece = Piece(delta.text, delta.reasoning, logprobs_of(delta.logprobs), delta.choice)
                self._pieces.append(piece)
                return piece
            case "outcome":
                count = max(len(response.outcome.choices), 1)
                self.answer = answer_of(response.outcome, [self._whole(index) for index in range(count)])
                return self.answer
        return None

    def _whole(self, choice: int) -> Piece:
        own = [piece for piece in self._pieces if piece.choice == choice]
        text, reasoning = "".join(piece.text for piece in own), "".join(piece.reasoning for piece in own)
        return Piece(text, reasoning, tuple(logprob for piece in own for logprob in piece.logprobs), choice)

    def cut_short(self) -> CallFailed:
        """A stream that ended well, and without its last event."""
        return self.naming(InternalFailure("the stream ended without an outcome", reason="NO_OUTCOME"))

    def naming(self, failure: CallFailed) -> CallFailed:
        """The failure, with the id of the request that had been accepted."""
        if self.started and not failure.request_id:
            failure.request_id = self.started.request_id
        return failure


def whole_answer_of(reply: pb.GenerateResponse) -> Answer:
    """`Generate`'s reply."""
    said: list[pb.GenerateResponse | pb.Choice] = list(reply.choices) or [reply]
    return answer_of(reply.outcome, [Piece(one.text, one.reasoning, logprobs_of(one.logprobs)) for one in said])


def answer_of(outcome: pb.Outcome, said: Sequence[Piece]) -> Answer:
    """`said` is all that each choice says."""
    first = said[0]
    return Answer(
        request_id=outcome.request_id,
        model=outcome.model,
        text=first.text,
        reasoning=first.reasoning,
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
        logprobs=first.logprobs,
        choices=tuple(_choice(one, end) for one, end in zip(said, outcome.choices, strict=False)),
    )


def _choice(said: Piece, end: pb.ChoiceEnd) -> Choice:
    finish_reason = _name(pb.FinishReason, end.finish_reason)
    return Choice(said.text, said.reasoning, finish_reason, end.reasoning_unfinished, said.logprobs)


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
