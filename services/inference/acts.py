"""What people change on a worker, and what it counts, as ACT entries of the audit log."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

import grpc
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc

from chassis.failures import Unavailable

log = logging.getLogger(__name__)

CALL_SECONDS = 5.0
RETRY_AFTER_SECONDS = 2.0
JOBS_COUNTED = "JOBS_COUNTED"  # what audit knows a count by


class AuditedActs:
    """What people change: durable before it takes effect. What was not told to be durable may be so all the same: then
    the log says more."""

    def __init__(self, audit: rpc.AuditServiceStub) -> None:
        self._audit = audit

    async def record(self, action: str, target: str, detail: Mapping[str, str]) -> None:
        """Durable when it returns. Raises Unavailable: what was to be done is not to be done."""
        act = pb.RecordActRequest(action=action, target=target, detail=json.dumps(detail, sort_keys=True).encode())
        try:
            await self._audit.RecordAct(act, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            log.warning("%s of %s is not in the log, so it is not done: %s", action, target, error.code().name)
            raise Unavailable(
                "audit does not take the entry that this leaves in its log, so nothing was changed: try again when "
                "audit is there",
                reason="AUDIT_UNAVAILABLE",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            ) from None


class AuditedCounts:
    """A worker's counts for audit to hold its own against. They only grow, so that one which is told twice, or not at
    all before the next, changes nothing."""

    def __init__(self, audit: rpc.AuditServiceStub, worker_boot_id: str) -> None:
        self._audit, self._worker = audit, worker_boot_id

    async def tell(self, gateway: str, counts: Mapping[str, int]) -> bool:
        detail = json.dumps({"worker": self._worker, **counts}, sort_keys=True).encode()
        act = pb.RecordActRequest(action=JOBS_COUNTED, target=gateway, detail=detail)
        try:
            await self._audit.RecordAct(act, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            log.warning("audit was not told what was counted for gateway %s: %s", gateway, error.code().name)
            return False
        return True
