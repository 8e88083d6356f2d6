"""Where kept blocks of keys and values lie: beside the slots, copied in and out whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from services.inference.engine.prefix import BLOCK_TOKENS
from services.inference.engine.torch_slots import SlotCache, zeros


class BlockStore:
    """For each layer's keys and values [places, heads, block, size]; made at the first block, as the slots are."""

    def __init__(self, cache: SlotCache, places: int) -> None:
        self._cache, self._places = cache, places
        self._made: list[Tensor] = []

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        slots = self._cache.stores()
        if not self._made:
            self._made = [
                zeros((self._places, store.shape[1], BLOCK_TOKENS, store.shape[3]), store.dtype, store.device)
                for store in slots
            ]
        return list(zip(slots, self._made, strict=True))

    @torch.inference_mode()
    def load(self, slot: int, places: Sequence[int]) -> None:
        tokens = len(places) * BLOCK_TOKENS
        for slots, blocks in self._pairs():
            slots[slot, :, :tokens] = blocks[list(places)].transpose(0, 1).flatten(1, 2)

    @torch.inference_mode()
    def save(self, slot: int, blocks: Sequence[tuple[int, int]]) -> None:
        last = max(n for n, _ in blocks) + 1
        for slots, kept in self._pairs():
            _, heads, _, size = slots.shape
            whole = slots[slot, :, : last * BLOCK_TOKENS].view(heads, last, BLOCK_TOKENS, size).transpose(0, 1)
            kept[[place for _, place in blocks]] = whole[[n for n, _ in blocks]]
