"""Reads the journal's segments: from any thread, and from another process while one writes behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from services.audit.journal import segment
from services.audit.journal.frame import (
    FRAME_HEADER_BYTES,
    MAX_FRAME_BYTES,
    Entry,
    Frame,
    FrameInvalid,
    decode_frame,
    kind_and_size,
)
from services.audit.journal.segment import JournalCorrupt
from services.audit.log.leaf import Kind

# A location is one integer, so that an index costs 8 bytes an entry: segment ordinal above, byte offset below.
OFFSET_BITS = 40
OFFSET_MASK = (1 << OFFSET_BITS) - 1
_BUFFER_BYTES = 256 * 1024


class LeafFrame(NamedTuple):
    """A leaf's frame, and where the one behind it begins. Without an entry: its bytes are not what was written."""

    location: int
    following: int
    entry: Entry | None


class JournalReader:
    """Knows the segments that it was told of, or found when it last looked."""

    def __init__(self, directory: Path, origin: str) -> None:
        self.directory, self.origin = directory, origin
        self.segments: list[tuple[int, Path]] = []  # first frame number, path

    def look(self) -> None:
        """Learns of the segments that another process has begun."""
        known = {path for _, path in self.segments}
        found = sorted(path for path in self.directory.glob(f"*{segment.SUFFIX}") if path not in known)
        self.segments += [(int(path.name.removesuffix(segment.SUFFIX)), path) for path in found]

    def place(self, location: int) -> tuple[str, int]:
        """The segment's file name and the offset in it."""
        return self.segments[location >> OFFSET_BITS][1].name, location & OFFSET_MASK

    def read(self, location: int) -> Frame:
        with open(self.segments[location >> OFFSET_BITS][1], "rb") as file:
            return _frame_at(file.fileno(), location & OFFSET_MASK)

    def entry(self, location: int) -> Entry | None:
        """None where its bytes are not what was written."""
        try:
            return self.read(location).entry
        except FrameInvalid:
            return None

    def frames(self, first: int = 0, last: int | None = None) -> Iterator[tuple[int, Frame]]:
        """Frames from location `first` (0: the beginning) up to and including `last`.

        Read, not mapped: a segment may be cut to its length meanwhile, and a mapping would then fault.
        """
        for ordinal in range(first >> OFFSET_BITS, len(self.segments)):
            path, at = self._start(ordinal, first)
            with open(path, "rb") as file:
                while last is None or ordinal << OFFSET_BITS | at <= last:
                    try:
                        frame = _frame_at(file.fileno(), at)
                    except FrameInvalid:
                        break
                    yield ordinal << OFFSET_BITS | at, frame
                    at += frame.size

    def leaves(self, first: int = 0) -> Iterator[LeafFrame]:
        """Every leaf's frame from location `first` on, read in large pieces; those of RELEASE entries are passed over.

        Ends where no frame begins in the last segment, so ask only for what is durable. JournalCorrupt where the
        frames of a segment end before the next one begins."""
        ordinal = first >> OFFSET_BITS
        while ordinal < len(self.segments):
            path, at = self._start(ordinal, first)
            with open(path, "rb", buffering=_BUFFER_BYTES) as file:
                file.seek(at)
                while told := kind_and_size(header := file.read(FRAME_HEADER_BYTES)):
                    kind, size = told
                    location, at = ordinal << OFFSET_BITS | at, at + size
                    if kind is Kind.RELEASE:
                        file.seek(size - len(header), os.SEEK_CUR)
                    else:
                        entry = _entry(header + file.read(size - len(header)))
                        yield LeafFrame(location, ordinal << OFFSET_BITS | at, entry)
            ordinal += 1
            if ordinal < len(self.segments) and path.stat().st_size != at:
                raise JournalCorrupt(f"{path.name}, offset {at}: no frame begins here, but the segment goes on")

    def _start(self, ordinal: int, first: int) -> tuple[Path, int]:
        number, path = self.segments[ordinal]
        at = first & OFFSET_MASK if ordinal == first >> OFFSET_BITS else 0
        return path, at or len(segment.encode_header(self.origin, number))

    def up_to(self, location: int) -> list[tuple[Path, int]]:
        """The segments that hold every frame up to and including the one at `location`, and how far each is used by
        them. From any thread: a segment behind which another was begun is finished, and cut to its length."""
        paths = [path for _, path in self.segments[: (location >> OFFSET_BITS) + 1]]
        end = (location & OFFSET_MASK) + self.read(location).size
        return [*((path, path.stat().st_size) for path in paths[:-1]), (paths[-1], end)]


def _entry(data: bytes) -> Entry | None:
    try:
        return decode_frame(data, 0).entry
    except FrameInvalid:
        return None


def _frame_at(file: int, at: int) -> Frame:
    header = os.pread(file, FRAME_HEADER_BYTES, at)
    length = int.from_bytes(header[4:8], "big")
    return decode_frame(header + os.pread(file, min(length, MAX_FRAME_BYTES), at + FRAME_HEADER_BYTES), 0)
