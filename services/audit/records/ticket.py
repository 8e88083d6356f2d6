"""The acceptance ticket: what a worker asks for before it gives a model its input."""

from __future__ import annotations

import hmac

_CONTEXT = b"strongroom acceptance ticket v1"


def ticket_mac(key: bytes, origin: str, request_id: str, expires_ms: int, job_digest: bytes) -> bytes:
    """HMAC-SHA-256 over five parts, each behind its length as four bytes, most significant first."""
    parts = (_CONTEXT, origin.encode(), request_id.encode(), expires_ms.to_bytes(8, "big"), job_digest)
    return hmac.digest(key, b"".join(len(part).to_bytes(4, "big") + part for part in parts), "sha256")
