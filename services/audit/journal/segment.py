"""A segment: one file of the journal, a header and then frames, the unused rest zero."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from services.audit.journal.frame import MAGIC, Frame, FrameInvalid, decode_frame

SEGMENT_MAGIC = b"SRJOURNL"
SEGMENT_VERSION = 1
SUFFIX = ".journal"
SYNCS_OF_PUT = 2  # the file and its folder


class JournalCorrupt(Exception):
    """The journal is not what was made durable. Names file and offset; audit refuses to start."""


class SegmentMoved(Exception):
    """A file of the journal is not where it was, or not as long. Whoever writes it has to end."""


@dataclass(frozen=True)
class Unfinished:
    """What a crash left behind the last whole frame: never acknowledged, because its group never became durable."""

    offset: int
    reason: str


def file_name(first: int) -> str:
    return f"{first:020d}{SUFFIX}"


def encode_header(origin: str, first: int) -> bytes:
    name = origin.encode("ascii")
    body = SEGMENT_MAGIC + bytes((SEGMENT_VERSION, len(name))) + name + first.to_bytes(8, "big")
    return body + sha256(body).digest()


def put(path: Path, content: bytes) -> None:
    """A segment appears under its name complete and durable, or not at all."""
    partial = path.with_suffix(".partial")
    try:
        with open(partial, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:  # on a full disk what was written of it would take the room of what can be
        partial.unlink(missing_ok=True)
        raise
    os.rename(partial, path)
    fsync_directory(path.parent)


def fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            yield memoryview(b"")
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages, memoryview(pages) as view:
            yield view


def frames_start(view: memoryview, path: Path, origin: str, first: int) -> int:
    """Offset of the first frame, the header checked."""
    header = encode_header(origin, first)
    if bytes(view[: len(header)]) != header:
        raise JournalCorrupt(f"{path.name}, offset 0: not the header of this log's segment {first}")
    return len(header)


def frames_from(view: memoryview, at: int, number: int) -> Iterator[tuple[int, Frame]]:
    """Whole frames in order from frame `number` at offset `at`; ends before the first that is not whole."""
    while True:
        try:
            frame = decode_frame(view, at)
        except FrameInvalid:
            return
        if frame.number != number:
            return
        yield at, frame
        at, number = at + frame.size, number + 1


def tail_of(view: memoryview, at: int, number: int, last: bool, path: Path) -> Unfinished | None:
    """Judges what follows the last whole frame: zeroes, a group that never became durable, or damage.

    A later group is only written once the one before is durable, so a bad frame that is followed by a whole frame
    of a later group was durable once: that is damage, and cutting there would destroy what was acknowledged.
    """
    rest = bytes(view[at:])
    if not rest.strip(b"\0"):
        return None
    reason, torn = _reason(view, at)
    if not torn or not last:
        raise JournalCorrupt(f"{path.name}, offset {at}: frame {number}: {reason}")
    for offset in _magic_offsets(rest):
        try:
            later = decode_frame(view, at + offset)
        except FrameInvalid:
            continue
        if later.group > number:
            raise JournalCorrupt(
                f"{path.name}, offset {at}: frame {number}: {reason}, but frame {later.number}, written later, is whole"
            )
    return Unfinished(at, reason)


def _reason(view: memoryview, at: int) -> tuple[str, bool]:
    """Why no frame was read here, and whether a crash can leave that."""
    try:
        decode_frame(view, at)
    except FrameInvalid as invalid:
        return str(invalid), True
    return "a whole frame with the wrong number", False


def _magic_offsets(data: bytes) -> Iterator[int]:
    at = data.find(MAGIC)
    while at >= 0:
        yield at
        at = data.find(MAGIC, at + 1)
