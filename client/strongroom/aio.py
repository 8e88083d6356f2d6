"""The client for asyncio: the words of `strongroom.client.Client`, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

import grpc
from strongroom import calls
from strongroom.answer import Answer, Event, Model, Reading
from strongroom.calls import DEFAULT_TIMEOUT_SECONDS, STREAM_GENERATE, Call, Door, Method, Received, Result, Sent
from strongroom.failures import CallFailed, from_rpc_error
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.known import KnownCheckpoints
from strongroom.location import Location
from strongroom.question import Question
from strongroom.retry import Attempts, Retry


class AsyncClient:
    """One channel, made at the first call and bound to its event loop. Cancelling a task cancels its request."""

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
        self._address, self._known = door.address, known
        self._opened: grpc.aio.Channel | None = None

    def stream(self, question: Question, timeout_seconds: float | None = None) -> AsyncStream:
        """The question is sent at once. Started, pieces, and the Answer with all pieces together."""
        request, attempts = calls.stream_request(question), Attempts(self._retry, self._given(timeout_seconds))
        method = STREAM_GENERATE
        send = self._channel().unary_stream(method.path, method.serialize, method.deserialize)
        return AsyncStream(lambda left: send(request, timeout=left, metadata=self._metadata), attempts, self._saw)

    async def ask(self, question: Question, timeout_seconds: float | None = None) -> Answer:
        """The answer in one piece."""
        answer = await self._carry_out(calls.ask(question, self._given(timeout_seconds)))
        self._saw(answer)
        return answer

    async def models(self) -> list[Model]:
        """What live workers serve now."""
        return await self._carry_out(calls.models(self._seconds))

    async def cancel(self, request_id: str) -> bool:
        """True if the request was still running."""
        return await self._carry_out(calls.cancel(request_id, self._seconds))

    async def receipt(self, request_id: str) -> dict[str, Any]:
        """The receipt of a finished request, against the newest checkpoint that witnesses cosigned, else the newest.
        Raises LogRewritten."""
        receipt = await self._carry_out(calls.receipt(request_id, self._seconds))
        if self._known:
            for link in self._known.links(receipt):
                with link.asked():
                    link.check(await self._carry_out(calls.consistency(link, self._seconds)))
            self._known.keep(receipt)
        return receipt

    async def close(self) -> None:
        """Ends every call that still runs."""
        if self._opened is not None:
            await self._opened.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _channel(self) -> grpc.aio.Channel:
        if self._opened is None:
            self._opened = grpc.aio.insecure_channel(self._address, options=calls.OPTIONS)
        return self._opened

    def _saw(self, answer: Answer) -> None:
        if self._known:
            self._known.saw(answer.receipt)

    def _given(self, timeout_seconds: float | None) -> float:
        return self._seconds if timeout_seconds is None else timeout_seconds

    async def _carry_out(self, call: Call[Sent, Received, Result]) -> Result:
        attempts = Attempts(self._retry, call.seconds)
        method: Method[Sent, Received] = call.method
        send: Any = self._channel().unary_unary(method.path, method.serialize, method.deserialize)
        while True:
            try:
                return call.read(await send(call.request, timeout=attempts.left(), metadata=self._metadata))
            except grpc.aio.AioRpcError as error:
                failure = from_rpc_error(error)
            await asyncio.sleep(attempts.pause_after(failure, call.may_repeat(failure)))


class AsyncStream:
    """The events of one answer, for one task. Leaving it early, by `close`, `async with` or dropping it, cancels."""

    def __init__(
        self, send: Callable[[float], Any], attempts: Attempts, saw: Callable[[Answer], None] = lambda answer: None
    ) -> None:
        self._closed, self._saw = asyncio.Event(), saw
        self._loop = asyncio.get_running_loop()
        self._reading, self._attempts, self._send = Reading(), attempts, send
        self._call = send(attempts.left())

    @property
    def request_id(self) -> str:
        """Empty until the request is accepted."""
        return self._reading.started.request_id if self._reading.started else ""

    @property
    def answer(self) -> Answer | None:
        """None until the answer is whole."""
        return self._reading.answer

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._closed.is_set():
            try:
                response: pb.StreamGenerateResponse | object = await self._call.read()
            except grpc.aio.AioRpcError as error:
                await self._again(self._reading.naming(from_rpc_error(error)))
                continue
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if self._closed.is_set() and not (task and task.cancelling()):  # another task called `close`
                    break
                self.close()
                raise
            if not isinstance(response, pb.StreamGenerateResponse):
                self._closed.set()
                raise self._reading.cut_short()
            event = self._reading.event(response)
            if isinstance(event, Answer):
                await self._finish()
                self._saw(event)
            if event is not None:
                return event
        raise StopAsyncIteration

    def close(self) -> None:
        """Cancels the request unless it is over. A reader in another task sees the stream end."""
        self._closed.set()
        self._call.cancel()

    async def aclose(self) -> None:
        """`close`, for contextlib.aclosing."""
        self.close()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(AttributeError, RuntimeError):  # it was never sent; its loop is closed
            self._loop.call_soon_threadsafe(self._call.cancel)

    async def _again(self, failure: CallFailed) -> None:
        if self._closed.is_set():
            return
        try:
            pause = self._attempts.pause_after(failure, safe=self._reading.started is None)
        except CallFailed:
            self._closed.set()
            raise
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), pause)
        if not self._closed.is_set():
            self._call = self._send(self._attempts.left())

    async def _finish(self) -> None:
        """Reads the status behind the last event: a call left before it looks cancelled to the gateway."""
        self._closed.set()
        with suppress(grpc.aio.AioRpcError):
            while await self._call.read() is not grpc.aio.EOF:
                pass
