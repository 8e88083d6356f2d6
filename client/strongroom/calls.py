"""The gateway's methods as data: what each sends, how its reply is read, when it may be sent again.

Client and AsyncClient differ only in how they carry these out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from strongroom.answer import Answer, Model, models_of, receipt_of, whole_answer_of
from strongroom.failures import CallFailed
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.known import Link
from strongroom.location import Location, locate
from strongroom.question import Question, prompt_of
from strongroom.retry import nothing_goes_on

DEFAULT_TIMEOUT_SECONDS = 120.0  # of an answer, all attempts together
CALL_SECONDS = 10.0  # at most, of everything that generates nothing
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),  # a peer that vanished without a word is noticed before the deadline
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)

Sent = TypeVar("Sent", bound=Message)
Received = TypeVar("Received", bound=Message)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Method(Generic[Sent, Received]):
    """One method of the gateway."""

    name: str
    sent: type[Sent]
    received: type[Received]

    @property
    def path(self) -> str:
        return f"/strongroom.gateway.v1.GatewayService/{self.name}"

    def serialize(self, message: Sent) -> bytes:
        return message.SerializeToString()

    def deserialize(self, data: bytes) -> Received:
        return self.received.FromString(data)


GENERATE = Method("Generate", pb.GenerateRequest, pb.GenerateResponse)
STREAM_GENERATE = Method("StreamGenerate", pb.StreamGenerateRequest, pb.StreamGenerateResponse)
CANCEL = Method("Cancel", pb.CancelRequest, pb.CancelResponse)
GET_RECEIPT = Method("GetReceipt", pb.GetReceiptRequest, pb.GetReceiptResponse)
GET_CONSISTENCY_PROOF = Method("GetConsistencyProof", pb.GetConsistencyProofRequest, pb.GetConsistencyProofResponse)
LIST_MODELS = Method("ListModels", pb.ListModelsRequest, pb.ListModelsResponse)
UNARY: tuple[Method[Any, Any], ...] = (GENERATE, CANCEL, GET_RECEIPT, GET_CONSISTENCY_PROOF, LIST_MODELS)


@dataclass(frozen=True)
class Call(Generic[Sent, Received, Result]):
    """One unary call and what becomes of its reply."""

    method: Method[Sent, Received]
    request: Sent
    seconds: float
    read: Callable[[Received], Result]
    may_repeat: Callable[[CallFailed], bool]


def ask(question: Question, seconds: float) -> Call[pb.GenerateRequest, pb.GenerateResponse, Answer]:
    """Nothing shows whether a unary call was accepted before it broke: only a key makes sending it again harmless."""
    keyed = bool(question.idempotency_key)
    return Call(
        GENERATE,
        pb.GenerateRequest(prompt=prompt_of(question)),
        seconds,
        whole_answer_of,
        lambda failure: keyed or nothing_goes_on(failure),
    )


def cancel(request_id: str, seconds: float) -> Call[pb.CancelRequest, pb.CancelResponse, bool]:
    request = pb.CancelRequest(request_id=request_id)
    return Call(CANCEL, request, min(seconds, CALL_SECONDS), lambda reply: reply.cancelled, _always)


def receipt(request_id: str, seconds: float) -> Call[pb.GetReceiptRequest, pb.GetReceiptResponse, dict[str, Any]]:
    request = pb.GetReceiptRequest(request_id=request_id)
    return Call(GET_RECEIPT, request, min(seconds, CALL_SECONDS), lambda reply: receipt_of(reply.receipt), _always)


def consistency(
    link: Link, seconds: float
) -> Call[pb.GetConsistencyProofRequest, pb.GetConsistencyProofResponse, Sequence[bytes]]:
    request = pb.GetConsistencyProofRequest(old_size=link.old.size, size=link.new.size)
    return Call(GET_CONSISTENCY_PROOF, request, min(seconds, CALL_SECONDS), lambda reply: list(reply.hashes), _always)


def models(seconds: float) -> Call[pb.ListModelsRequest, pb.ListModelsResponse, list[Model]]:
    return Call(LIST_MODELS, pb.ListModelsRequest(), min(seconds, CALL_SECONDS), models_of, _always)


def stream_request(question: Question) -> pb.StreamGenerateRequest:
    return pb.StreamGenerateRequest(prompt=prompt_of(question))


def _always(failure: CallFailed) -> bool:
    return True


@dataclass(frozen=True)
class Door:
    """Where the gateway is and how a caller shows who it is."""

    address: str
    api_key: str

    @classmethod
    def of(cls, location: Location | None, address: str, api_key: str) -> Door:
        """What is named wins; the rest comes from the environment or a local stack."""
        location = location or locate()
        return cls(address or location.address("gateway"), api_key or location.api_key())

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.api_key}"),)

    def __repr__(self) -> str:
        return f"Door({self.address!r})"  # never the key
