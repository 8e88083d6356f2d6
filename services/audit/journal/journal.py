"""The journal: appends groups of entries with one fdatasync, and is read back by its reader."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.audit.journal import segment
from services.audit.journal.frame import Entry, Frame, encode_frame
from services.audit.journal.open_segment import Identity, OpenSegment, check_in_place, identity
from services.audit.journal.reading import OFFSET_BITS, JournalReader, LeafFrame
from services.audit.journal.reserve import NAME as RESERVE
from services.audit.journal.reserve import Reserve, is_full
from services.audit.journal.room import HighWater, Room, free_bytes
from services.audit.journal.segment import JournalCorrupt, fsync_directory

MIB = 1024 * 1024


class JournalPoisoned(Exception):
    """A write or fdatasync failed. What the disk holds is unknown, so nothing more is acknowledged."""


class JournalFull(Exception):
    """The disk has no room and the reserve is used up. Nothing of the group was written."""


class JournalLocked(Exception):
    """Another process writes this journal."""


@dataclass(frozen=True)
class Cut:
    """What recovery cut off: the bytes of a group that never became durable."""

    segment: str
    offset: int
    reason: str


@dataclass(frozen=True)
class JournalLimits:
    segment_bytes: int = 64 * MIB
    # Segments grow by zeroed chunks, so that fdatasync of a group moves no file size and no extents.
    chunk_bytes: int = 4 * MIB
    reserve_bytes: int = 0  # set aside beside the segments; 0: nothing is
    must_be_free_bytes: int = 0  # on the disk, for new records


class Journal:
    """One writer. Owned by whoever commits, one group at a time."""

    def __init__(
        self,
        directory: Path,
        origin: str,
        limits: JournalLimits = JournalLimits(),
        *,
        sync: Callable[[int], None] = os.fdatasync,
        growing: Callable[[int], None] = lambda size: None,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        """`growing` is told of bytes about to be taken from the disk, and `free` tells what is left (fault tests)."""
        self._directory, self._origin, self._limits = directory, origin, limits
        self._sync, self._growing = sync, growing
        self._reserve = Reserve(directory / RESERVE, limits.reserve_bytes, growing)
        self.high_water = HighWater(lambda: free(directory), limits.must_be_free_bytes, self._reserve)
        self._reader = JournalReader(directory, origin)
        self._segments = self._reader.segments
        self._next_number = 0
        self._last_group = 0  # number of its first frame
        self._end = 0  # of the last segment, as `scan` found it
        self._open: OpenSegment | None = None  # the last one, once `start` was called
        self._finished: dict[Path, Identity] = {}  # the others
        self._poisoned = False
        self.syncs = 0  # every fdatasync and fsync since start
        self.bytes_written = 0  # of frames
        self._lock = self._take_lock()

    def _take_lock(self) -> int:
        lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise JournalLocked(f"another process writes {self._directory}; stop it first") from None
        return lock

    def scan(self, visit: Callable[[int, Frame], None]) -> Cut | None:
        """Reads every frame in order and calls visit(location, frame). Changes nothing; says what is unfinished."""
        unfinished: segment.Unfinished | None = None
        paths = sorted(self._directory.glob(f"*{segment.SUFFIX}"))
        for ordinal, path in enumerate(paths):
            if path.name != segment.file_name(self._next_number):
                expected = segment.file_name(self._next_number)
                raise JournalCorrupt(f"{path.name}: expected {expected}; a segment is missing or renamed")
            self._segments.append((self._next_number, path))
            unfinished = self._scan_segment(ordinal, path, ordinal == len(paths) - 1, visit)
        return Cut(paths[-1].name, unfinished.offset, unfinished.reason) if unfinished else None

    def _scan_segment(
        self, ordinal: int, path: Path, last: bool, visit: Callable[[int, Frame], None]
    ) -> segment.Unfinished | None:
        with segment.mapped(path) as view:
            self._end = segment.frames_start(view, path, self._origin, self._next_number)
            for at, frame in segment.frames_from(view, self._end, self._next_number):
                visit(ordinal << OFFSET_BITS | at, frame)
                self._end, self._next_number, self._last_group = at + frame.size, frame.number + 1, frame.group
            return segment.tail_of(view, self._end, self._next_number, last, path)

    @property
    def last_group(self) -> tuple[int, int]:
        """What `scan` found of the group that was written last: its first frame's number, and how many frames."""
        return self._last_group, self._next_number - self._last_group

    def start(self, *, anew: bool = False) -> None:
        """Opens the journal for appending behind the last whole frame, cutting off what `scan` found unfinished.

        With `anew` the last segment is first written again, into a new file. Of a disk that failed, the kernel says so
        once; what it then shows of the file, and so what `scan` read, the disk need not have.
        """
        for leftover in self._directory.glob("*.partial"):
            leftover.unlink()
        if self._segments:
            path = self._segments[-1][1]
            if anew:
                self._write_anew(path)
            self._open = OpenSegment(path, self._end, self._fsync)
            self._open.cut()
        else:
            self._start_segment(0)
        self._finished |= {path: identity(path) for _, path in self._segments[:-1]}
        self.look_after_room()

    @property
    def _last(self) -> OpenSegment:
        assert self._open, "start first"
        return self._open

    def _write_anew(self, path: Path) -> None:
        with segment.mapped(path) as view:
            segment.put(path, bytes(view[: self._end]))
        self.syncs += segment.SYNCS_OF_PUT

    def encoded(self, entries: Sequence[Entry]) -> list[bytes]:
        """The frames of the next group, for `append`: made apart, so that whoever waits for the disk only writes."""
        group = self._next_number
        return [encode_frame(group + offset, group, entry) for offset, entry in enumerate(entries)]

    def append(self, frames: Sequence[bytes]) -> list[int]:
        """Makes the frames durable as one group and returns their locations. A failure poisons the journal."""
        if self._poisoned:
            raise JournalPoisoned("the journal was poisoned by an earlier failure")
        self._poisoned = True
        total = sum(map(len, frames))
        self._find_place(total)
        locations = self._write(frames, total)
        self._sync(self._last.file)
        self.syncs += 1
        self._last.check_in_place()
        self._poisoned = False
        return locations

    def _write(self, frames: Sequence[bytes], total: int) -> list[int]:
        ordinal, at = len(self._segments) - 1, self._last.end
        locations = []
        for frame in frames:
            locations.append(ordinal << OFFSET_BITS | at)
            at += len(frame)
        self._last.write(b"".join(frames))
        self.bytes_written += total
        self._next_number += len(frames)
        return locations

    def _find_place(self, total: int) -> None:
        """In this segment, which grows; in a next one; where the disk is full, in what is left or in the reserve."""
        last, chunk = self._last, self._limits.chunk_bytes
        fits, empty = total <= last.room, self._next_number == self._segments[-1][0]
        over = not empty and last.end + total > self._limits.segment_bytes
        if fits and not (over and self._reserve.there):
            return
        try:
            if over:
                self._start_segment(total)
            else:
                more = -(-(last.end + total) // chunk) * chunk - last.end - last.room
                self._growing(more)
                last.grow(more)
        except OSError as error:
            if not is_full(error):
                raise
            if not fits:
                self._take_reserve(total)

    def _start_segment(self, total: int) -> None:
        """With room for so many bytes of frames, at least."""
        header, chunk = segment.encode_header(self._origin, self._next_number), self._limits.chunk_bytes
        size = -(-(len(header) + total) // chunk) * chunk
        path = self._directory / segment.file_name(self._next_number)
        self._growing(size)
        segment.put(path, header + bytes(size - len(header)))
        self._go_on_in(path, len(header))

    def _take_reserve(self, total: int) -> None:
        """What stands in the segment until now is durable; what growing it left there is zero, and cut off."""
        header, held = segment.encode_header(self._origin, self._next_number), self._reserve.held_bytes
        if len(header) + total > held or self._next_number == self._segments[-1][0]:
            raise JournalFull(f"no room for {total} bytes: {held} in reserve")
        path = self._directory / segment.file_name(self._next_number)
        self._reserve.become(path, header)
        self._go_on_in(path, len(header))

    def _go_on_in(self, path: Path, end: int) -> None:
        """The segment before is only now cut to its length: where no other could be made it goes on."""
        self.syncs += segment.SYNCS_OF_PUT
        if self._open:
            self._open.cut()
            self._open.close()
            self._finished[self._open.path] = identity(self._open.path)
        self._segments.append((self._next_number, path))
        self._open = OpenSegment(path, end, self._fsync)

    def _fsync(self, file: int) -> None:
        os.fsync(file)
        self.syncs += 1

    def check_in_place(self) -> None:
        """Every segment; of the last one each group sees for itself."""
        for path, expected in self._finished.items():
            check_in_place(path, expected)
        self._last.check_in_place()

    def look_after_room(self) -> Room:
        """Now and again, from where groups are written."""
        self._last.check_in_place()
        self.high_water.look()
        return self.room

    @property
    def room(self) -> Room:
        return self.high_water.room(self._last.room)

    @property
    def shortage(self) -> str:
        return self.high_water.shortage

    @property
    def reserve_bytes(self) -> int:
        """What entries of accepted requests may still take where the disk has no room."""
        return self._reserve.held_bytes if self._reserve.there else self._last.room

    @property
    def next_number(self) -> int:
        return self._next_number

    # --- reads, from any thread ---------------------------------------------------------------------------------------

    def place(self, location: int) -> tuple[str, int]:
        return self._reader.place(location)

    def read(self, location: int) -> Frame:
        return self._reader.read(location)

    def frames(self, first: int = 0, last: int | None = None) -> Iterator[tuple[int, Frame]]:
        return self._reader.frames(first, last)

    def leaves(self, first: int) -> Iterator[LeafFrame]:
        return self._reader.leaves(first)

    def up_to(self, location: int) -> list[tuple[Path, int]]:
        return self._reader.up_to(location)

    def close(self) -> None:
        if self._open:
            self._open.close()
        os.close(self._lock)


def open_directory(path: Path) -> None:
    """Creates a folder, private and durable, with its parents."""
    missing = [path, *path.parents]
    for folder in reversed([folder for folder in missing if not folder.exists()]):
        folder.mkdir(mode=0o700)
        fsync_directory(folder.parent)
