"""Completeness over gRPC: the counts of every gateway process, and a person's word on why they differ."""

from __future__ import annotations

from typing import Any

import grpc
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc

from chassis.failures import FailedPrecondition, InvalidArgument
from chassis.identity import current_principal
from services.audit.completeness.counts import BootCounts
from services.audit.completeness.ledger import DIFFERENCE_EXPLAINED
from services.audit.recording import ActRecorder
from services.audit.writer import Writer

Context = grpc.aio.ServicerContext[Any, Any]
MAX_REASON = 1_000


class CompletenessServicer(rpc.AuditServiceServicer):
    """A part of the whole service, which has these."""

    _writer: Writer
    _acts: ActRecorder

    async def GetCompleteness(self, request: pb.GetCompletenessRequest, context: Context) -> pb.GetCompletenessResponse:
        with self._writer.lock:
            boots = [_message(boot, counts) for boot, counts in self._writer.ledger.boots()]
        return pb.GetCompletenessResponse(boots=boots, open_differences=len(self._writer.open_differences()))

    async def ExplainDifferences(
        self, request: pb.ExplainDifferencesRequest, context: Context
    ) -> pb.ExplainDifferencesResponse:
        if not 1 <= len(request.reason.strip()) <= MAX_REASON:
            raise InvalidArgument(
                f"reason must have 1 to {MAX_REASON} characters: say what was found out", field="reason"
            )
        found = [each for each in self._writer.open_differences() if each.boot == request.boot_id]
        if not found:
            raise FailedPrecondition("this gateway process has no open difference", reason="NO_DIFFERENCE")
        differ = {each.kind.value: each.count for each in found}
        person = current_principal.get()
        await self._acts.of_person(
            person, DIFFERENCE_EXPLAINED, request.boot_id, reason=request.reason.strip(), differences=differ
        )
        return pb.ExplainDifferencesResponse(open_differences=len(self._writer.open_differences()))


def _message(boot: str, counts: BootCounts) -> pb.GatewayBoot:
    counted, unexplained = counts.counted, counts.unexplained()
    return pb.GatewayBoot(
        boot_id=boot,
        accepted_jobs=counts.accepted,
        completed_jobs=counts.ended.jobs,
        otherwise_ended_jobs=counts.otherwise,
        recorded_tokens=counts.ended.tokens,
        workers=len(counts.workers),
        counted_jobs=counted.jobs,
        finished_jobs=counted.finished,
        counted_tokens=counted.tokens,
        differences=[
            pb.CountDifference(kind=kind.value, count=count, open=kind in unexplained)
            for kind, count in counts.found().items()
        ],
    )
