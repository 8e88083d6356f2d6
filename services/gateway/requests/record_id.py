"""Request ids: UUIDv7 (RFC 9562), so that they sort by time."""

from __future__ import annotations

import secrets
import time


def new_request_id(now_ms: int | None = None) -> str:
    """A fresh id; 48 bits of milliseconds, 74 random bits."""
    milliseconds = int(time.time() * 1000) if now_ms is None else now_ms
    value = (milliseconds & (2**48 - 1)) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
