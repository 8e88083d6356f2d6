"""HKDF-SHA256 (RFC 5869) with an empty salt and one block of output."""

from __future__ import annotations

from services.audit.sealing.mac import Mac

_EXTRACT = Mac(bytes(32))


class Derivation:
    """The keys that come of one key."""

    __slots__ = ("_expand",)

    def __init__(self, key: bytes) -> None:
        self._expand = Mac(_EXTRACT.of(key))

    def key(self, info: bytes) -> bytes:
        """32 bytes that belong to `info` alone."""
        return self._expand.of(info + b"\x01")
