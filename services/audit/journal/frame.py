"""A frame of the journal and its clear part, byte for byte (docs/audit-format.md)."""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import NamedTuple

from services.audit.log.leaf import LEAF_BYTES, NO_HASH, Kind

MAGIC = b"SRF\x01"
CLEAR_VERSION = 1
MAX_FRAME_BYTES = 16 * 1024 * 1024

_PREFIX = struct.Struct(">4sIB")
_POSITION = struct.Struct(">QQ")
_CLEAR_LENGTH = struct.Struct(">H")
_CLEAR_START = struct.Struct(">BBB")  # version, kind, length of the record id
_NUMBER_AND_LENGTH = struct.Struct(">QB")  # a number, and the length of the short text behind it
_KINDS = {int(kind): kind for kind in Kind}  # looked up: an enum's own call costs six times as much
FRAME_HEADER_BYTES = _PREFIX.size + 32


class FrameInvalid(Exception):
    """Bytes that are not a whole, canonical frame. The text says why and holds no content."""


# NamedTuples: as immutable as frozen dataclasses, and made at a third of the price, some of them for every entry.


class ClearPart(NamedTuple):
    """What anyone who holds the journal may read of an entry without a key."""

    kind: Kind
    record_id: str
    n: int
    boot: str
    sequence: int
    key_id: str
    accepted_leaf: bytes = NO_HASH
    release_head: bytes = NO_HASH  # END only
    release_count: int = 0  # END only

    def encode(self) -> bytes:
        kind, record_id, n, boot, sequence, key_id, accepted_leaf, release_head, release_count = self
        record, gateway, key = record_id.encode("ascii"), boot.encode("ascii"), key_id.encode("ascii")
        return b"".join(
            (
                _CLEAR_START.pack(CLEAR_VERSION, kind, len(record)),
                record,
                _NUMBER_AND_LENGTH.pack(n, len(gateway)),
                gateway,
                _NUMBER_AND_LENGTH.pack(sequence, len(key)),
                key,
                accepted_leaf,
                release_head + release_count.to_bytes(8, "big") if kind is Kind.END else b"",
            )
        )


def decode_clear(data: bytes) -> ClearPart:
    if len(data) < 2 or data[0] != CLEAR_VERSION or data[1] not in _KINDS:
        raise FrameInvalid("unknown clear part")
    kind, at = _KINDS[data[1]], 2
    record_id, at = _take_short(data, at)
    n, at = int.from_bytes(data[at : at + 8], "big"), at + 8
    boot, at = _take_short(data, at)
    sequence, at = int.from_bytes(data[at : at + 8], "big"), at + 8
    key_id, at = _take_short(data, at)
    accepted, at = data[at : at + 32], at + 32
    head, count = NO_HASH, 0
    if kind is Kind.END:
        head, count, at = data[at : at + 32], int.from_bytes(data[at + 32 : at + 40], "big"), at + 40
    if at != len(data):
        raise FrameInvalid("the clear part has the wrong length")
    return ClearPart(kind, record_id, n, boot, sequence, key_id, accepted, head, count)


def _take_short(data: bytes, at: int) -> tuple[str, int]:
    if at >= len(data):
        raise FrameInvalid("the clear part ends early")
    end = at + 1 + data[at]
    try:
        return data[at + 1 : end].decode("ascii"), end
    except UnicodeDecodeError:
        raise FrameInvalid("the clear part is not ASCII") from None


class Entry(NamedTuple):
    """What is to be journalled: the leaf (absent for RELEASE), the clear part and the ciphertext."""

    kind: Kind
    leaf: bytes
    clear: bytes
    ciphertext: bytes

    @property
    def sealed_hash(self) -> bytes:
        return sealed_hash(self.clear, self.ciphertext)


class Frame(NamedTuple):
    """An entry in its place: `group` is the number of the first frame that was made durable together with it."""

    number: int
    group: int
    entry: Entry
    size: int  # bytes in the file


def sealed_hash(clear: bytes, ciphertext: bytes) -> bytes:
    return sha256(clear + ciphertext).digest()


def encode_frame(number: int, group: int, entry: Entry) -> bytes:
    body = b"".join(
        (
            _POSITION.pack(number, group),
            entry.leaf,
            _CLEAR_LENGTH.pack(len(entry.clear)),
            entry.clear,
            entry.ciphertext,
        )
    )
    prefix = _PREFIX.pack(MAGIC, len(body), entry.kind)
    return prefix + sha256(prefix + body).digest() + body


def kind_and_size(header: bytes) -> tuple[Kind, int] | None:
    """Of the frame whose first bytes these are, its hash unchecked; None where no frame begins."""
    if len(header) < FRAME_HEADER_BYTES:
        return None
    magic, length, kind = _PREFIX.unpack_from(header)
    if magic != MAGIC or kind not in _KINDS or length > MAX_FRAME_BYTES:
        return None
    return _KINDS[kind], FRAME_HEADER_BYTES + length


def decode_frame(data: bytes | memoryview, at: int) -> Frame:
    """The frame at offset `at` of a segment's bytes, its own hash checked."""
    header = bytes(data[at : at + FRAME_HEADER_BYTES])
    if len(header) < FRAME_HEADER_BYTES:
        raise FrameInvalid("the frame header is cut off")
    magic, length, kind_byte = _PREFIX.unpack_from(header)
    if magic != MAGIC:
        raise FrameInvalid("no frame begins here")
    if kind_byte not in _KINDS or length > MAX_FRAME_BYTES:
        raise FrameInvalid("the frame header is not valid")
    start = at + FRAME_HEADER_BYTES
    body = bytes(data[start : start + length])
    if len(body) < length:
        raise FrameInvalid("the frame is cut off")
    if sha256(header[: _PREFIX.size] + body).digest() != header[_PREFIX.size :]:
        raise FrameInvalid("the frame's hash does not match its bytes")
    return _parse(_KINDS[kind_byte], body, FRAME_HEADER_BYTES + length)


def _parse(kind: Kind, body: bytes, size: int) -> Frame:
    at = _POSITION.size
    leaf_bytes = 0 if kind is Kind.RELEASE else LEAF_BYTES
    clear_at = at + leaf_bytes + _CLEAR_LENGTH.size
    if len(body) < clear_at:
        raise FrameInvalid("the frame is too short for its kind")
    number, group = _POSITION.unpack_from(body)
    (clear_length,) = _CLEAR_LENGTH.unpack_from(body, at + leaf_bytes)
    clear, ciphertext = body[clear_at : clear_at + clear_length], body[clear_at + clear_length :]
    if len(clear) < clear_length:
        raise FrameInvalid("the clear part is cut off")
    return Frame(number, group, Entry(kind, body[at : at + leaf_bytes], clear, ciphertext), size)
