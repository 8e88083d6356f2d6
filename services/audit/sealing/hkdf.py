"""HKDF-SHA256 (RFC 5869) with an empty salt and one block of output."""

from __future__ import annotations

import hmac

_NO_SALT = bytes(32)


def derive(key: bytes, info: bytes) -> bytes:
    """32 bytes that belong to `info` alone."""
    extracted = hmac.digest(_NO_SALT, key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")
