"""The acceptance ticket: what a worker asks for before it gives a model its input."""

from __future__ import annotations

from services.audit.sealing.mac import Mac

_CONTEXT = b"strongroom acceptance ticket v1"


class TicketKey:
    """Makes one log's tickets."""

    def __init__(self, key: bytes, origin: str) -> None:
        self._mac, self._begin = Mac(key), _part(_CONTEXT) + _part(origin.encode())

    def mac(self, request_id: str, expires_ms: int, job_digest: bytes) -> bytes:
        """HMAC-SHA-256 over five parts, each behind its length as four bytes, most significant first."""
        expires = _part(expires_ms.to_bytes(8, "big"))
        return self._mac.of(self._begin + _part(request_id.encode()) + expires + _part(job_digest))


def _part(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
