"""A copy of the log up to one signed checkpoint, read piece by piece while the writer goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from services.audit.keys import VKEY
from services.audit.log.leaf import LEAF_BYTES
from services.audit.log.merkle import HASH_BYTES
from services.audit.log.note import SignedCheckpoint
from services.audit.log.tiles import Tile, tiles_of
from services.audit.opening import MARKER, format_mark
from services.audit.publishing import CHECKPOINT

PIECE_BYTES = 1024 * 1024  # at most this much of a copy is in memory at once
_BUNDLED_LEAF_BYTES = 2 + LEAF_BYTES


class Piece(NamedTuple):
    """A part of a file. The pieces of a file follow one another; its last carries the hash of the whole."""

    path: str  # as under a home folder
    content: bytes
    sha256: bytes = b""


class CopiedFile(NamedTuple):
    """`size` bytes from the file's beginning; of a table, no more than whole rows of them."""

    path: str
    size: int
    parts: Callable[[], Iterator[bytes]]

    def pieces(self) -> Iterator[Piece]:
        whole, held = sha256(), b""
        for part in self.parts():
            if held:
                yield Piece(self.path, held)
            whole.update(part)
            held = part
        yield Piece(self.path, held, whole.digest())


@dataclass(frozen=True)
class LogCopy:
    """What belongs to the log of one checkpoint. What is below it never changes again, so that reading takes no lock.

    The wrapped keys are read after the checkpoint was made, and a key is durable before any entry names it: every
    entry of the copy has its key there.
    """

    audit: Path
    signed: SignedCheckpoint
    vkey: str
    segments: list[tuple[Path, int]]  # of the journal: how far each is read
    tile: Callable[[Tile], bytes]
    cosigned: Mapping[str, bytes]  # files of the tlog folder: what witnesses cosigned last, and under which policy

    def extent(self) -> tuple[int, int]:
        """Files and bytes that `pieces` will give; fewer bytes by a row of a table that was just being written."""
        files = size = 0
        for file in self._files():
            files, size = files + 1, size + file.size
        return files, size

    def pieces(self) -> Iterator[Piece]:
        for file in self._files():
            yield from file.pieces()

    def _files(self) -> Iterator[CopiedFile]:
        yield _held(f"audit/tlog/{VKEY}", f"{self.vkey}\n".encode())
        yield _held(f"audit/tlog/{CHECKPOINT}", self.signed.note.encode())
        for name, content in self.cosigned.items():
            yield _held(f"audit/tlog/{name}", content)
        yield _held(f"audit/{MARKER}", format_mark())
        yield from self._wrapped_keys()
        for path, used in self.segments:
            yield CopiedFile(f"audit/journal/{path.name}", used, lambda path=path, used=used: _parts(path, used))  # type: ignore[misc]
        for tile in tiles_of(self.signed.size):
            width = tile.width * (_BUNDLED_LEAF_BYTES if tile.level < 0 else HASH_BYTES)
            yield CopiedFile(f"audit/tlog/{tile.path}", width, lambda tile=tile: iter((self.tile(tile),)))  # type: ignore[misc]

    def _wrapped_keys(self) -> Iterator[CopiedFile]:
        folder = self.audit / "keys"
        kinds = ("*.json", "*.jsonl", "*.sealed", "*/*.json", "*/*.jsonl")
        for path in sorted(path for kind in kinds for path in folder.glob(kind)):
            name, size = path.relative_to(self.audit.parent).as_posix(), path.stat().st_size
            read = _rows if path.suffix == ".jsonl" else _parts
            yield CopiedFile(name, size, lambda path=path, size=size, read=read: read(path, size))  # type: ignore[misc]


def _held(path: str, content: bytes) -> CopiedFile:
    return CopiedFile(path, len(content), lambda: iter((content,)))


def _parts(path: Path, size: int) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while size > 0 and (part := file.read(min(size, PIECE_BYTES))):
            size -= len(part)
            yield part


def _rows(path: Path, size: int) -> Iterator[bytes]:
    """Whole rows: the last may be in the middle of being written, and then no entry names its key yet."""
    rest = b""
    for part in _parts(path, size):
        whole, newline, rest = (rest + part).rpartition(b"\n")
        if newline:
            yield whole + newline
