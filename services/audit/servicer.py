"""gRPC to the log and back."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc

from chassis.answering import answering
from chassis.failures import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from chassis.identity import current_principal
from chassis.replies import Later
from chassis.tracing import carried
from services.audit.asked import no_record, record_id_of
from services.audit.backup_stream import streamed
from services.audit.completeness_reads import CompletenessServicer
from services.audit.custody.custodian import Custodian
from services.audit.custody_methods import CUSTODY_ALLOWED, CustodyMethods
from services.audit.looking import Index
from services.audit.reads import ReadsServicer
from services.audit.recording import RETRY_SECONDS, ActRecorder
from services.audit.records import entries as core
from services.audit.records.planning import Item, Presence
from services.audit.records.validity import is_id
from services.audit.records.views import ERASED
from services.audit.replay_methods import REPLAY_ALLOWED, ReplayMethods
from services.audit.replays.replays import Replays
from services.audit.reveal_methods import REVEAL_ALLOWED, RevealMethods
from services.audit.sequencer import Done, Sequencer
from services.audit.translation import item_of, outcome_message, reply_of
from services.audit.writer import Writer

log = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "strongroom.audit.v1.AuditService"
_GATEWAY = frozenset({"service:gateway"})
_REVIEWER = frozenset({"role:reviewer", "role:auditor"})
_READER = _REVIEWER | {"role:examiner"}
_EXPORTER = frozenset({"role:auditor", "role:examiner"})
_OPERATOR = frozenset({"role:operator", "role:administrator"})  # no content
_SERVICES = frozenset(f"service:{name}" for name in ("gateway", "guard", "inference", "monitor", "tuner"))
ALLOWED = {
    f"/{SERVICE}/Append": _GATEWAY,
    f"/{SERVICE}/RecordAct": _SERVICES,
    f"/{SERVICE}/GetReceipt": _GATEWAY | _READER,
    f"/{SERVICE}/GetOutcome": _GATEWAY,
    f"/{SERVICE}/GetCheckpoint": _GATEWAY | _READER,
    f"/{SERVICE}/GetConsistencyProof": _GATEWAY | _READER,
    f"/{SERVICE}/ListRecords": _READER,
    f"/{SERVICE}/GetRecord": _READER,
    f"/{SERVICE}/SearchRecords": _READER,
    f"/{SERVICE}/ExportRecords": _EXPORTER,
    f"/{SERVICE}/ExportCertificate": _EXPORTER | {"role:administrator"},
    f"/{SERVICE}/BackUp": _REVIEWER | _OPERATOR,
    f"/{SERVICE}/GetCompleteness": _REVIEWER | _OPERATOR,
    f"/{SERVICE}/ExplainDifferences": _REVIEWER,
    f"/{SERVICE}/RebuildIndex": _REVIEWER | _OPERATOR,
    f"/{SERVICE}/CheckIndex": _REVIEWER | _OPERATOR,
    **CUSTODY_ALLOWED,
    **REPLAY_ALLOWED,
    **REVEAL_ALLOWED,
}
MAX_TARGET = 256
MAX_DETAIL_BYTES = 1024 * 1024
BACKUP_RETRY_SECONDS = 60.0


class AuditServicer(ReadsServicer, CompletenessServicer, CustodyMethods, ReplayMethods, RevealMethods):
    """The whole service; what shows records, counts, and erases is in the classes it is made of."""

    def __init__(self, sequencer: Sequencer, writer: Writer, index: Index | None, custodian: Custodian) -> None:
        ReadsServicer.__init__(self, writer, ActRecorder(sequencer), index)
        CustodyMethods.__init__(self, custodian, writer.custody)
        ReplayMethods.__init__(self, Replays(writer.records), self._acts)
        RevealMethods.__init__(self, writer, self._acts)
        self._sequencer = sequencer
        self._backing_up = False

    def register(self, server: grpc.aio.Server) -> None:
        rpc.add_AuditServiceServicer_to_server(self, server)

    async def Append(
        self, request_iterator: AsyncIterator[pb.AppendRequest], context: Context
    ) -> AsyncIterator[pb.AppendResponse]:
        boot = ""

        async def messages() -> AsyncIterator[pb.AppendRequest]:
            nonlocal boot
            async for message in request_iterator:
                if not boot:
                    self._enqueue(Presence(_boot(message), opened=True), _nobody_waits)
                    boot = message.boot_id
                await self._sequencer.room()
                yield message

        def start(item: pb.AppendItem) -> Later:
            later = Later()
            self._enqueue(item_of(item, boot), partial(_answer, item, later, time.time_ns()), item.ByteSize())
            return later

        def pack(replies: list[pb.AppendReply]) -> pb.AppendResponse:
            return pb.AppendResponse(replies=replies)

        try:
            async for response in answering(messages(), context, start, lambda message: message.items, pack):
                yield response
        finally:
            if boot and not self._sequencer.failed.is_set():
                self._leave(boot)

    def _leave(self, boot: str) -> None:
        try:
            self._sequencer.enqueue(Presence(boot, opened=False), _nobody_waits)
        except core.Unavailable:  # stopping: after the restart no stream is open anyway
            log.info("the stream of boot %s closes with audit", boot)

    def _enqueue(self, item: Item, done: Done, size: int | None = None) -> None:
        try:
            self._sequencer.enqueue(item, done, size)
        except core.Unavailable as problem:
            raise Unavailable(str(problem), reason="JOURNAL_FAILED", retry_after_seconds=RETRY_SECONDS) from None

    async def RecordAct(self, request: pb.RecordActRequest, context: Context) -> pb.RecordActResponse:
        if not re.fullmatch("[A-Z][A-Z0-9_]{0,63}", request.action):
            raise InvalidArgument("action must be UPPER_SNAKE, 1 to 64 characters", field="action")
        if len(request.target) > MAX_TARGET:
            raise InvalidArgument(f"target has more than {MAX_TARGET} characters", field="target")
        if len(request.detail) > MAX_DETAIL_BYTES:
            raise InvalidArgument(f"detail has more than {MAX_DETAIL_BYTES} bytes", field="detail")
        service = current_principal.get().name
        await self._acts.record(service, service, request.action, request.target, request.detail, once=request.once)
        return pb.RecordActResponse()

    async def GetReceipt(self, request: pb.GetReceiptRequest, context: Context) -> pb.GetReceiptResponse:
        found = await asyncio.to_thread(self._writer.records.receipt, record_id_of(request.record_id))
        if found is None or not _may_ask(request.party, found[0].tenant, found[0].caller):
            raise no_record()
        summary, receipt = found
        if receipt is None:
            why = "only finished and refused requests have a receipt"
            if summary.state == ERASED:
                why = "no receipt can be made of it any more; the one that its caller was given still verifies"
            raise FailedPrecondition(f"the record is {summary.state}: {why}", reason="NO_RECEIPT")
        return pb.GetReceiptResponse(receipt=receipt)

    async def GetOutcome(self, request: pb.GetOutcomeRequest, context: Context) -> pb.GetOutcomeResponse:
        found = await asyncio.to_thread(self._writer.records.outcome, record_id_of(request.record_id))
        if found is None or not _may_ask(request.party, found[0].tenant, found[0].caller):
            raise no_record()
        summary, outcome = found
        if outcome is None:
            reason = "RECORD_OPEN" if summary.state == "OPEN" else "NO_OUTCOME"
            raise FailedPrecondition(f"the record is {summary.state}: no outcome is kept", reason=reason)
        return outcome_message(outcome)

    async def GetCheckpoint(self, request: pb.GetCheckpointRequest, context: Context) -> pb.GetCheckpointResponse:
        return pb.GetCheckpointResponse(checkpoint=self._writer.checkpoint.note, verifier_key=self._writer.verifier_key)

    async def GetConsistencyProof(
        self, request: pb.GetConsistencyProofRequest, context: Context
    ) -> pb.GetConsistencyProofResponse:
        if request.old_size > request.size:
            raise InvalidArgument(f"old_size is {request.old_size}, more than size, {request.size}", field="old_size")
        try:
            proof = self._writer.consistency(request.old_size, request.size)
        except IndexError:
            raise FailedPrecondition(
                f"the log holds fewer than {request.size} entries: if it signed so many, it was cut back, restored "
                "from an old copy or replaced",
                reason="LOG_SHORTER",
            ) from None
        return pb.GetConsistencyProofResponse(hashes=proof)

    async def BackUp(self, request: pb.BackUpRequest, context: Context) -> AsyncIterator[pb.BackUpResponse]:
        if self._backing_up:
            raise ResourceExhausted(
                "a backup is being made already: wait until it ends",
                reason="BACKUP_RUNNING",
                retry_after_seconds=BACKUP_RETRY_SECONDS,
            )
        if self._custodian.rotating:
            raise ResourceExhausted(
                "the provider's key is being rotated: wait until everything is under the new one",
                reason="KEYS_IN_USE",
                retry_after_seconds=BACKUP_RETRY_SECONDS,
            )
        self._backing_up = True
        try:
            async with self._custodian.key_files:
                await self._acts.of_person(current_principal.get(), "BACKUP_STARTED")
                async for message in streamed(await asyncio.to_thread(self._writer.copied)):
                    yield message
        finally:
            self._backing_up = False


def _answer(item: pb.AppendItem, later: Later, started: int, outcome: core.Outcome | Exception) -> None:
    if isinstance(outcome, core.Unavailable):
        return  # whether it is durable is not known: the gateway sends it again after audit's restart
    later.give(reply_of(item.item_id, outcome))
    if place := carried(item.traceparent):
        sequence = {"strongroom.sequence": item.sequence}
        place.note(f"audit {item.WhichOneof('entry')}", started, time.time_ns(), sequence)


def _nobody_waits(outcome: core.Outcome | Exception) -> None:
    """Of an item whose answer nobody needs."""


def _boot(message: pb.AppendRequest) -> str:
    if not is_id(message.boot_id):
        raise InvalidArgument("boot_id must be 1 to 64 printable ASCII characters", field="boot_id")
    return message.boot_id


def _may_ask(party: pb.Party, tenant: str, caller: str) -> bool:
    """A reviewer may ask for any record; a gateway only for its own caller's."""
    if current_principal.get().kind == "person":
        return True
    return (party.tenant, party.caller) == (tenant, caller)
