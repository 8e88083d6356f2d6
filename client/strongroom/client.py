"""A caller's connection to the gateway, and every word that goes with it.

with Client() as client:
    for event in client.stream(Question.of("What is a letter of credit?")):
        if isinstance(event, Piece):
            print(event.text, end="", flush=True)

AsyncClient has the same words, awaited.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

import grpc
from strongroom import calls
from strongroom.aio import AsyncClient, AsyncStream
from strongroom.answer import Answer, Choice, Event, Model, Piece, Reading, Started, TokenLogprob
from strongroom.calls import DEFAULT_TIMEOUT_SECONDS, STREAM_GENERATE, UNARY, Call, Door, Received, Result, Sent
from strongroom.failures import (
    AlreadyExists,
    CallFailed,
    Cancelled,
    DeadlineExceeded,
    Exhausted,
    InternalFailure,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    from_rpc_error,
)
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.interrupts import InterruptsHeld
from strongroom.known import KnownCheckpoints, LogRewritten
from strongroom.location import Location, NotConfigured
from strongroom.question import Message, Question
from strongroom.retry import OFF, Attempts, Retry
from strongroom.verify import Verification, verify_receipt

__all__ = [
    "DEFAULT_TIMEOUT_SECONDS",
    "OFF",
    "AlreadyExists",
    "Answer",
    "AsyncClient",
    "AsyncStream",
    "CallFailed",
    "Cancelled",
    "Choice",
    "Client",
    "DeadlineExceeded",
    "Event",
    "Exhausted",
    "InternalFailure",
    "InvalidRequest",
    "KnownCheckpoints",
    "Location",
    "LogRewritten",
    "Message",
    "Model",
    "NotConfigured",
    "NotFound",
    "PermissionDenied",
    "Piece",
    "Question",
    "Retry",
    "Started",
    "Stream",
    "TokenLogprob",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Verification",
    "verify_receipt",
]


class Client:
    """One channel, for as many threads as like. Failures are CallFailed; `retry=OFF` tries nothing again."""

    def __init__(
        self,
        location: Location | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        *,
        address: str = "",
        api_key: str = "",
        retry: Retry | None = None,
        known: KnownCheckpoints | None = None,
    ) -> None:
        """Unnamed, address and key come from STRONGROOM_ADDRESS and STRONGROOM_API_KEY, else from a local stack. With
        `known`, every receipt that is asked for has to continue the newest checkpoint that was seen."""
        door = Door.of(location, address, api_key)
        self._seconds, self._retry, self._metadata = timeout_seconds, retry or Retry(), door.metadata
        self._known = known
        self._channel = open_channel(door.address)
        self._unary = {
            method.name: self._channel.unary_unary(method.path, method.serialize, method.deserialize)
            for method in UNARY
        }
        self._stream = self._channel.unary_stream(
            STREAM_GENERATE.path, STREAM_GENERATE.serialize, STREAM_GENERATE.deserialize
        )

    def stream(self, question: Question, timeout_seconds: float | None = None) -> Stream:
        """The question is sent at once. Started, pieces, and the Answer with all pieces together."""
        request, attempts = calls.stream_request(question), Attempts(self._retry, self._given(timeout_seconds))
        return Stream(lambda left: self._stream(request, timeout=left, metadata=self._metadata), attempts, self._saw)

    def ask(self, question: Question, timeout_seconds: float | None = None) -> Answer:
        """The answer in one piece."""
        answer = self._carry_out(calls.ask(question, self._given(timeout_seconds)))
        self._saw(answer)
        return answer

    def models(self) -> list[Model]:
        """What live workers serve now."""
        return self._carry_out(calls.models(self._seconds))

    def cancel(self, request_id: str) -> bool:
        """True if the request was still running."""
        return self._carry_out(calls.cancel(request_id, self._seconds))

    def receipt(self, request_id: str) -> dict[str, Any]:
        """The receipt of a finished request, against the newest checkpoint that witnesses cosigned, else the newest.
        Raises LogRewritten."""
        receipt = self._carry_out(calls.receipt(request_id, self._seconds))
        if self._known:
            for link in self._known.links(receipt):
                with link.asked():
                    link.check(self._carry_out(calls.consistency(link, self._seconds)))
            self._known.keep(receipt)
        return receipt

    def close(self) -> None:
        """Ends every call that still runs."""
        with InterruptsHeld():
            self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _saw(self, answer: Answer) -> None:
        if self._known:
            self._known.saw(answer.receipt)

    def _given(self, timeout_seconds: float | None) -> float:
        return self._seconds if timeout_seconds is None else timeout_seconds

    def _carry_out(self, call: Call[Sent, Received, Result]) -> Result:
        attempts = Attempts(self._retry, call.seconds)
        while True:
            try:
                return call.read(self._reply(call.method.name, call.request, attempts.left()))
            except grpc.RpcError as error:
                failure = from_rpc_error(error)
            time.sleep(attempts.pause_after(failure, call.may_repeat(failure)))

    def _reply(self, name: str, request: Any, left: float) -> Any:
        with InterruptsHeld():
            reply = self._unary[name].future(request, timeout=left, metadata=self._metadata)
        with InterruptsHeld(reply.cancel):
            return reply.result()


class Stream:
    """The events of one answer, for one reader. Leaving it early by `close`, `with`, dropping it or Ctrl-C cancels."""

    def __init__(
        self, send: Callable[[float], Any], attempts: Attempts, saw: Callable[[Answer], None] = lambda answer: None
    ) -> None:
        self._closed, self._saw = False, saw
        self._closing = SimpleQueue[None]()  # from any thread; an Event's lock could be left taken by an interrupt
        self._reading, self._attempts, self._send = Reading(), attempts, send
        with InterruptsHeld():
            self._call = send(attempts.left())

    @property
    def request_id(self) -> str:
        """Empty until the request is accepted."""
        return self._reading.started.request_id if self._reading.started else ""

    @property
    def answer(self) -> Answer | None:
        """None until the answer is whole."""
        return self._reading.answer

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        while not self._closed:
            try:
                with InterruptsHeld(self.close):
                    response: pb.StreamGenerateResponse = next(self._call)
            except StopIteration:
                self._closed = True
                raise self._reading.cut_short() from None
            except grpc.RpcError as error:
                self._again(self._reading.naming(from_rpc_error(error)))
                continue
            event = self._reading.event(response)
            if isinstance(event, Answer):
                self._finish()
                self._saw(event)
            if event is not None:
                return event
        raise StopIteration

    def close(self) -> None:
        """Cancels the request unless it is over. A reader in another thread sees the stream end."""
        self._closed = True
        self._closing.put(None)
        with InterruptsHeld():
            self._call.cancel()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(AttributeError):  # it was never sent
            if not self._closed:  # in here, Ctrl-C would be lost
                self.close()

    def _again(self, failure: CallFailed) -> None:
        if self._closed:
            return
        try:
            pause = self._attempts.pause_after(failure, safe=self._reading.started is None)
        except CallFailed:
            self._closed = True
            raise
        with suppress(Empty):
            self._closing.get(timeout=pause)
            return
        with InterruptsHeld():
            self._call = self._send(self._attempts.left())
            if self._closed:  # closed while it was sent
                self._call.cancel()

    def _finish(self) -> None:
        """Reads the status behind the last event: a call left before it looks cancelled to the gateway."""
        self._closed = True
        with suppress(grpc.RpcError), InterruptsHeld(self._call.cancel):
            for _ in self._call:
                pass


def open_channel(address: str) -> grpc.Channel:
    """Plaintext: gateways listen on loopback, or behind what ends TLS, in this version."""
    return grpc.insecure_channel(address, options=calls.OPTIONS)
