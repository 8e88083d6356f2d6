"""Audit as the gateway sees it: one append stream, whose entries this boot numbers without a gap."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import grpc
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc

from chassis.client import connect
from chassis.errors import from_rpc_error
from chassis.exchange import BatchStream
from chassis.failures import ServiceError
from services.gateway.audit_room import AuditRoom
from services.gateway.batches import envelope, failure
from services.gateway.requests.neighbours import AuditFull, KeyHeld, Party, RecordEnded
from services.gateway.requests.outcome import Accepted, End, ReadBack
from services.gateway.requests.read_back import StoredOutcome, read_back
from services.gateway.requests.record_id import new_request_id
from services.gateway.requests.rejections import Rejection

log = logging.getLogger(__name__)

MAX_PENDING = 16_384  # entries not yet durable; admission bounds the requests that make them
_END_STATES = {
    name.removeprefix("END_STATE_"): pb.EndState.Value(name)
    for name in pb.EndState.keys()  # noqa: SIM118 - no dict
}
T = TypeVar("T")
_ENDED = ("RECORD_ENDED", "NOT_THIS_BOOT", "RECORD_UNKNOWN")


class AuditClient:
    """Appends entries; each call returns when its entry is durable."""

    def __init__(self, stub: rpc.AuditServiceStub, boot_id: str, policy: Callable[[bytes], Awaitable[bytes]]) -> None:
        """`policy` fetches the text of a policy bundle by digest."""
        self._stub, self._boot, self._policy = stub, boot_id, policy
        self._sequence = 0
        self._known_policies: set[bytes] = set()
        self._room = AuditRoom()
        self._stream: BatchStream[pb.AppendItem, pb.AppendReply] = BatchStream(
            "audit", stub.Append, self._pack, lambda message: message.replies, MAX_PENDING
        )

    @classmethod
    async def connected(
        cls,
        opened: AsyncExitStack,
        address: str,
        token: str,
        boot_id: str,
        policy: Callable[[bytes], Awaitable[bytes]],
    ) -> AuditClient:
        """With an append stream, until what is `opened` is closed."""
        channel = await opened.enter_async_context(connect(address, token))
        client = cls(rpc.AuditServiceStub(channel), boot_id, policy)
        await opened.enter_async_context(client._stream)
        return client

    @property
    def stub(self) -> rpc.AuditServiceStub:
        """For calls that are no part of a request's life."""
        return self._stub

    def require(self) -> None:
        self._stream.require_connected()

    def require_room(self) -> None:
        self._room.require()

    def accept(
        self,
        request_id: str,
        party: Party,
        model: str,
        trace_id: str,
        deadline_ms: int,
        job_digests: Sequence[bytes],
        idempotency_key: str,
        fields: Mapping[str, bytes],
    ) -> asyncio.Future[Accepted]:
        accept = pb.Accept(
            party=_party(party),
            sealed_with=party.sealed_with,
            model=model,
            trace_id=trace_id,
            job_digests=job_digests,
            idempotency_key=idempotency_key,
            fields=_fields(fields),
        )
        accept.deadline_time.FromMilliseconds(deadline_ms)
        return self._append(request_id, self._room.hearing(_accepted), accept=accept)

    def refuse(
        self,
        request_id: str,
        party: Party,
        model: str,
        trace_id: str,
        rule: str,
        idempotency_key: str,
        fields: Mapping[str, bytes],
    ) -> asyncio.Future[str]:
        refuse = pb.Refuse(
            party=_party(party),
            model=model,
            trace_id=trace_id,
            rule=rule,
            idempotency_key=idempotency_key,
            fields=_fields(fields),
        )
        return self._append(request_id, self._room.hearing(_receipt), refuse=refuse)

    def release(self, request_id: str, n: int, content: bytes) -> asyncio.Future[None]:
        return self._append(request_id, _durable, release=pb.Release(n=n, content=content))

    def end(
        self, request_id: str, end: End, usage: tuple[int, int], releases: int | None, fields: Mapping[str, bytes]
    ) -> asyncio.Future[str]:
        entry = pb.End(
            state=_END_STATES[end.state],
            releases=releases,
            reason=end.reason,
            finish_reason=end.finish_reason,
            input_tokens=usage[0],
            output_tokens=usage[1],
            fields=_fields(fields),
        )
        return self._append(request_id, _receipt, end=entry)

    def reject(self, rejection: Rejection) -> None:
        """Sends a REJECTED entry; nobody waits for it, and the stream keeps it until it is durable."""
        reject = pb.Reject(
            party=pb.Party(tenant=rejection.caller.tenant, caller=rejection.caller.name),
            trace_id=rejection.trace_id,
            reason=rejection.reason,
            field=rejection.field,
            count=rejection.count,
        )
        self._append(new_request_id(), lambda reply: None, reject=reject)

    async def know_policy(self, digest: bytes) -> None:
        """Records the bundle's text at its first use by this boot; audit keeps one copy."""
        if digest in self._known_policies:
            return
        document = await self._policy(digest)
        act = pb.RecordActRequest(action="POLICY_USED", target=digest.hex(), detail=document, once=True)
        try:
            await self._stub.RecordAct(act)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        self._known_policies.add(digest)

    async def receipt(self, request_id: str, party: Party) -> str:
        """The receipt of a finished request of this party."""
        request = pb.GetReceiptRequest(record_id=request_id, party=_party(party))
        try:
            return (await self._stub.GetReceipt(request)).receipt
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def consistency(self, old_size: int, size: int) -> Sequence[bytes]:
        """Proof that the log of `size` entries begins with that of `old_size`."""
        request = pb.GetConsistencyProofRequest(old_size=old_size, size=size)
        try:
            return (await self._stub.GetConsistencyProof(request)).hashes
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def outcome(self, request_id: str, party: Party) -> ReadBack | None:
        request = pb.GetOutcomeRequest(record_id=request_id, party=_party(party))
        try:
            found = await self._stub.GetOutcome(request)
        except grpc.aio.AioRpcError as error:
            problem = from_rpc_error(error)
            if problem.reason in ("RECORD_OPEN", "NO_OUTCOME"):
                return None
            raise problem from None
        return read_back(
            StoredOutcome(
                request_id=request_id,
                state=found.state,
                rule=found.rule,
                finish_reason=found.finish_reason,
                model=found.model,
                trace_id=found.trace_id,
                usage=(found.input_tokens, found.output_tokens),
                fields={each.name: each.content for each in found.fields},
                receipt=found.receipt,
            )
        )

    def _append(self, request_id: str, read: Callable[[pb.AppendReply], T], **entry: Any) -> asyncio.Future[T]:
        """Sends the entry now: entries of one request arrive in the order of these calls."""
        item = pb.AppendItem(record_id=request_id, sequence=self._sequence, **entry)
        answer = self._stream.send(envelope(item, None), read)
        self._sequence += 1  # only now: an item that the stream did not take leaves no gap
        return answer

    def _pack(self, items: Sequence[pb.AppendItem]) -> pb.AppendRequest:
        return pb.AppendRequest(boot_id=self._boot, items=items)


def _accepted(reply: pb.AppendReply) -> Accepted:
    _durable(reply)
    accepted = reply.accepted
    return Accepted(tuple(accepted.tickets), accepted.log_origin, accepted.expire_time.ToMilliseconds())


def _receipt(reply: pb.AppendReply) -> str:
    _durable(reply)
    return reply.receipt


def _durable(reply: pb.AppendReply) -> None:
    if reply.status.code:
        raise _refusal(reply.status)


def _refusal(status: pb.ItemStatus) -> Exception:
    if status.reason in _ENDED:
        return RecordEnded()
    if status.reason == "IDEMPOTENCY_CONFLICT":
        return KeyHeld(status.other_record_id, status.same_request)
    if status.reason == "JOURNAL_FULL":
        retry = status.retry_after.ToMilliseconds() / 1000
        return AuditFull(status.message, reason=status.reason, retry_after_seconds=retry or None)
    refused: ServiceError = failure(status)
    return refused


def _party(party: Party) -> pb.Party:
    return pb.Party(tenant=party.caller.tenant, caller=party.caller.name, subject=party.subject)


def _fields(fields: Mapping[str, bytes]) -> list[pb.Field]:
    return [pb.Field(name=name, content=content) for name, content in fields.items()]
