"""What people read of the log over gRPC: lists of records, and single ones, masked."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import grpc
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc

from chassis.failures import InvalidArgument, NotFound
from chassis.identity import current_principal
from services.audit.recording import ActRecorder
from services.audit.records.validity import is_id
from services.audit.translation import record_message, summary_message
from services.audit.writer import Writer

Context = grpc.aio.ServicerContext[Any, Any]

DEFAULT_PAGE, MAX_PAGE = 20, 200


class ReadsServicer(rpc.AuditServiceServicer):
    def __init__(self, writer: Writer, acts: ActRecorder) -> None:
        self._writer, self._acts = writer, acts

    async def ListRecords(self, request: pb.ListRecordsRequest, context: Context) -> pb.ListRecordsResponse:
        if request.page_size > MAX_PAGE:
            raise InvalidArgument(f"page_size is {request.page_size}: at most {MAX_PAGE}", field="page_size")
        before = _page(request.page_token)
        count = request.page_size or DEFAULT_PAGE
        summaries, following = await asyncio.to_thread(self._writer.summaries, before, count)
        return pb.ListRecordsResponse(
            records=map(summary_message, summaries), next_page_token="" if following is None else str(following)
        )

    async def GetRecord(self, request: pb.GetRecordRequest, context: Context) -> pb.GetRecordResponse:
        record = await asyncio.to_thread(self._writer.record, record_id_of(request.record_id))
        if record is None:
            raise no_record()
        await self._acts.of_person(current_principal.get(), "RECORD_VIEWED", request.record_id, view="masked")
        return record_message(record)


def record_id_of(record_id: str) -> str:
    if not is_id(record_id):
        raise InvalidArgument("record_id must be 1 to 64 printable ASCII characters", field="record_id")
    return record_id


def no_record() -> NotFound:
    return NotFound("no such record", reason="RECORD_UNKNOWN", field="record_id")


def _page(token: str) -> int | None:
    if not token:
        return None
    if not re.fullmatch("[1-9][0-9]{0,15}", token):
        raise InvalidArgument("page_token is not one of ours: use next_page_token", field="page_token")
    return int(token)
