"""Seals what travels through Redis: AES-256-GCM, with a key of its own for each purpose, request and epoch."""

from __future__ import annotations

import hashlib
import hmac
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chassis.disk import refusal_of_secret

JOB, STEP = "job", "step"  # purposes
JOB_EPOCH = JOB_N = 0  # a job is sealed once, before any claim

KEY_BYTES = 32
_EIGHT = (8).to_bytes(4, "big")
_KEY_ID_INFO = b"strongroom queue key id v1"
_BUCKET_INFO = b"strongroom tenant bucket v1"


class SealError(Exception):
    """A sealed item is not accepted. Carries a reason for the counters, never content."""

    reason: ClassVar[str] = "SEAL"


class UnknownKey(SealError):
    """Sealed under a queue key that this process does not hold."""

    reason: ClassVar[str] = "UNKNOWN_KEY"


class BrokenSeal(SealError):
    """Altered, or sealed for another purpose, request, epoch or n."""

    reason: ClassVar[str] = "BROKEN_SEAL"


class Cipher:
    """Seals and opens the items of one purpose, request and epoch. One n is sealed with one plaintext only."""

    __slots__ = ("_aead", "_context", "key_id")

    def __init__(self, key_id: str, key: bytes, request_id: str, epoch: int, purpose: str) -> None:
        self.key_id = key_id
        self._aead = AESGCM(key)
        # Associated data: everything that places an item, each part behind its length; n follows, always 8 bytes.
        self._context = _length_prefixed(request_id.encode(), epoch.to_bytes(8, "big"), purpose.encode()) + _EIGHT

    def seal(self, n: int, plaintext: bytes) -> bytes:
        return self._aead.encrypt(_nonce(n), plaintext, self._bound(n))

    def open(self, n: int, sealed: bytes) -> bytes:
        try:
            return self._aead.decrypt(_nonce(n), sealed, self._bound(n))
        except InvalidTag:
            raise BrokenSeal from None

    def _bound(self, n: int) -> bytes:
        return self._context + n.to_bytes(8, "big")


class QueueKeys:
    """The queue keys that a process holds. The first one seals; the others still open what is under way."""

    def __init__(self, current: bytes, former: Iterable[bytes] = ()) -> None:
        secrets = [current, *former]
        if any(len(secret) != KEY_BYTES for secret in secrets):
            raise ValueError(f"a queue key has {KEY_BYTES} bytes")
        self._prk = {key_id(secret): _extracted(secret) for secret in secrets}
        self.key_id = key_id(current)

    def cipher(self, request_id: str, epoch: int, purpose: str, under: str = "") -> Cipher:
        """With the sealing key, or with the one that `under` names."""
        name = under or self.key_id
        prk = self._prk.get(name)
        if prk is None:
            raise UnknownKey
        info = _length_prefixed(purpose.encode(), request_id.encode(), epoch.to_bytes(8, "big"))
        return Cipher(name, hmac.digest(prk, info + b"\x01", "sha256"), request_id, epoch, purpose)

    def bucket(self, tenant: str, buckets: int) -> int:
        """Which of so many a tenant's jobs wait in. Under the key, so that a stream's name does not say who waits."""
        spread = hmac.digest(self._prk[self.key_id], _BUCKET_INFO + tenant.encode() + b"\x01", "sha256")
        return int.from_bytes(spread[:8], "big") % buckets


class KeyUnusable(Exception):
    """A key file that is missing, too open or wrong. Names the file and the remedy; the service refuses to start."""


def load_key(path: Path) -> bytes:
    """A 32-byte key, kept raw in a file that nobody but its owner may read."""
    try:
        mode, secret = stat.S_IMODE(path.stat().st_mode), path.read_bytes()
    except OSError as error:
        raise KeyUnusable(refusal_of_secret(error, path)) from None
    if mode & 0o077:
        raise KeyUnusable(f"{path} has mode {mode:04o}: run chmod 600 {path}")
    if len(secret) != KEY_BYTES:
        raise KeyUnusable(f"{path} has {len(secret)} bytes instead of {KEY_BYTES}: restore it from your backup")
    return secret


def key_id(secret: bytes) -> str:
    """Names a key in clear and says nothing about it."""
    derived = hmac.digest(_extracted(secret), _KEY_ID_INFO + b"\x01", "sha256")
    return hashlib.sha256(derived).hexdigest()[:8]


# HKDF-SHA256 (RFC 5869) without salt. 32 bytes are its first block, so expanding is one HMAC over info ‖ 0x01.
def _extracted(secret: bytes) -> bytes:
    return hmac.digest(bytes(32), secret, "sha256")


def _nonce(n: int) -> bytes:
    return n.to_bytes(12, "big")


def _length_prefixed(*parts: bytes) -> bytes:
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])
