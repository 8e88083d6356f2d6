"""The guard as the gateway sees it: one batch stream to each replica, a request staying with one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TypeVar

import grpc
from strongroom.guard.v1 import guard_pb2 as pb

from chassis.failures import Unavailable
from services.gateway.batches import envelope, failure
from services.gateway.guard_replicas import Replicas
from services.gateway.requests.channel import CONTENT, REASONING, TOOL_ARGUMENTS
from services.gateway.requests.neighbours import FilterLost
from services.gateway.requests.outcome import ALLOW, FLAG, REFUSE, Filtered, Finding, Screening
from services.gateway.requests.question import Message

T = TypeVar("T")

OUTDATED_SECONDS = 10.0
# A filter that cannot be had again: what is not checked is not released.
_CANNOT_GO_ON = ("POLICY_UNKNOWN", "FILTER_CANNOT_RESUME")
# Unspecified is the strict case.
_CHANNELS = {
    CONTENT: pb.CHANNEL_CONTENT,
    REASONING: pb.CHANNEL_REASONING,
    TOOL_ARGUMENTS: pb.CHANNEL_TOOL_ARGUMENTS,
}
_SIDES = {CONTENT: "answer", REASONING: "reasoning", TOOL_ARGUMENTS: TOOL_ARGUMENTS}
_VERDICTS = {pb.VERDICT_ALLOW: ALLOW, pb.VERDICT_FLAG: FLAG}


class GuardClient:
    """Screens and filters through the replicas' batch streams."""

    def __init__(self, replicas: Replicas) -> None:
        self.replicas = replicas

    @classmethod
    async def connected(cls, opened: AsyncExitStack, addresses: Sequence[str], token: str) -> GuardClient:
        """With streams to all replicas, until what is `opened` is closed."""
        return cls(await opened.enter_async_context(Replicas(addresses, token).running()))

    def require(self) -> None:
        self.replicas.require()

    async def screen(
        self,
        request_id: str,
        messages: Sequence[Message],
        deadline: float,
        texts: Sequence[str] = (),
        conversation: bytes = b"",
    ) -> Screening:
        asked = [_message(message) for message in messages]
        screen = pb.Screen(request_id=request_id, messages=asked, texts=texts, conversation=conversation)
        return await self._ask(request_id, pb.Item(screen=screen), deadline, partial(_screening, len(texts)))

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
        choice: int = 0,
    ) -> Filtered:
        work = pb.Filter(
            request_id=request_id,
            choice=choice,
            channel=_CHANNELS[channel],
            policy_digest=policy_digest,
            n=n,
            text=text,
            last=last,
            rebuild=released is not None,
            released_chars=released or 0,
        )
        return await self._ask(request_id, pb.Item(filter=work), deadline, partial(_filtered, _SIDES[channel], choice))

    async def policy(self, digest: bytes) -> bytes:
        """The text of a policy bundle, from whichever replica has it: not all load a new one at the same moment."""
        replicas = self.replicas.ranked(digest.hex())
        for replica in replicas:
            try:
                return bytes((await replica.stub.GetPolicy(pb.GetPolicyRequest(policy_digest=digest))).document)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND or replica is replicas[-1]:
                    raise
        raise AssertionError("there is always a replica, or `ranked` raises")

    async def _ask(self, request_id: str, item: pb.Item, deadline: float, read: Callable[[pb.ItemReply], T]) -> T:
        """Whoever asks stops waiting at the request's deadline by itself; the guard is told it.

        What a replica that left has not answered is asked of another: a filter is then found lost, and fed again.
        """
        item = envelope(item, deadline)
        while True:
            replica = self.replicas.ranked(request_id)[0]
            answer = replica.stream.send(item, read)
            item_id = item.item_id
            try:
                return await answer
            except Unavailable:
                if not replica.left:
                    raise
            except asyncio.CancelledError:
                replica.stream.forget(item_id)  # nobody waits for it any more
                raise


def _screening(texts: int, reply: pb.ItemReply) -> Screening:
    if reply.status.code:
        raise failure(reply.status)
    screened = reply.screened
    if screened.texts_screened != texts:  # a guard of an earlier version would let them pass unseen
        raise Unavailable(
            "the guard that was asked looks through no grammars and stop strings: try again without them, or when it "
            "is replaced",
            reason="GUARD_OUTDATED",
            retry_after_seconds=OUTDATED_SECONDS,
        )
    return Screening(
        verdict=_VERDICTS.get(screened.verdict, REFUSE),
        policy_digest=screened.policy_digest,
        rule=screened.rule,
        refusal_text=screened.refusal_text,
        messages=tuple(Message(message.role, message.content) for message in screened.messages),
        findings=_findings(screened.findings, "prompt"),
        unmasked=_findings(screened.text_findings, "prompt"),
    )


def _filtered(side: str, choice: int, reply: pb.ItemReply) -> Filtered:
    if reply.status.code:
        if reply.status.reason == "FILTER_LOST":
            raise FilterLost
        if reply.status.reason in _CANNOT_GO_ON:
            return Filtered("", withheld=True, rule=reply.status.reason)
        raise failure(reply.status)
    filtered = reply.filtered
    findings = _findings(filtered.findings, side, choice)
    return Filtered(filtered.text, findings, withheld=filtered.withheld, rule=filtered.rule)


def _message(message: Message) -> pb.Message:
    return pb.Message(role=message.role, content=message.content)


def _findings(found: Sequence[pb.Finding], side: str, choice: int = 0) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            finding.type,
            finding.start,
            finding.end,
            finding.level,
            side,
            finding.message_index,
            finding.rule,
            choice,
            finding.token,
        )
        for finding in found
    )
