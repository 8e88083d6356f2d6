"""A real guard on a loopback port, and a batch stream to it."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from strongroom.guard.v1 import guard_pb2 as pb
from strongroom.guard.v1 import guard_pb2_grpc as rpc

from chassis.identity import Principal, digest
from chassis.server import Health, serving
from services.guard.policy.loading import load_bundle
from services.guard.policy.open_filters import OpenFilters
from services.guard.policy.shelf import PolicyShelf
from services.guard.reloading import PolicyFile
from services.guard.servicer import ALLOWED, GuardServicer
from services.guard.settings import SHIPPED_POLICY

KNOWN = {
    digest("gateway"): Principal("service", "gateway"),
    digest("developer"): Principal("person", "developer", "development", frozenset({"caller"})),
}


@dataclass
class Served:
    """A guard, and calls to it in somebody's name."""

    channel: grpc.aio.Channel
    file: PolicyFile
    path: Path
    shelf: PolicyShelf
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def stub(self) -> rpc.GuardServiceStub:
        return rpc.GuardServiceStub(self.channel)

    def named(self, who: str = "developer") -> grpc.aio.Metadata:
        return grpc.aio.Metadata(("authorization", f"Bearer {who}"))

    async def exchange(self, *items: pb.Item) -> list[pb.ItemReply]:
        """Sends the items as one batch; their replies in the order of the items."""
        for item in items:
            item.item_id = item.item_id or next(self.ids)
        call = self.stub.Exchange(metadata=self.named("gateway"))
        await call.write(pb.ExchangeRequest(items=items))
        await call.done_writing()
        replies: dict[int, pb.ItemReply] = {}
        async for message in call:
            replies |= {reply.item_id: reply for reply in message.replies}
        return [replies[item.item_id] for item in items]

    async def one(self, item: pb.Item) -> pb.ItemReply:
        (reply,) = await self.exchange(item)
        return reply


@pytest.fixture
async def guard(tmp_path: Path) -> AsyncIterator[Served]:
    path = tmp_path / "policy.yaml"
    path.write_bytes(SHIPPED_POLICY.read_bytes())
    shelf = PolicyShelf(load_bundle(path), tmp_path / "kept", time.time)
    servicer = GuardServicer(shelf, OpenFilters(shelf, 100, 60, time.monotonic), b"k" * 32, max_long_texts=2)
    health = Health()
    await health.ready()

    def register(server: grpc.aio.Server) -> None:
        rpc.add_GuardServiceServicer_to_server(servicer, server)

    async with (
        serving("127.0.0.1:0", register, known=KNOWN, allowed=ALLOWED, health=health, grace_seconds=0) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Served(channel, PolicyFile(path, shelf, health), path, shelf)


Screened = Callable[[str], Awaitable[pb.Screened]]


@pytest.fixture
def screened(guard: Served) -> Screened:
    async def ask(text: str) -> pb.Screened:
        messages = [pb.Message(role="user", content=text)]
        return (await guard.one(pb.Item(screen=pb.Screen(request_id="r", messages=messages)))).screened

    return ask
