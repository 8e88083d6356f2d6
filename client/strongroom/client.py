"""A caller's connection to the gateway: ask, stream, cancel, receipts, models.

with Client() as client:
    for event in client.stream(Question.of("What is a letter of credit?")):
        if isinstance(event, Piece):
            print(event.text, end="", flush=True)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import grpc
from strongroom.failures import CallFailed, from_rpc_error
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.gateway.v1 import gateway_pb2_grpc as rpc
from strongroom.location import Location, locate

DEFAULT_TIMEOUT_SECONDS = 120.0
CANCEL_SECONDS = 5.0
MAX_MESSAGE_BYTES = 8 * 1024 * 1024


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
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
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
        return {name: value for name, value in every.items() if value is not None}

    def as_received(self) -> dict[str, object]:
        """The request as `strongroom.verify.verify_receipt` takes it."""
        return {
            "messages": [{"role": message.role, "content": message.content} for message in self.messages],
            "model": self.model,
            "parameters": self.parameters,
        }


_PARAMETERS = ("temperature", "top_p", "top_k", "seed", "max_tokens")


@dataclass(frozen=True)
class Started:
    """The request is accepted and durably recorded."""

    request_id: str
    model: str
    trace_id: str


@dataclass(frozen=True)
class Piece:
    """A piece of the answer, already in the audit log."""

    text: str
    reasoning: str


@dataclass(frozen=True)
class Model:
    """Something that can be asked."""

    id: str
    context_tokens: int
    workers: int
    engine: str


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

    def as_released(self) -> dict[str, object]:
        """The answer as `strongroom.verify.verify_receipt` takes it."""
        return {"content": self.text, "finish_reason": self.finish_reason, "reasoning": self.reasoning}


class Client:
    """Not for use by several threads at once. Failures are strongroom.failures.CallFailed."""

    def __init__(self, location: Location | None = None, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        location = location or locate()
        self._timeout = timeout_seconds
        self._metadata = (("authorization", f"Bearer {location.api_key()}"),)
        self._channel = open_channel(location.address("gateway"))
        self._gateway: Any = rpc.GatewayServiceStub(self._channel)  # type: ignore[arg-type] # stubs are typed for grpc.aio

    def stream(self, question: Question) -> Iterator[Started | Piece | Answer]:
        """Started, pieces, and the Answer with all pieces together. Leaving early cancels the request."""
        request = pb.StreamGenerateRequest(prompt=_prompt(question))
        call = self._gateway.StreamGenerate(request, timeout=self._timeout, metadata=self._metadata)
        text: list[str] = []
        reasoning: list[str] = []
        try:
            for response in call:
                event = response.WhichOneof("event")
                if event == "started":
                    started = response.started
                    yield Started(started.request_id, started.model, started.trace_id)
                elif event == "delta":
                    text.append(response.delta.text)
                    reasoning.append(response.delta.reasoning)
                    yield Piece(response.delta.text, response.delta.reasoning)
                elif event == "outcome":
                    yield _answer(response.outcome, "".join(text), "".join(reasoning))
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        finally:
            call.cancel()

    def ask(self, question: Question) -> Answer:
        """The answer in one piece."""
        response = self._call("Generate", pb.GenerateRequest(prompt=_prompt(question)), self._timeout)
        return _answer(response.outcome, response.text, response.reasoning)

    def models(self) -> list[Model]:
        """What live workers serve now."""
        response = self._call("ListModels", pb.ListModelsRequest(), self._timeout)
        return [Model(model.id, model.context_tokens, model.workers, model.engine) for model in response.models]

    def cancel(self, request_id: str) -> bool:
        """True if the request was still running."""
        return bool(self._call("Cancel", pb.CancelRequest(request_id=request_id), CANCEL_SECONDS).cancelled)

    def receipt(self, request_id: str) -> dict[str, Any]:
        """The receipt of a finished request, against the newest checkpoint."""
        response = self._call("GetReceipt", pb.GetReceiptRequest(request_id=request_id), self._timeout)
        return _document(response.receipt)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: str, request: Any, timeout: float) -> Any:
        try:
            return getattr(self._gateway, method)(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None


def open_channel(address: str) -> grpc.Channel:
    """Plaintext: gateways listen on loopback, or behind what ends TLS, in this version."""
    return grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)])


def _prompt(question: Question) -> pb.Prompt:
    priority = f"PRIORITY_{question.priority.upper() or 'UNSPECIFIED'}"
    return pb.Prompt(
        messages=[pb.Message(role=message.role, content=message.content) for message in question.messages],
        model=question.model,
        sampling=_sampling(question),
        subject=question.subject,
        idempotency_key=question.idempotency_key,
        priority=pb.Priority.Value(priority),
    )


def _sampling(question: Question) -> pb.Sampling:
    sampling = pb.Sampling(stop=question.stop)
    for name, value in question.parameters.items():
        try:
            if name != "stop":
                setattr(sampling, name, value)
        except (ValueError, TypeError):
            message = f"{name} must be a number that its field can hold: whole and not negative, or a decimal"
            raise CallFailed("INVALID_ARGUMENT", message, field=f"prompt.sampling.{name}") from None
    return sampling


def _answer(outcome: pb.Outcome, text: str, reasoning: str) -> Answer:
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
        findings=[_finding(finding) for finding in outcome.guard.findings],
        receipt_state=_name(pb.ReceiptState, outcome.receipt.state),
        receipt=_document(outcome.receipt),
        trace_id=outcome.trace_id,
        timings={
            descriptor.name: getattr(outcome.timings, descriptor.name) for descriptor in pb.Timings.DESCRIPTOR.fields
        },
    )


def _finding(finding: pb.Finding) -> dict[str, object]:
    return {descriptor.name: getattr(finding, descriptor.name) for descriptor in pb.Finding.DESCRIPTOR.fields}


def _document(receipt: pb.Receipt) -> dict[str, Any]:
    document = json.loads(receipt.document) if receipt.document else {}
    return document if isinstance(document, dict) else {}


def _name(enum: Any, number: int) -> str:
    """`FINISH_REASON_STOP` reads STOP; a number of a newer contract, as itself."""
    if number not in enum.values():
        return str(number)
    prefix = enum.Name(0).removesuffix("UNSPECIFIED")
    return str(enum.Name(number).removeprefix(prefix))
