"""The sealed payload: named parts, encrypted with AES-256-GCM under the record's key."""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.audit.journal.frame import ClearPart
from services.audit.sealing.hkdf import derive

NONCE_BYTES = 12
NONCE_RANDOM_BYTES = 7


class PayloadInvalid(Exception):
    """A payload that does not open: the wrong key, or altered bytes."""


def encode_parts(parts: Mapping[str, bytes]) -> bytes:
    out = bytearray()
    for name in sorted(parts):
        encoded = name.encode("ascii")
        out += bytes((len(encoded),)) + encoded + len(parts[name]).to_bytes(4, "big") + parts[name]
    return bytes(out)


def decode_parts(data: bytes) -> dict[str, bytes]:
    parts: dict[str, bytes] = {}
    at = 0
    while at < len(data):
        name_end = at + 1 + data[at]
        body = name_end + 4
        end = body + int.from_bytes(data[name_end:body], "big")
        if end > len(data):
            raise PayloadInvalid("a part is cut off")
        parts[data[at + 1 : name_end].decode("ascii")] = data[body:end]
        at = end
    return parts


def record_key(subject_key: bytes, record_id: str) -> bytes:
    return derive(subject_key, b"strongroom record key v1\0" + record_id.encode("ascii"))


def nonce_for(clear: ClearPart, random: bytes) -> bytes:
    """Kind and n make nonces differ within a record; the random part, when a cut-off entry is sealed again."""
    return bytes((clear.kind,)) + (clear.n & 0xFFFFFFFF).to_bytes(4, "big") + random


def seal(subject_key: bytes, clear: ClearPart, parts: Mapping[str, bytes], random: bytes) -> bytes:
    """Nonce, ciphertext and tag; the clear part is the associated data."""
    if len(random) != NONCE_RANDOM_BYTES:
        raise ValueError(f"a nonce takes {NONCE_RANDOM_BYTES} random bytes")
    nonce = nonce_for(clear, random)
    cipher = AESGCM(record_key(subject_key, clear.record_id))
    return nonce + cipher.encrypt(nonce, encode_parts(parts), clear.encode())


def unseal(subject_key: bytes, record_id: str, clear: bytes, sealed: bytes) -> dict[str, bytes]:
    cipher = AESGCM(record_key(subject_key, record_id))
    try:
        return decode_parts(cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], clear))
    except InvalidTag:
        raise PayloadInvalid("the payload does not open under its key") from None
