"""tlog-tiles: the paths of tiles and entry bundles, and which of them a tree of a given size has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

TILE_WIDTH = 256
TILE_HEIGHT = 8


def index_path(index: int) -> str:
    """1234067 becomes x001/x234/067."""
    groups = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        groups.append(f"x{index % 1000:03d}")
    return "/".join(reversed(groups))


@dataclass(frozen=True)
class Tile:
    """`width` hashes of level `level`; level -1 is an entry bundle."""

    level: int
    index: int
    width: int

    @property
    def full_path(self) -> str:
        return f"tile/{'entries' if self.level < 0 else self.level}/{index_path(self.index)}"

    @property
    def path(self) -> str:
        return self.full_path if self.width == TILE_WIDTH else f"{self.full_path}.p/{self.width}"


def tiles_of(size: int, above: int = 0) -> Iterator[Tile]:
    """The tiles and bundles of a tree of `size` leaves that a tree of `above` leaves does not already have."""
    for level in (-1, *range(64)):
        shift = TILE_HEIGHT * max(level, 0)
        count, known = size >> shift, above >> shift
        if count == 0:
            return
        for index in range(known // TILE_WIDTH, -(-count // TILE_WIDTH)):
            width = min(TILE_WIDTH, count - index * TILE_WIDTH)
            if index * TILE_WIDTH + width > known:
                yield Tile(level, index, width)


def bundle(entries: list[bytes]) -> bytes:
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
