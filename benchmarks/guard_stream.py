"""A gateway's stream to the guard, with many requests at once; and a stream that answers at once, for the floor."""

from __future__ import annotations

import asyncio
import multiprocessing
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import uvloop
from strongroom.guard.v1 import guard_pb2 as pb
from strongroom.guard.v1 import guard_pb2_grpc as rpc

from benchmarks.guard_texts import ENGLISH
from chassis.answering import answering
from chassis.exchange import BatchStream
from chassis.identity import Principal, digest
from chassis.server import serving

QUESTION = "What is the difference between a forward contract and a futures contract?"
PIECE = 40  # characters
TOKEN = "floor"
UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


class Asking:
    """The asking side of one batch stream."""

    def __init__(self, stub: rpc.GuardServiceStub) -> None:
        self._stream: BatchStream[pb.Item, pb.ItemReply] = BatchStream(
            "guard", stub.Exchange, _pack, lambda message: message.replies
        )

    @classmethod
    @asynccontextmanager
    async def through(cls, channel: grpc.aio.Channel) -> AsyncIterator[Asking]:
        asking = cls(rpc.GuardServiceStub(channel))
        async with asking._stream:
            await asking._stream.connected.wait()
            yield asking

    async def load(self, callers: int, pieces: int, seconds: float, beat: float = 0.0) -> int:
        """Callers that ask again as soon as they are answered, or each with one item every `beat` seconds, all at
        once; returns how many requests were."""
        until, done = time.perf_counter() + seconds, 0

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < until:
                await self._request(pieces, beat)
                done += 1

        await asyncio.gather(*(caller() for _ in range(callers)))
        return done

    async def _request(self, pieces: int, beat: float) -> None:
        request_id = secrets.token_hex(16)
        screen = pb.Screen(request_id=request_id, messages=[pb.Message(role="user", content=QUESTION)])
        policy = (await self._ask(screen=screen)).screened.policy_digest
        for n in range(pieces):
            await next_beat(beat)
            text = QUESTION if pieces == 1 else ENGLISH[n * PIECE : (n + 1) * PIECE]
            work = pb.Filter(
                request_id=request_id,
                channel=pb.CHANNEL_CONTENT,
                policy_digest=policy,
                n=n,
                text=text,
                last=n + 1 == pieces,
            )
            await self._ask(filter=work)

    async def _ask(self, **work: Any) -> pb.ItemReply:
        item = pb.Item(traceparent=UNSAMPLED, **work)
        item.deadline_time.FromSeconds(int(time.time()) + 60)
        reply = await self._stream.send(item)
        if reply.status.code:
            raise RuntimeError(f"an item was refused: {reply.status.reason}")
        return reply


async def next_beat(seconds: float) -> None:
    """The same moment for all who wait for it."""
    if seconds:
        await asyncio.sleep(seconds - time.monotonic() % seconds)


def _pack(items: Sequence[pb.Item]) -> pb.ExchangeRequest:
    return pb.ExchangeRequest(items=items)


@dataclass(frozen=True)
class Floor:
    """A running process whose stream answers at once."""

    pid: int
    address: str


@contextmanager
def answering_at_once() -> Iterator[Floor]:
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    process = context.Process(target=_serve, args=(told,), daemon=True)
    process.start()
    try:
        assert process.pid is not None
        yield Floor(process.pid, f"127.0.0.1:{told.get(timeout=30)}")
    finally:
        process.terminate()
        process.join(30)


class _AtOnce(rpc.GuardServiceServicer):
    def Exchange(self, requests: AsyncIterator[pb.ExchangeRequest], context: Any) -> Any:
        return answering(requests, context, _reply, lambda message: message.items, _packed)


def _reply(item: pb.Item) -> pb.ItemReply:
    return pb.ItemReply(item_id=item.item_id)


def _packed(replies: list[pb.ItemReply]) -> pb.ExchangeResponse:
    return pb.ExchangeResponse(replies=replies)


def _serve(told: Any) -> None:
    known = {digest(TOKEN): Principal("service", "gateway")}
    allowed = {"/strongroom.guard.v1.GuardService/Exchange": frozenset({"service:gateway"})}

    async def serve() -> None:
        def register(server: grpc.aio.Server) -> None:
            rpc.add_GuardServiceServicer_to_server(_AtOnce(), server)  # type: ignore[abstract]

        async with serving("127.0.0.1:0", register, known=known, allowed=allowed) as port:
            told.put(port)
            await asyncio.Event().wait()

    uvloop.run(serve())
