"""Checks audit's acceptance ticket: no model input without a durable ACCEPTED that names these very bytes."""

from __future__ import annotations

import hashlib
import hmac
from typing import ClassVar

from strongroom.inference.v1.inference_pb2 import Job

_CONTEXT = b"strongroom acceptance ticket v1"


class TicketRefused(Exception):
    """The job may not run. Carries a reason for the counters, never content."""

    reason: ClassVar[str] = "TICKET"


class TicketForged(TicketRefused):
    """Not audit's word, or not about these bytes, this request or this expiry."""

    reason: ClassVar[str] = "TICKET_FORGED"


class TicketExpired(TicketRefused):
    reason: ClassVar[str] = "TICKET_EXPIRED"


def check_ticket(key: bytes, job: Job, request_id: str, now_ms: int) -> int:
    """Returns the ticket's expiry (ms since 1970). Raises TicketForged before it believes anything the ticket says."""
    expires_ms = job.ticket.expire_time.ToMilliseconds()
    if not 0 <= expires_ms < 2**63:
        raise TicketForged
    expected = _mac(key, job.ticket.log_origin, request_id, expires_ms, hashlib.sha256(job.body).digest())
    if not hmac.compare_digest(expected, job.ticket.mac):
        raise TicketForged
    if expires_ms <= now_ms:
        raise TicketExpired
    return expires_ms


def _mac(key: bytes, log_origin: str, request_id: str, expires_ms: int, job_digest: bytes) -> bytes:
    parts = (_CONTEXT, log_origin.encode(), request_id.encode(), expires_ms.to_bytes(8, "big"), job_digest)
    return hmac.digest(key, b"".join(len(part).to_bytes(4, "big") + part for part in parts), "sha256")
