"""The segment that is written: it grows by zeroed chunks, and has to stay where its name says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from services.audit.journal.segment import SegmentMoved


class Identity(NamedTuple):
    """Of the file under a name; zeroes where there is none. Inodes are given out again: where nobody writes any more,
    the time tells one file from another, and from itself with other content."""

    inode: int
    device: int
    size: int
    modified_ns: int = 0


def identity(path: Path) -> Identity:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return Identity(0, 0, 0)
    return Identity(found.st_ino, found.st_dev, found.st_size, found.st_mtime_ns)


def check_in_place(path: Path, expected: Identity) -> None:
    """A file that was deleted, replaced or cut under its writer takes bytes that nobody can find again."""
    found = identity(path)
    if found[:2] != expected[:2]:
        raise SegmentMoved(f"{path.name} was deleted or replaced while the journal was written")
    if found.size < expected.size:
        raise SegmentMoved(f"{path.name} was cut while the journal was written")
    if expected.modified_ns and found.modified_ns != expected.modified_ns:
        raise SegmentMoved(f"{path.name} was replaced or altered while the journal was written")


class OpenSegment:
    """`end`: the offset behind its last frame. `fsync` is for what is not a group: growth, and the last length."""

    def __init__(self, path: Path, end: int, fsync: Callable[[int], None]) -> None:
        self.path, self.end, self._fsync = path, end, fsync
        self.file = os.open(path, os.O_RDWR)
        self._identity = identity(path)
        self._allocated = self._identity.size

    @property
    def room(self) -> int:
        """Bytes that can be written without taking any of the disk."""
        return self._allocated - self.end

    def grow(self, size: int) -> None:
        """By so many zeroes: an fdatasync of a group then moves no file size and no extents."""
        write_all(self.file, bytes(size), self._allocated)
        self._fsync(self.file)
        self._allocated += size

    def cut(self) -> None:
        """To its length."""
        os.ftruncate(self.file, self.end)
        self._fsync(self.file)
        self._allocated = self.end

    def write(self, data: bytes) -> None:
        write_all(self.file, data, self.end)
        self.end += len(data)

    def check_in_place(self) -> None:
        check_in_place(self.path, self._identity._replace(size=self._allocated, modified_ns=0))

    def close(self) -> None:
        if self.file >= 0:
            os.close(self.file)
        self.file = -1


def write_all(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written
