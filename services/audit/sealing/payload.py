"""The sealed payload: named parts, encrypted with AES-256-GCM under the record's key."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.audit.sealing.hkdf import Derivation

NONCE_BYTES = 12
NONCE_RANDOM_BYTES = 7


class PayloadInvalid(Exception):
    """A payload that does not open: the wrong key, or altered bytes."""


def encode_parts(parts: Mapping[str, bytes]) -> bytes:
    out: list[bytes] = []
    for name in sorted(parts):
        data = parts[name]
        out += (_encoded_name(name), len(data).to_bytes(4, "big"), data)
    return b"".join(out)


@lru_cache(maxsize=256)  # the names are few: those of the format and of the fields
def _encoded_name(name: str) -> bytes:
    encoded = name.encode("ascii")
    return bytes((len(encoded),)) + encoded


@lru_cache(maxsize=256)
def _decoded_name(name: bytes) -> str:
    return name.decode("ascii")


def decode_parts(data: bytes) -> dict[str, bytes]:
    parts: dict[str, bytes] = {}
    at = 0
    while at < len(data):
        name_end = at + 1 + data[at]
        body = name_end + 4
        end = body + int.from_bytes(data[name_end:body], "big")
        if end > len(data):
            raise PayloadInvalid("a part is cut off")
        parts[_decoded_name(data[at + 1 : name_end])] = data[body:end]
        at = end
    return parts


def record_key(subject_key: bytes, record_id: str) -> bytes:
    return _of_subject(subject_key).key(b"strongroom record key v1\0" + record_id.encode("ascii"))


_of_subject = lru_cache(maxsize=1024)(Derivation)  # few subjects ask for most of the records


def forget_keys() -> None:
    """What was derived of a key that is erased is in no cache any more."""
    _of_subject.cache_clear()


def nonce_for(kind: int, n: int, random: bytes) -> bytes:
    """Kind and n make nonces differ within a record; the random part, when a cut-off entry is sealed again."""
    if len(random) != NONCE_RANDOM_BYTES:
        raise ValueError(f"a nonce takes {NONCE_RANDOM_BYTES} random bytes")
    return bytes((kind,)) + (n & 0xFFFFFFFF).to_bytes(4, "big") + random


class RecordCipher:
    """Seals and opens the payloads of one record. The clear part is the associated data."""

    __slots__ = ("_cipher",)

    def __init__(self, subject_key: bytes, record_id: str) -> None:
        self._cipher = AESGCM(record_key(subject_key, record_id))

    def seal(self, nonce: bytes, clear: bytes, parts: Mapping[str, bytes]) -> bytes:
        """Nonce, ciphertext and tag."""
        return nonce + self._cipher.encrypt(nonce, encode_parts(parts), clear)

    def unseal(self, clear: bytes, sealed: bytes) -> dict[str, bytes]:
        try:
            return decode_parts(self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], clear))
        except InvalidTag:
            raise PayloadInvalid("the payload does not open under its key") from None
