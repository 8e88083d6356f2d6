"""A small service of the guard's contract behind the real boundary, and what it leaves in spans and logs."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import grpc
import pytest
from strongroom.guard.v1 import guard_pb2 as pb
from strongroom.guard.v1 import guard_pb2_grpc

from chassis.answering import answering
from chassis.client import connect
from chassis.exchange import BatchStream
from chassis.identity import Principal, digest
from chassis.logs import JsonLines
from chassis.server import Health, serving

GATEWAY_TOKEN, AUDIT_TOKEN = "token-of-the-gateway", "token-of-audit"
KNOWN = {
    digest(GATEWAY_TOKEN): Principal("service", "gateway"),
    digest(AUDIT_TOKEN): Principal("service", "audit"),
    digest("key-of-a-person"): Principal("person", "dev", "development", frozenset({"caller"})),
}
PREFIX = "/strongroom.guard.v1.GuardService/"
ALLOWED = {
    PREFIX + "Exchange": frozenset({"service:gateway"}),
    PREFIX + "CheckText": frozenset({"service:gateway", "role:caller"}),
    PREFIX + "RedactText": frozenset({"role:reviewer"}),
}  # GetPolicy is not listed


class ScriptedGuard(guard_pb2_grpc.GuardServiceServicer):
    """Does in CheckText what the test wants, and answers items of Exchange one by one."""

    def __init__(self) -> None:
        self.check: Callable[[pb.CheckTextRequest, Any], Any] = lambda request, context: pb.CheckTextResponse()
        self.answer: Callable[[pb.Item], Any] = lambda item: pb.ItemReply(item_id=item.item_id)
        self.batches: list[list[str]] = []  # what came, message by message
        self.pieces: AsyncIterator[pb.ExchangeResponse] | None = None  # instead of answering
        self.metadata: list[tuple[str, Any]] = []
        self.remaining_seconds: list[float | None] = []
        self.left = asyncio.Event()  # an Exchange has ended, its clean-up included

    async def CheckText(self, request: pb.CheckTextRequest, context: Any) -> pb.CheckTextResponse:
        self.metadata = list(context.invocation_metadata())
        self.remaining_seconds.append(context.time_remaining())
        result = self.check(request, context)
        return await result if asyncio.iscoroutine(result) else result

    async def RedactText(self, request: pb.RedactTextRequest, context: Any) -> pb.RedactTextResponse:
        return pb.RedactTextResponse(text=request.text)

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: Any) -> pb.GetPolicyResponse:
        return pb.GetPolicyResponse()

    async def Exchange(self, requests: Any, context: Any) -> AsyncIterator[pb.ExchangeResponse]:
        self.remaining_seconds.append(context.time_remaining())
        responses = self.pieces or answering(requests, context, self._start, self._items, _responses)
        try:
            async with aclosing(responses):  # type: ignore[type-var]
                async for response in responses:
                    yield response
        finally:
            self.left.set()

    def _items(self, message: pb.ExchangeRequest) -> Any:
        if message.items:
            self.batches.append([item.screen.request_id for item in message.items])
        return message.items

    def _start(self, item: pb.Item) -> Any:
        return self.answer(item)

    @property
    def seen(self) -> list[str]:
        """Every item that came, in order, those sent again too."""
        return [name for batch in self.batches for name in batch]


def _responses(replies: list[pb.ItemReply]) -> pb.ExchangeResponse:
    return pb.ExchangeResponse(replies=replies)


@pytest.fixture
def guard() -> ScriptedGuard:
    return ScriptedGuard()


Serve = Callable[..., Any]


@pytest.fixture
def serve(guard: ScriptedGuard) -> Serve:
    """`async with serve() as port`: the scripted guard behind the real boundary."""

    @asynccontextmanager
    async def opened(address: str = "127.0.0.1:0", health: Health | None = None, **more: Any) -> AsyncIterator[int]:
        def register(server: grpc.aio.Server) -> None:
            guard_pb2_grpc.add_GuardServiceServicer_to_server(guard, server)

        options = {"known": KNOWN, "allowed": ALLOWED, "grace_seconds": 1, **more}
        async with serving(address, register, health=health, **options) as port:
            yield port

    return opened


@pytest.fixture
async def stub(serve: Serve) -> AsyncIterator[guard_pb2_grpc.GuardServiceStub]:
    """Calls the scripted guard as the gateway would."""
    async with serve() as port, connect(f"127.0.0.1:{port}", GATEWAY_TOKEN, deadline_seconds=5) as channel:
        yield guard_pb2_grpc.GuardServiceStub(channel)


@pytest.fixture
async def stream_to() -> AsyncIterator[Callable[..., Any]]:
    """`await stream_to(port)`: a running BatchStream; all of them end with the test."""
    async with AsyncExitStack() as opened:

        async def open_stream(port: int, token: str = GATEWAY_TOKEN, wait: bool = True, **more: Any) -> Any:
            channel = await opened.enter_async_context(connect(f"127.0.0.1:{port}", token))
            stub = guard_pb2_grpc.GuardServiceStub(channel)
            stream: BatchStream[pb.Item, pb.ItemReply] = BatchStream(
                "guard", stub.Exchange, lambda items: pb.ExchangeRequest(items=items), lambda m: m.replies, **more
            )
            await opened.enter_async_context(stream)
            if wait:
                await asyncio.wait_for(stream.connected.wait(), 10)
            return stream

        yield open_stream


@pytest.fixture
def item() -> Callable[[str], pb.Item]:
    return lambda name: pb.Item(screen=pb.Screen(request_id=name))


@pytest.fixture
def logged() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The JSON lines written during the test, exactly as a service writes them."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines("guard"))
    root = logging.getLogger()
    root.addHandler(handler)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.removeHandler(handler)
