"""Writes tiles and bundles, then the checkpoint, behind the journal; all of it can be rebuilt from there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from services.audit.journal.journal import open_directory
from services.audit.journal.segment import fsync_directory
from services.audit.log.merkle import Tree
from services.audit.log.note import SignedCheckpoint
from services.audit.log.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, bundle, tiles_of

CHECKPOINT = "checkpoint"


def write_atomically(path: Path, data: bytes) -> None:
    """The file appears whole and durable under its name, or not at all."""
    open_directory(path.parent)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(partial, path)
    fsync_directory(path.parent)


class Publisher:
    """Owned by one thread at a time. `leaf_bytes` is told the first leaf and how many; `tiles_written` is called
    between the tiles and the checkpoint (fault tests)."""

    def __init__(
        self,
        directory: Path,
        tree: Tree,
        leaf_bytes: Callable[[int, int], list[bytes]],
        tiles_written: Callable[[], None] = lambda: None,
    ) -> None:
        self._directory, self._tree, self._leaf_bytes = directory, tree, leaf_bytes
        self._tiles_written = tiles_written
        self._published = 0

    @property
    def published(self) -> int:
        """Leaves that the checkpoint file covers."""
        return self._published

    def publish(self, signed: SignedCheckpoint) -> None:
        """A checkpoint is only written once everything below it is, so a running folder always verifies."""
        if signed.size <= self._published:
            return
        new = list(tiles_of(signed.size, self._published))
        for tile in new:
            self._write(tile)
        self._tiles_written()
        write_atomically(self._directory / CHECKPOINT, signed.note.encode())
        self._published = signed.size
        for tile in new:
            if tile.width == TILE_WIDTH:
                shutil.rmtree(self._directory / f"{tile.full_path}.p", ignore_errors=True)

    def tile(self, tile: Tile) -> bytes:
        """From any thread. A full tile stays as it was published; a partial one is made again, as the publisher may
        remove it at any time."""
        path = self._directory / tile.path
        if tile.width == TILE_WIDTH and path.exists():
            return path.read_bytes()
        return self._content(tile)

    def rebuild(self, size: int) -> list[str]:
        """Writes what is missing or wrong of a tree of `size`; returns the paths of what was there but wrong."""
        wrong = []
        for tile in tiles_of(size):
            path = self._directory / tile.path
            if not path.exists():
                self._write(tile)
            elif path.read_bytes() != self._content(tile):
                wrong.append(tile.path)
                self._write(tile)
        self._published = size
        return wrong

    def _write(self, tile: Tile) -> None:
        write_atomically(self._directory / tile.path, self._content(tile))

    def _content(self, tile: Tile) -> bytes:
        start = tile.index * TILE_WIDTH
        if tile.level < 0:
            return bundle(self._leaf_bytes(start, tile.width))
        return self._tree.hashes(tile.level * TILE_HEIGHT, start, tile.width)
