"""Which slots of the KV cache hold memory. On a CPU a slot is address space: memory comes with the first write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Slots(Protocol):
    """The cache."""

    def move(self, source: int, target: int, tokens: int) -> None: ...

    def swap(self, one: int, other: int, tokens: int) -> None: ...

    def clear(self, slot: int) -> None: ...

    def give_back(self, slot: int, tokens: int) -> None:
        """Frees the memory that the slot holds from that token on."""


class Residency:
    """Keeps what all slots hold, written or reserved, within the arena, whatever was written in them before.

    Memory that a slot's next request can use stays: to take pages away and back costs more than to write on them.
    """

    def __init__(self, cache: Slots, *, slots: int, tokens: int) -> None:
        self._cache, self._tokens = cache, tokens
        self._held = [0] * slots  # tokens, from the slot's start on, that may have been written

    @property
    def held(self) -> int:
        return sum(self._held)

    def wrote(self, slot: int, end: int) -> None:
        self._held[slot] = max(self._held[slot], end)

    def reserve(self, reserved: Sequence[int]) -> None:
        """Tokens reserved for the requests in the first slots; the others are free. To be called before they write."""
        needs = [*reserved, *[0] * (len(self._held) - len(reserved))]
        excess = sum(max(held, need) for held, need in zip(self._held, needs, strict=True)) - self._tokens
        for slot in reversed(range(len(needs))):  # the last ones are the last to be used again
            if excess <= 0:
                return
            surplus = self._held[slot] - needs[slot]
            if surplus > 0:
                self._cache.give_back(slot, needs[slot])
                self._held[slot] = needs[slot]
                excess -= surplus

    def move(self, source: int, target: int, tokens: int) -> None:
        self._cache.move(source, target, tokens)
        self.wrote(target, tokens)

    def swap(self, one: int, other: int, tokens: int) -> None:
        self._cache.swap(one, other, tokens)
        self.wrote(one, tokens)
        self.wrote(other, tokens)

    def clear(self, slot: int) -> None:
        self._cache.clear(slot)
