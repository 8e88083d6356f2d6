"""What people read of the log over gRPC: lists of records, and single ones, masked."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc

from chassis.failures import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from chassis.identity import current_principal
from services.audit.asked import no_record, reason_of, record_id_of, required_reason
from services.audit.export_stream import messages
from services.audit.exporting import Export
from services.audit.index.identifiers import normalized
from services.audit.index.search import Filter, counted, search
from services.audit.index_upkeep import checking, rebuilding
from services.audit.log.note import SignedCheckpoint
from services.audit.looking import Index, IndexReader
from services.audit.record_filter import filter_of, told
from services.audit.recording import ActRecorder
from services.audit.views_translation import POLICY_USED, Beside, record_message, summary_message
from services.audit.writer import Writer

Context = grpc.aio.ServicerContext[Any, Any]

DEFAULT_PAGE, MAX_PAGE = 20, 200
MOST_EXPORTS = 2
MAX_ACTS = 100
CHECK_RETRY_SECONDS = 60.0


class ReadsServicer(rpc.AuditServiceServicer):
    def __init__(self, writer: Writer, acts: ActRecorder, index: Index | None) -> None:
        self._writer, self._acts, self._index = writer, acts, IndexReader(index)
        self._checking, self._exporting = False, 0

    async def ListRecords(self, request: pb.ListRecordsRequest, context: Context) -> pb.ListRecordsResponse:
        count, before, reason = _count(request.page_size), _page(request.page_token), reason_of(request.reason)
        summaries, following = await asyncio.to_thread(self._writer.records.summaries, before, count)
        await self._acts.of_person(current_principal.get(), "RECORDS_LISTED", reason=reason, records=len(summaries))
        return pb.ListRecordsResponse(
            records=map(summary_message, summaries), next_page_token="" if following is None else str(following)
        )

    async def SearchRecords(self, request: pb.SearchRecordsRequest, context: Context) -> pb.SearchRecordsResponse:
        count, before, reason = _count(request.page_size), _page(request.page_token), reason_of(request.reason)
        wanted = filter_of(request.filter, self._writer.pseudonym)
        page = await self._index.look(lambda store: search(store, wanted, before, count))
        asked: dict[str, Any] = {"reason": reason, "filter": await self._told(wanted), "records": len(page.found)}
        await self._acts.of_person(current_principal.get(), "RECORDS_SEARCHED", **asked)
        return pb.SearchRecordsResponse(
            records=[summary_message(summary) for _, summary in page.found],
            next_page_token="" if page.following is None else str(page.following),
            count=page.total,
            indexed_entries=self._index.kept.leaves,
            log_entries=self._writer.tree.size,
        )

    async def ExportRecords(
        self, request: pb.ExportRecordsRequest, context: Context
    ) -> AsyncIterator[pb.ExportRecordsResponse]:
        reason, before = required_reason(request.reason), _page(request.page_token)
        wanted, signed = filter_of(request.filter, self._writer.pseudonym), self._checkpoint_of(request.checkpoint_size)
        if found := self._writer.open_differences():
            raise FailedPrecondition(
                f"the workers' counts and the log's differ in {len(found)} places, so that records may be missing: see "
                "`strongroom audit completeness`, and explain them",
                reason="COUNTS_DIFFER",
            )
        if self._exporting >= MOST_EXPORTS:
            raise ResourceExhausted(
                f"{MOST_EXPORTS} exports run already: wait until one ends",
                reason="EXPORTS_RUNNING",
                retry_after_seconds=CHECK_RETRY_SECONDS,
            )
        self._exporting += 1
        try:
            asked: dict[str, Any] = {"reason": reason, "filter": await self._told(wanted), "checkpoint": signed.size}
            await self._acts.of_person(current_principal.get(), "EXPORT_STARTED", **asked, resumed=before is not None)
            yield await self._export_start(wanted, signed)
            export = Export(self._index.kept.store, self._writer.stored, self._writer.tree, signed)
            coming = messages(export.records(wanted, before), export.left_out)
            while (message := await self._index.look(lambda _: next(coming, None))) is not None:
                if message.HasField("end"):
                    ended = asked | {"records": message.end.records, "left_out": vars(export.left_out)}
                    await self._acts.of_person(current_principal.get(), "RECORDS_EXPORTED", **ended)
                yield message
        finally:
            self._exporting -= 1

    async def ExportCertificate(
        self, request: pb.ExportCertificateRequest, context: Context
    ) -> pb.ExportCertificateResponse:
        erasure_id, signed = record_id_of(request.erasure_id, "erasure_id"), self._checkpoint_of(0)
        writer = self._writer
        act = await self._index.look(
            lambda store: Export(store, writer.stored, writer.tree, signed).certificate(erasure_id)
        )
        if act is None:
            raise NotFound(
                "no erasure of this id is carried out and indexed: `strongroom audit hold list` shows those ordered",
                reason="ERASURE_UNKNOWN",
                field="erasure_id",
            )
        await self._acts.of_person(current_principal.get(), "CERTIFICATE_EXPORTED", erasure_id)
        return pb.ExportCertificateResponse(checkpoint=signed.note, verifier_key=writer.verifier_key, act=act)

    def _checkpoint_of(self, size: int) -> SignedCheckpoint:
        """A new export is under what the index has: nothing below is then left out for being too young."""
        try:
            return self._writer.checkpoint_of(size or self._index.kept.leaves)
        except IndexError:
            raise FailedPrecondition(f"the log has fewer than {size} entries", reason="LOG_SHORTER") from None

    async def _export_start(self, wanted: Filter, signed: SignedCheckpoint) -> pb.ExportRecordsResponse:
        start = pb.ExportStart(checkpoint=signed.note, verifier_key=self._writer.verifier_key)
        with suppress(ResourceExhausted):  # too many to count in time: it goes on without a total
            start.matching = await self._index.look(lambda store: counted(store, wanted))
        return pb.ExportRecordsResponse(start=start)

    async def _told(self, wanted: Filter) -> dict[str, Any]:
        keys = await self._index.look(lambda store: store.keys)
        return told(wanted, lambda identifier: keys.token(wanted.tenant, normalized(identifier)))

    async def GetRecord(self, request: pb.GetRecordRequest, context: Context) -> pb.GetRecordResponse:
        record_id, reason = record_id_of(request.record_id), reason_of(request.reason)
        record = await asyncio.to_thread(self._writer.records.record, record_id)
        if record is None:
            raise no_record()
        beside = await self._beside(record_id, record.policy_digest) if self._index.there else Beside(None, [])
        await self._acts.of_person(current_principal.get(), "RECORD_VIEWED", record_id, view="masked", reason=reason)
        return record_message(record, beside)

    async def _beside(self, record_id: str, policy: str) -> Beside:
        """What other entries tell of a record. A record is shown without it rather than not at all."""
        try:
            return await self._index.look(
                lambda store: Beside(
                    store.act_named(POLICY_USED, policy) if policy else None,
                    store.acts_on(record_id, MAX_ACTS, "audit"),
                )
            )
        except (ResourceExhausted, Unavailable):
            return Beside(None, [])

    async def RebuildIndex(
        self, request: pb.RebuildIndexRequest, context: Context
    ) -> AsyncIterator[pb.RebuildIndexResponse]:
        index = self._index.kept
        await self._acts.of_person(current_principal.get(), "INDEX_REBUILD_STARTED")
        async for message in rebuilding(index):
            yield message

    async def CheckIndex(self, request: pb.CheckIndexRequest, context: Context) -> AsyncIterator[pb.CheckIndexResponse]:
        index = self._index.kept
        if self._checking:
            raise ResourceExhausted(
                "the index is being checked already: wait until it ends",
                reason="CHECK_RUNNING",
                retry_after_seconds=CHECK_RETRY_SECONDS,
            )
        self._checking = True
        try:
            async for message in checking(index):
                yield message
        finally:
            self._checking = False


def _count(page_size: int) -> int:
    if page_size > MAX_PAGE:
        raise InvalidArgument(f"page_size is {page_size}: at most {MAX_PAGE}", field="page_size")
    return page_size or DEFAULT_PAGE


def _page(token: str) -> int | None:
    if not token:
        return None
    if not re.fullmatch("[1-9][0-9]{0,15}", token):
        raise InvalidArgument("page_token is not one of ours: use next_page_token", field="page_token")
    return int(token)
