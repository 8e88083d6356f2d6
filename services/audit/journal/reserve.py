"""Space set aside while there is some: a file that is let go of, or becomes a segment, when the disk is full."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from services.audit.journal.segment import fsync_directory

NAME = "reserve"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_full(error: BaseException) -> bool:
    """Whether a disk or a quota has no room: nothing was damaged, and space makes it good."""
    return isinstance(error, OSError) and error.errno in _FULL


class Reserve:
    """`growing` is told of bytes about to be taken from the disk (fault tests)."""

    def __init__(self, path: Path, size: int, growing: Callable[[int], None] = lambda size: None) -> None:
        """A size of 0: none is kept, and it counts as there."""
        self._path, self.size, self._growing = path, size, growing
        self.there = not size

    @property
    def held_bytes(self) -> int:
        return self.size if self.there else 0

    def make(self) -> bool:
        """Sets the space aside unless it is. False: the disk has no room for it.

        Tried, not asked: what statvfs says knows nothing of quotas. Allocated, not written: file systems keep room for
        the blocks of an allocated file, and what has none to give says so here.
        """
        if not self.there:
            try:
                self._allocate()
            except OSError as error:
                self._path.unlink(missing_ok=True)
                if not is_full(error):
                    raise
                return False
            self.there = True
        return True

    def _allocate(self) -> None:
        if self._path.exists() and self._path.stat().st_size != self.size:  # of another setting
            self._path.unlink()
        self._growing(self.size)
        with open(self._path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            os.posix_fallocate(file.fileno(), 0, self.size)
            os.fsync(file.fileno())
        fsync_directory(self._path.parent)

    def give(self) -> bool:
        """Lets go of the space, for whoever writes next. False: that was done before."""
        given, self.there = self.there and self.size > 0, not self.size
        if given:
            self._path.unlink(missing_ok=True)
        return given

    def become(self, path: Path, header: bytes) -> int:
        """The file goes on as a segment of that name, with room for so many bytes."""
        with open(self._path, "r+b") as file:
            file.write(header)
            file.flush()
            os.fsync(file.fileno())
        os.rename(self._path, path)
        fsync_directory(path.parent)
        self.there = False
        return self.size
