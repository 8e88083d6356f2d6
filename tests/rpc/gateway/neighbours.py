"""A gateway's neighbours: small real servicers that assert what they are told, and a queue that runs a script."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from strongroom.audit.v1 import audit_pb2, audit_pb2_grpc
from strongroom.guard.v1 import guard_pb2, guard_pb2_grpc

from chassis.answering import answering
from chassis.failures import FailedPrecondition, NotFound
from services.audit.records.ticket import TicketKey
from services.gateway.queue_client import Working
from services.gateway.requests.neighbours import Job, ServedModel
from services.gateway.requests.outcome import Made, Step


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


def _once(event: asyncio.Event, reply: Any) -> Any:
    """The reply, or an awaitable of it while the event is not set."""

    async def later() -> Any:
        await event.wait()
        return reply

    return reply if event.is_set() else later()


@dataclass
class GuardServicer(guard_pb2_grpc.GuardServiceServicer):
    """Allows everything and filters nothing, unless told otherwise."""

    verdict: int = guard_pb2.VERDICT_ALLOW
    losing: bool = False  # the next piece finds its filter lost
    unable: str = ""  # the reason with which a rebuild is refused
    digest: bytes = b"p" * 32
    lacking: bool = False  # it has no policy of any digest
    unmaskable: str = ""  # found in texts beside the messages
    outdated: bool = False  # it knows nothing of such texts
    filters: asyncio.Event = field(default_factory=_set)  # while it is cleared, no filter answers
    items: list[guard_pb2.Item] = field(default_factory=list)

    def answer(self, item: guard_pb2.Item) -> Any:
        self.items.append(item)
        reply = guard_pb2.ItemReply(item_id=item.item_id)
        if item.HasField("screen"):
            reply.screened.verdict, reply.screened.policy_digest = self.verdict, self.digest
            reply.screened.texts_screened = 0 if self.outdated else len(item.screen.texts)
            for index, text in enumerate(item.screen.texts):
                if self.unmaskable and self.unmaskable in text:
                    reply.screened.text_findings.add(type="MOBILE_NUMBER", message_index=index)
            reply.screened.refusal_text = "此内容违反使用政策"
            reply.screened.messages.add(role="system", content="ours")
            for message in item.screen.messages:
                reply.screened.messages.add(role=message.role, content=message.content)
        elif self.losing and not item.filter.rebuild:
            self.losing = False
            reply.status.code, reply.status.reason = 9, "FILTER_LOST"
        elif self.unable and item.filter.rebuild:
            reply.status.code, reply.status.reason = 9, self.unable
        else:
            reply.filtered.text = item.filter.text[item.filter.released_chars :]
        return reply if item.HasField("screen") else _once(self.filters, reply)

    async def Exchange(self, requests, context):  # type: ignore[no-untyped-def]
        pack = lambda replies: guard_pb2.ExchangeResponse(replies=replies)
        async for message in answering(requests, context, self.answer, lambda message: message.items, pack):
            yield message

    async def GetPolicy(self, request, context):  # type: ignore[no-untyped-def]
        if self.lacking:
            raise NotFound("no such policy", field="policy_digest")
        return guard_pb2.GetPolicyResponse(policy_digest=request.policy_digest, document=b"policy: text")


@dataclass
class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """Keeps entries in memory and checks that their sequence has no gap."""

    entries: list[audit_pb2.AppendItem] = field(default_factory=list)
    boots: set[str] = field(default_factory=set)
    acts: list[audit_pb2.RecordActRequest] = field(default_factory=list)
    refusing: str = ""  # the reason with which accepts are refused
    told: audit_pb2.GetOutcomeResponse | None = None  # of the request that holds the idempotency key
    running: bool = False  # it has no outcome yet
    taking: audit_pb2.TakeReplayResponse = field(default_factory=audit_pb2.TakeReplayResponse)
    taken: list[audit_pb2.TakeReplayRequest] = field(default_factory=list)
    ticket_key: bytes = b"t" * 32
    durable: asyncio.Event = field(default_factory=_set)  # while it is cleared, no entry becomes so

    def take(self, item: audit_pb2.AppendItem) -> Any:
        assert item.sequence == len(self.entries), "a boot numbers its entries without a gap"
        self.entries.append(item)
        reply = audit_pb2.AppendReply(item_id=item.item_id)
        kind = item.WhichOneof("entry")
        if kind == "accept" and self.refusing:
            code = 8 if self.refusing == "JOURNAL_FULL" else 6
            reply.status.code, reply.status.reason, reply.status.other_record_id = code, self.refusing, "other"
            reply.status.retry_after.seconds = 30 if code == 8 else 0
            reply.status.same_request = self.told is not None
        elif kind == "accept":
            expires_ms, origin = item.accept.deadline_time.ToMilliseconds(), "dev.test/log"
            key = TicketKey(self.ticket_key, origin)
            reply.accepted.tickets.extend(
                key.mac(item.record_id, expires_ms, job_digest) for job_digest in item.accept.job_digests
            )
            reply.accepted.log_origin = origin
            reply.accepted.expire_time.CopyFrom(item.accept.deadline_time)
        elif kind in ("refuse", "end"):
            reply.receipt = "{}"
        return _once(self.durable, reply)

    def kinds(self) -> list[str]:
        return [str(item.WhichOneof("entry")) for item in self.entries]

    async def TakeReplay(self, request, context):  # type: ignore[no-untyped-def]
        self.taken.append(request)
        return self.taking

    async def FinishReplay(self, request, context):  # type: ignore[no-untyped-def]
        assert self.kinds()[-1] == "end" and self.entries[-1].record_id == request.replay_record_id, "it has ended"
        judgement = audit_pb2.Judgement(verdict="DIVERGED", tokens=1, replay_record_id=request.replay_record_id)
        judgement.choice, judgement.token = 0, 1
        return audit_pb2.FinishReplayResponse(judgement=judgement)

    async def Append(self, requests, context):  # type: ignore[no-untyped-def]
        async def named():  # type: ignore[no-untyped-def]
            async for message in requests:
                self.boots.add(message.boot_id)
                yield message

        pack = lambda replies: audit_pb2.AppendResponse(replies=replies)
        async for message in answering(named(), context, self.take, lambda message: message.items, pack):
            yield message

    async def GetReceipt(self, request, context):  # type: ignore[no-untyped-def]
        own = {item.record_id: item.accept.party for item in self.entries if item.HasField("accept")}
        if own.get(request.record_id) != request.party:
            raise NotFound("no finished record of this caller has this id", field="record_id")
        return audit_pb2.GetReceiptResponse(receipt='{"later":true,"state":"COSIGNED"}')

    async def GetConsistencyProof(self, request, context):  # type: ignore[no-untyped-def]
        if request.size > 7:
            raise FailedPrecondition("the log holds fewer", reason="LOG_SHORTER")
        return audit_pb2.GetConsistencyProofResponse(hashes=[bytes([request.old_size]) * 32])

    async def GetOutcome(self, request, context):  # type: ignore[no-untyped-def]
        assert (request.record_id, request.party.tenant, request.party.caller) == ("other", "development", "developer")
        if self.running:
            raise FailedPrecondition("the record is open", reason="RECORD_OPEN")
        return self.told

    async def RecordAct(self, request, context):  # type: ignore[no-untyped-def]
        self.acts.append(request)
        return audit_pb2.RecordActResponse()


@dataclass
class ScriptedQueue:
    """A queue whose workers follow a script."""

    script: list[Step] = field(default_factory=lambda: [Step("Hello"), Step(" world", "STOP", "", 7, 2)])
    scripts: dict[int, list[Step]] = field(default_factory=dict)  # of choices with one of their own
    jobs: list[Job] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    adapters: dict[str, bytes] = field(default_factory=dict)  # what its workers have loaded

    def require(self, model: str, priority: str, jobs: int = 1) -> None: ...

    def job(self, request_id, messages, model, sampling, caller, deadline_ms, priority, adapter, choice=0) -> Job:  # type: ignore[no-untyped-def]
        job_id = f"{request_id}.{choice}" if choice else request_id
        return Job(job_id, repr((messages, sampling, adapter)).encode(), model, priority, deadline_ms)

    async def submit(self, job, accepted, choice=0):  # type: ignore[no-untyped-def]
        self.jobs.append(job)
        return _Script(list(self.scripts.get(choice, self.script)), job.job_id, self.cancelled)

    async def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def forget(self, job_id: str) -> None: ...

    def working(self) -> list[Working]:
        return [Working({"model": "tiny", "batch_invariant": True}, {"tone": b"d"})]

    def models(self):  # type: ignore[no-untyped-def]
        return {"tiny": ServedModel("tiny", "echo", 256, 1, b"", 0, self.adapters)}


@dataclass
class _Script:
    steps: list[Step]
    job_id: str
    cancelled: list[str]

    async def take(self) -> list[Step]:
        if not self.steps:
            await asyncio.Event().wait()
        return [self.steps.pop(0)]

    def made(self) -> Made:
        return Made()

    async def stop(self) -> None:
        self.cancelled.append(self.job_id)
