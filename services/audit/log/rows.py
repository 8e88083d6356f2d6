"""Rows of equal-sized values that only grow: the newest in memory, all older ones in files that have no name."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from io import FileIO
from pathlib import Path

KEPT = 1024  # values of a row, at least, that stay in memory; where there are twice as many, the older half is written

log = logging.getLogger(__name__)


class Scratch:
    """Files in a folder, gone with the process. They are never synced: a start makes what they hold anew."""

    def __init__(self, folder: Path, kept: int = KEPT) -> None:
        self.kept = kept
        self._folder = folder
        self._files: list[FileIO] = []
        self._short = False

    def file(self) -> FileIO:
        made = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 open as long as the log is
        assert isinstance(made, FileIO)
        self._files.append(made)
        return made

    def refused(self) -> None:
        if not self._short:
            log.warning("%s takes no more scratch files: what belongs there stays in memory meanwhile", self._folder)
        self._short = True

    def close(self) -> None:
        for file in self._files:
            file.close()


class Row:
    """Written by one thread at a time, read from any. Without a scratch, all of it stays in memory."""

    def __init__(self, width: int, scratch: Scratch | None = None) -> None:
        """`width`: bytes of a value."""
        self._width, self._scratch = width, scratch
        self._file: FileIO | None = None
        # Offset in the row of the bytes in memory, and these: taken together, as they change together.
        self._held: tuple[int, bytearray] = (0, bytearray())
        self._most = 2 * scratch.kept * width if scratch else sys.maxsize  # bytes, until some are written

    def append(self, value: bytes) -> None:
        held = self._held[1]
        held += value
        if len(held) >= self._most:
            self._write_older()

    def __len__(self) -> int:
        start, held = self._held
        return (start + len(held)) // self._width

    def __getitem__(self, index: int) -> bytes:
        start, held = self._held
        at = index * self._width - start
        found = held[at : at + self._width] if at >= 0 else b""  # what every proof of a new leaf asks for
        return bytes(found) if len(found) == self._width else self.values(index, 1)

    def pair(self) -> bytes:
        """The newest two, back to back."""
        return bytes(self._held[1][-2 * self._width :])

    def values(self, first: int, count: int) -> bytes:
        """Back to back."""
        at, end = first * self._width, (first + count) * self._width
        start, held = self._held
        found = bytes(held[max(at - start, 0) : max(end - start, 0)])
        if self._file and 0 <= at < start:
            found = os.pread(self._file.fileno(), min(end, start) - at, at) + found
        if at < 0 or len(found) != end - at:
            raise IndexError(f"the row has {len(self)} values, and not {first} to {first + count}")
        return found

    def _write_older(self) -> None:
        """Where that fails, on a full disk, nothing is lost: it is tried again after as many values more."""
        assert self._scratch
        kept = self._scratch.kept * self._width
        start, held = self._held
        older = bytes(held[: len(held) - kept])
        try:
            self._file = self._file or self._scratch.file()
            written = os.pwrite(self._file.fileno(), older, start)
        except OSError:
            written = 0
        if written == len(older):
            self._held = (start + written, held[written:])  # not shortened in place: others may be reading it
            self._most = 2 * kept
        else:
            self._scratch.refused()
            self._most = len(held) + kept
