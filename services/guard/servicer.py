"""gRPC to the guard's core and back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from strongroom.guard.v1 import guard_pb2 as pb
from strongroom.guard.v1 import guard_pb2_grpc as rpc

from chassis.answering import answering
from chassis.departures import Places
from chassis.errors import code_number
from chassis.failures import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServiceError,
)
from chassis.tracing import carried, span
from services.guard import wire
from services.guard.policy.open_filters import FilterKey, FilterLost, OpenFilters, Turn
from services.guard.policy.output_filter import CannotResume
from services.guard.policy.screening import UnfitMessages, judge, screen
from services.guard.policy.shelf import PolicyShelf, PolicyUnknown
from services.guard.redaction.redactor import redact_prompt
from services.guard.redaction.tokens import passing

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")
Observe = Callable[[pb.Item, pb.ItemReply, float], None]  # an item, its answer, and the seconds between

NAME = "strongroom.guard.v1.GuardService"
MAX_TEXT_BYTES = 256 * 1024
LONG_TEXT = 16_384  # characters; longer ones leave the event loop (a dense table of numbers costs 10 µs a character)

_READERS = frozenset({"role:caller", "role:reviewer"})
ALLOWED = {
    f"/{NAME}/Exchange": frozenset({"service:gateway"}),
    f"/{NAME}/CheckText": _READERS,
    f"/{NAME}/RedactText": _READERS,
    f"/{NAME}/GetPolicy": frozenset({"service:gateway", "service:audit", "role:reviewer"}),
}


class GuardServicer(rpc.GuardServiceServicer):
    """Short work is done at once, on the event loop; long work on a thread, in the order of its filter's pieces."""

    def __init__(
        self,
        shelf: PolicyShelf,
        filters: OpenFilters,
        token_key: bytes,
        max_long_texts: int,
        observe: Observe = lambda item, reply, seconds: None,
    ) -> None:
        self._shelf, self._filters, self._token_key = shelf, filters, token_key
        self._observe = observe
        self._long = Places(max_long_texts)
        self._busy: dict[FilterKey, asyncio.Task[pb.ItemReply]] = {}  # the last piece of a filter that is on a thread

    def Exchange(self, requests: AsyncIterator[pb.ExchangeRequest], context: Context) -> Any:
        return answering(
            requests,
            context,
            self._begin,
            lambda message: message.items,
            lambda replies: pb.ExchangeResponse(replies=replies),
        )

    async def CheckText(self, request: pb.CheckTextRequest, context: Context) -> pb.CheckTextResponse:
        _bounded(request.text)
        terms = self._shelf.in_force.prompt_terms
        judgement = await self._apart(len(request.text), lambda: judge(terms, request.text))
        return pb.CheckTextResponse(
            verdict=wire.VERDICTS[judgement.verdict],
            score=judgement.score,
            rule=judgement.rule,
            stage=judgement.stage,
        )

    async def RedactText(self, request: pb.RedactTextRequest, context: Context) -> pb.RedactTextResponse:
        _bounded(request.text)
        bundle = self._shelf.in_force
        maskings = bundle.maskings_with(passing())
        redaction = await self._apart(len(request.text), lambda: redact_prompt(maskings, request.text, bundle.table))
        return pb.RedactTextResponse(text=redaction.text, findings=wire.findings(redaction.findings))

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: Context) -> pb.GetPolicyResponse:
        try:
            bundle = self._shelf.get(request.policy_digest)
        except PolicyUnknown:
            raise NotFound(
                "policy_digest: no policy of this digest was in force here within 24 hours; leave it empty for the "
                "present one",
                reason="POLICY_UNKNOWN",
                field="policy_digest",
            ) from None
        return pb.GetPolicyResponse(policy_digest=bundle.digest, document=bundle.document)

    def _begin(self, item: pb.Item) -> pb.ItemReply | Awaitable[pb.ItemReply]:
        began = time.perf_counter()
        reply = self._answer(item)
        if isinstance(reply, pb.ItemReply):
            self._observe(item, reply, time.perf_counter() - began)
            return reply
        if isinstance(reply, asyncio.Task):  # it stays ours: nobody who waits for it may cancel it
            reply.add_done_callback(lambda task: self._note(item, task, began))
            return reply
        return self._observed(item, reply, began)

    async def _observed(self, item: pb.Item, work: Awaitable[pb.ItemReply], began: float) -> pb.ItemReply:
        reply = await work
        self._observe(item, reply, time.perf_counter() - began)
        return reply

    def _note(self, item: pb.Item, task: asyncio.Task[pb.ItemReply], began: float) -> None:
        if not task.cancelled() and not task.exception():
            self._observe(item, task.result(), time.perf_counter() - began)

    def _answer(self, item: pb.Item) -> pb.ItemReply | Awaitable[pb.ItemReply]:
        work = item.WhichOneof("work")
        if work == "screen":
            size = sum(len(message.content) for message in item.screen.messages) + sum(map(len, item.screen.texts))
            if size > LONG_TEXT:
                return self._long_work(item, lambda: asyncio.to_thread(_reply, item, lambda: self._screen(item)))
            return _reply(item, lambda: self._screen(item))
        if work == "filter":
            key = wire.key_of(item.filter)
            if key in self._busy or len(item.filter.text) > LONG_TEXT:
                return self._in_turn(item, key)
            return _reply(item, lambda: self._filter(item))
        return _reply(item, _no_work)

    async def _long_work(self, item: pb.Item, work: Callable[[], Awaitable[pb.ItemReply]]) -> pb.ItemReply:
        if not self._long.take():
            return _failed(item, self._overloaded())
        try:
            return await work()
        finally:
            self._long.leave()

    def _in_turn(self, item: pb.Item, key: FilterKey) -> asyncio.Task[pb.ItemReply]:
        """Pieces of one filter one after the other, in the order in which they came. The task is ours: it ends even
        when the stream that asked for it does not live so long."""
        before = self._busy.get(key)

        async def piece() -> pb.ItemReply:
            if before:
                await asyncio.wait([before])
            return await self._long_work(item, lambda: self._filter_on_thread(item))

        def done(task: asyncio.Task[pb.ItemReply]) -> None:
            if self._busy.get(key) is task:
                del self._busy[key]

        task = self._busy[key] = asyncio.create_task(piece())
        task.add_done_callback(done)
        return task

    async def _filter_on_thread(self, item: pb.Item) -> pb.ItemReply:
        try:
            turn = self._turn(item)
        except ServiceError as failure:
            return _failed(item, failure)
        reply = await asyncio.to_thread(_reply, item, lambda: _run(item, turn))
        if reply.HasField("filtered"):
            self._filters.keep(turn)
        return reply

    def _screen(self, item: pb.Item) -> pb.ItemReply:
        if (place := carried(item.traceparent)) is None:
            return self._screened(item)
        with span("screen", place) as current:
            reply = self._screened(item)
            current.set_attributes(wire.about_screening(item.screen, reply.screened))
            return reply

    def _screened(self, item: pb.Item) -> pb.ItemReply:
        bundle = self._shelf.in_force
        try:
            tokens = wire.tokens_of(self._token_key, item.screen)
            screening = screen(bundle, wire.messages_of(item.screen), item.screen.texts, tokens)
        except UnfitMessages as unfit:
            raise InvalidArgument(str(unfit), reason="INVALID_ITEM") from None
        return pb.ItemReply(
            item_id=item.item_id, screened=wire.screened(screening, bundle.digest, len(item.screen.texts))
        )

    def _filter(self, item: pb.Item) -> pb.ItemReply:
        turn = self._turn(item)
        reply = _run(item, turn)
        self._filters.keep(turn)
        return reply

    def _turn(self, item: pb.Item) -> Turn:
        piece = item.filter
        if not piece.request_id:
            raise InvalidArgument("filter.request_id: is empty; send the request's id", reason="INVALID_ITEM")
        try:
            return self._filters.begin(wire.key_of(piece), piece.policy_digest, wire.piece_of(piece))
        except FilterLost:
            raise FailedPrecondition(
                "no filter here that this piece could follow; send the whole text with rebuild", reason="FILTER_LOST"
            ) from None
        except PolicyUnknown:
            raise FailedPrecondition(
                "policy_digest: this policy was not in force here within 24 hours; end the answer withheld",
                reason="POLICY_UNKNOWN",
            ) from None

    async def _apart(self, size: int, work: Callable[[], T]) -> T:
        if size <= LONG_TEXT:
            return work()
        if not self._long.take():
            raise self._overloaded()
        try:
            return await asyncio.to_thread(work)
        finally:
            self._long.leave()

    def _overloaded(self) -> ResourceExhausted:
        return ResourceExhausted(
            f"{self._long.bound} long texts are being judged already; try again shortly",
            reason="OVERLOADED",
            retry_after_seconds=self._long.seconds_until_room(),
        )


def _run(item: pb.Item, turn: Turn) -> pb.ItemReply:
    if (place := carried(item.traceparent)) is None:
        return _filtered(item, turn)
    with span("filter", place) as current:
        reply = _filtered(item, turn)
        current.set_attributes(wire.about_filtering(item.filter, reply.filtered))
        return reply


def _filtered(item: pb.Item, turn: Turn) -> pb.ItemReply:
    try:
        return pb.ItemReply(item_id=item.item_id, filtered=wire.filtered(turn.run()))
    except CannotResume as refusal:
        raise FailedPrecondition(str(refusal), reason="FILTER_CANNOT_RESUME") from None


def _reply(item: pb.Item, work: Callable[[], pb.ItemReply]) -> pb.ItemReply:
    try:
        if item.HasField("deadline_time") and _passed(item.deadline_time):
            raise DeadlineExceeded("the item's deadline passed before it was begun")
        return work()
    except ServiceError as failure:
        return _failed(item, failure)


def _passed(deadline: Timestamp) -> bool:
    """By hand: Timestamp's own methods take ten times as long."""
    return deadline.seconds * 1_000_000_000 + deadline.nanos <= time.time_ns()


def _failed(item: pb.Item, failure: ServiceError) -> pb.ItemReply:
    status = pb.ItemStatus(code=code_number(failure.code), reason=failure.reason, message=str(failure))
    if failure.retry_after_seconds is not None:
        status.retry_after.FromMilliseconds(int(failure.retry_after_seconds * 1000))
    return pb.ItemReply(item_id=item.item_id, status=status)


def _no_work() -> pb.ItemReply:
    raise InvalidArgument("work: is unset; set screen or filter", reason="INVALID_ITEM")


def _bounded(text: str) -> None:
    size = len(text.encode())
    if size > MAX_TEXT_BYTES:
        raise InvalidArgument(
            f"text: has {size} bytes, at most {MAX_TEXT_BYTES}; send it in parts", field="text", reason="TEXT_TOO_LONG"
        )
