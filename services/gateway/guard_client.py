"""The guard as the gateway sees it: one batch stream to each replica, a request staying with one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar
from zlib import crc32

from strongroom.guard.v1 import guard_pb2 as pb
from strongroom.guard.v1 import guard_pb2_grpc as rpc

from chassis.client import connect
from chassis.exchange import BatchStream
from services.gateway.batches import envelope, failure
from services.gateway.requests.channel import CONTENT, REASONING
from services.gateway.requests.neighbours import FilterLost
from services.gateway.requests.outcome import ALLOW, FLAG, REFUSE, Filtered, Finding, Screening
from services.gateway.requests.question import Message

T = TypeVar("T")

# A filter that cannot be had again: what is not checked is not released.
_CANNOT_GO_ON = ("POLICY_UNKNOWN", "FILTER_CANNOT_RESUME")
# Unspecified is the strict case.
_CHANNELS = {CONTENT: pb.CHANNEL_CONTENT, REASONING: pb.CHANNEL_REASONING}
_SIDES = {CONTENT: "answer", REASONING: "reasoning"}
_VERDICTS = {pb.VERDICT_ALLOW: ALLOW, pb.VERDICT_FLAG: FLAG}


class GuardClient:
    """Screens and filters through the replicas' batch streams."""

    def __init__(self, replicas: Sequence[rpc.GuardServiceStub]) -> None:
        self._stubs = replicas
        self._streams: list[BatchStream[pb.Item, pb.ItemReply]] = [
            BatchStream("guard", stub.Exchange, _pack, lambda message: message.replies) for stub in replicas
        ]

    @classmethod
    @asynccontextmanager
    async def connected(cls, addresses: Sequence[str], token: str) -> AsyncIterator[GuardClient]:
        """Streams to all replicas while the context is open."""
        async with AsyncExitStack() as opened:
            channels = [await opened.enter_async_context(connect(address, token)) for address in addresses]
            client = cls([rpc.GuardServiceStub(channel) for channel in channels])
            for stream in client._streams:
                await opened.enter_async_context(stream.running())
            yield client

    def require(self) -> None:
        if not any(stream.connected.is_set() for stream in self._streams):
            self._streams[0].require_connected()

    async def screen(self, request_id: str, messages: Sequence[Message], deadline: float) -> Screening:
        screen = pb.Screen(request_id=request_id, messages=[_message(message) for message in messages])
        return await self._ask(request_id, pb.Item(screen=screen), deadline, _screening)

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
    ) -> Filtered:
        work = pb.Filter(
            request_id=request_id,
            channel=_CHANNELS[channel],
            policy_digest=policy_digest,
            n=n,
            text=text,
            last=last,
            rebuild=released is not None,
            released_chars=released or 0,
        )
        return await self._ask(request_id, pb.Item(filter=work), deadline, partial(_filtered, _SIDES[channel]))

    async def policy(self, digest: bytes) -> bytes:
        """The text of a policy bundle, from whichever replica has it."""
        connected = [stub for stub, stream in zip(self._stubs, self._streams) if stream.connected.is_set()]
        reply = await (connected or list(self._stubs))[0].GetPolicy(pb.GetPolicyRequest(policy_digest=digest))
        return bytes(reply.document)

    async def _ask(self, request_id: str, item: pb.Item, deadline: float, read: Callable[[pb.ItemReply], T]) -> T:
        """Whoever asks stops waiting at the request's deadline by itself; the guard is told it."""
        stream = self._stream_of(request_id)
        answer = stream.send(envelope(item, deadline), read)
        try:
            return await answer
        except asyncio.CancelledError:
            stream.forget(item.item_id)  # nobody waits for it any more
            raise

    def _stream_of(self, request_id: str) -> BatchStream[pb.Item, pb.ItemReply]:
        """A request stays with one replica, which has its filter; the others are asked while that one is away."""
        first = crc32(request_id.encode()) % len(self._streams)
        order = self._streams[first:] + self._streams[:first]
        return next((stream for stream in order if stream.connected.is_set()), order[0])


def _pack(items: Sequence[pb.Item]) -> pb.ExchangeRequest:
    return pb.ExchangeRequest(items=items)


def _screening(reply: pb.ItemReply) -> Screening:
    if reply.status.code:
        raise failure(reply.status)
    screened = reply.screened
    return Screening(
        verdict=_VERDICTS.get(screened.verdict, REFUSE),
        policy_digest=screened.policy_digest,
        rule=screened.rule,
        refusal_text=screened.refusal_text,
        messages=tuple(Message(message.role, message.content) for message in screened.messages),
        findings=_findings(screened.findings, "prompt"),
    )


def _filtered(side: str, reply: pb.ItemReply) -> Filtered:
    if reply.status.code:
        if reply.status.reason == "FILTER_LOST":
            raise FilterLost
        if reply.status.reason in _CANNOT_GO_ON:
            return Filtered("", withheld=True, rule=reply.status.reason)
        raise failure(reply.status)
    filtered = reply.filtered
    return Filtered(filtered.text, _findings(filtered.findings, side), withheld=filtered.withheld, rule=filtered.rule)


def _message(message: Message) -> pb.Message:
    return pb.Message(role=message.role, content=message.content)


def _findings(found: Sequence[pb.Finding], side: str) -> tuple[Finding, ...]:
    return tuple(
        Finding(finding.type, finding.start, finding.end, finding.level, side, finding.message_index, finding.rule)
        for finding in found
    )
