"""Revealing over gRPC: fields of a record as they were recorded, to an auditor who says why."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc

from chassis.failures import FailedPrecondition, InvalidArgument
from chassis.identity import current_principal
from services.audit.asked import no_record, record_id_of, required_reason
from services.audit.recording import ActRecorder
from services.audit.records.entries import (
    ANSWER_GENERATED,
    ANSWER_RELEASED,
    GENERATION,
    REQUEST_FIELDS,
    REQUEST_RECEIVED,
)
from services.audit.revealing import receipt_of
from services.audit.views_translation import summary_message
from services.audit.writer import Writer

Context = grpc.aio.ServicerContext[Any, Any]
# What is masked in everything else that audit shows.
USUAL = (REQUEST_RECEIVED, ANSWER_GENERATED, ANSWER_RELEASED)
_KNOWN = REQUEST_FIELDS | {ANSWER_GENERATED, ANSWER_RELEASED, GENERATION}
REVEAL_ALLOWED: Mapping[str, frozenset[str]] = {
    "/strongroom.audit.v1.AuditService/RevealRecord": frozenset({"role:auditor"})
}


class RevealMethods(rpc.AuditServiceServicer):
    """The only part of the service that shows a text which no guard has masked."""

    def __init__(self, writer: Writer, acts: ActRecorder) -> None:
        self._revealed, self._reveal_acts = writer, acts

    async def RevealRecord(self, request: pb.RevealRecordRequest, context: Context) -> pb.RevealRecordResponse:
        record_id, reason = record_id_of(request.record_id), required_reason(request.reason)
        names = _names(request.fields)
        record = await asyncio.to_thread(self._revealed.records.opened, record_id)
        if record is None:
            raise no_record()
        if record.fields is None or record.last is None:
            raise FailedPrecondition("the record is erased: nobody can read it any more", reason="ERASED")
        fields = {name: record.fields[name] for name in names if name in record.fields}
        place = record.summary.leaf_index, record.last
        receipt = await asyncio.to_thread(receipt_of, self._revealed, *place, tuple(fields))
        person = current_principal.get()
        await self._reveal_acts.of_person(person, "RECORD_REVEALED", record_id, reason=reason, fields=sorted(fields))
        return pb.RevealRecordResponse(
            summary=summary_message(record.summary),
            fields=[pb.Field(name=name, content=content) for name, content in fields.items()],
            receipt=receipt,
        )


def _names(asked: Sequence[str]) -> Sequence[str]:
    if unknown := set(asked) - _KNOWN:
        known = ", ".join(sorted(_KNOWN))
        raise InvalidArgument(f"fields names {len(unknown)} that no record has: they are {known}", field="fields")
    return list(dict.fromkeys(asked)) or USUAL
