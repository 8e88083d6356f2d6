"""How many slots and tokens of KV the memory holds: one arithmetic for the engine that opens and for a plan of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PREFIX_SHARE = 0.25  # of the KV cache's memory, for what is kept of prompts


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where some of the cache lies."""

    name: str
    free: int  # bytes, with the weights already there
    token_bytes: int  # that one token takes in the layers of this place
    whole_slots: bool  # a GPU takes whole slots at once; on a CPU a slot without tokens costs nothing

    def holds(self, share: float) -> int:
        """Tokens."""
        return max(int(self.free * share), 0) // self.token_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    slots: int
    arena: int  # tokens of KV for all slots together
    kept: int  # tokens of kept prefixes


class NoRoom(Exception):
    """Not even one request of full context, which is so many tokens, has room in this place."""

    def __init__(self, place: Place, tokens: int) -> None:
        super().__init__(
            f"one request of full context needs {tokens * place.token_bytes >> 20} MiB of KV cache on {place.name}, of "
            f"{max(place.free, 0) >> 20} MiB free: lower context_tokens or take a smaller model"
        )
        self.place = place


def context_of(asked: int, known: int) -> int:
    """Tokens of one request: as many as are asked for, at most what the model knows. 0 of either says nothing."""
    return min(asked or known, known or asked)


def kv_sizes(places: Sequence[Place], *, slots: int, slot: int, share: float) -> Sizes:
    """As many as are asked for, at most what the memory's share holds wherever the cache lies. `slot` is in tokens.
    Raises NoRoom."""
    arena = kept = slots * slot
    for place in places:
        holds = place.holds(share)
        if holds < slot:
            raise NoRoom(place, slot)
        kept = min(kept, int(holds * PREFIX_SHARE), holds - slot)
        if place.whole_slots:
            slots = min(slots, (holds - kept) // slot)
        arena = min(arena, holds - kept, slots * slot)
    return Sizes(slots=slots, arena=arena, kept=kept)
