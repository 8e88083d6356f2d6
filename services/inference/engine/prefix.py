"""Which blocks of tokens are kept, so that prompts that begin alike are not computed twice: keys and their places."""

from __future__ import annotations

import hmac
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

BLOCK_TOKENS = 64


class PrefixIndex:
    """A block's key is an HMAC over all tokens up to its end, and over a scope: nobody finds another scope's block, nor
    learns from the time it takes that there is one. The server's key is never told, so keys cannot be made up."""

    def __init__(self, server_key: bytes, places: int) -> None:
        self._server_key, self._places = server_key, places
        self._kept: OrderedDict[bytes, int] = OrderedDict()  # key → place; the first one goes first

    def __len__(self) -> int:
        return len(self._kept)

    def keys(self, scope: str, ids: Sequence[int]) -> list[bytes]:
        """Of the whole blocks at the start of these tokens."""
        key = hmac.digest(self._server_key, scope.encode(), "sha256")
        keys: list[bytes] = []
        for end in range(BLOCK_TOKENS, len(ids) + 1, BLOCK_TOKENS):
            block = array("q", ids[end - BLOCK_TOKENS : end]).tobytes()
            key = hmac.digest(self._server_key, key + block, "sha256")
            keys.append(key)
        return keys

    def find(self, keys: Sequence[bytes]) -> list[int]:
        """Places of the blocks from the start on, as far as they are kept."""
        known = next((n for n, key in enumerate(keys) if key not in self._kept), len(keys))
        self._touch(keys[:known])
        return [self._kept[key] for key in keys[:known]]

    def keep(self, keys: Sequence[bytes]) -> list[tuple[int, int]]:
        """New blocks: which one of `keys`, and its place, to be written before anybody looks. Those that nobody has
        used for longest make room."""
        keys = keys[: self._places]
        self._touch([key for key in keys if key in self._kept])
        new: list[tuple[int, int]] = []
        for n, key in enumerate(keys):
            if key not in self._kept:
                full = len(self._kept) >= self._places
                self._kept[key] = self._kept.popitem(last=False)[1] if full else len(self._kept)
                new.append((n, self._kept[key]))
        self._touch(keys)
        return new

    def _touch(self, keys: Sequence[bytes]) -> None:
        """Used now. A block without those before it is of no use, so it goes before them."""
        for key in reversed(keys):
            self._kept.move_to_end(key)


class PrefixStore(Protocol):
    """The keys and values of kept blocks."""

    def load(self, slot: int, places: Sequence[int]) -> None:
        """Copies these blocks to the slot's start."""

    def save(self, slot: int, blocks: Sequence[tuple[int, int]]) -> None:
        """Copies the slot's n-th block to a place, for each (n, place)."""


class PrefixCache:
    """Index and store together. Counts in tokens."""

    def __init__(self, index: PrefixIndex, store: PrefixStore) -> None:
        self._index, self._store = index, store
        self.asked = self.found = 0

    def load(self, scope: str, ids: Sequence[int], slot: int) -> int:
        """Fills the slot with what is kept of these tokens' start; how many of them. Never all: something must be
        computed for there to be a next token."""
        places = self._index.find(self._index.keys(scope, ids[:-1]))
        if places:
            self._store.load(slot, places)
        self.asked, self.found = self.asked + len(ids), self.found + len(places) * BLOCK_TOKENS
        return len(places) * BLOCK_TOKENS

    def save(self, scope: str, ids: Sequence[int], slot: int) -> None:
        """Keeps what the slot holds of these tokens."""
        new = self._index.keep(self._index.keys(scope, ids))
        if new:
            self._store.save(slot, new)
