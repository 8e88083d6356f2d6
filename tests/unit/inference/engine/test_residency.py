"""Slots are address space: what they hold stays within the arena, and no request loses what it wrote."""

from __future__ import annotations

from typing import Any

import psutil
import torch
from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.residency import Residency
from services.inference.engine.torch_slots import SlotCache

SLOTS, TOKENS = 6, 100


class Memory:
    """How many tokens of each slot hold memory."""

    def __init__(self) -> None:
        self.tokens = [0] * SLOTS

    def move(self, source: int, target: int, tokens: int) -> None:
        self.tokens[target] = max(self.tokens[target], tokens)

    def swap(self, one: int, other: int, tokens: int) -> None:
        self.move(one, other, tokens)
        self.move(other, one, tokens)

    def clear(self, slot: int) -> None: ...

    def give_back(self, slot: int, tokens: int) -> None:
        self.tokens[slot] = min(self.tokens[slot], tokens)


@given(st.lists(st.lists(st.integers(0, 60), max_size=SLOTS).filter(lambda needs: sum(needs) <= TOKENS), max_size=20))
def test_what_is_written_and_what_may_be_stays_within_the_arena(steps: list[list[int]]) -> None:
    """Fails if `Residency.reserve` returns at once."""
    memory = Memory()
    residency = Residency(memory, slots=SLOTS, tokens=TOKENS)
    for needs in steps:
        residency.reserve(needs)
        for slot, need in enumerate(needs):
            residency.wrote(slot, need)
            memory.tokens[slot] = max(memory.tokens[slot], need)
        assert sum(memory.tokens) == residency.held <= TOKENS
        assert all(held >= need for held, need in zip(memory.tokens, needs))


def test_memory_that_the_next_request_can_use_is_not_taken_away() -> None:
    memory = Memory()
    residency = Residency(memory, slots=SLOTS, tokens=TOKENS)
    residency.wrote(0, 40)
    memory.tokens[0] = 40
    residency.reserve([30])
    assert memory.tokens[0] == 40


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


def filled(slots: int, context: int) -> SlotCache:
    cache = SlotCache(1, slots, context)
    state: Any = torch.ones(1, 8, 1, 64)
    cache.prepare(state, state)
    return cache


def test_a_slot_takes_memory_when_it_is_written_and_gives_it_back_and_is_zero_again() -> None:
    """Fails if `zeros` maps shared pages: those stay, and a mere look at them makes more."""
    before = resident()
    cache = filled(64, 4096)  # 16 MiB a slot, of 1 GiB
    keys, values = cache.stored(0)
    assert not bool(keys[:32].any())
    keys[:2], values[:2] = 1.0, 1.0
    assert 30 << 20 < resident() - before < 48 << 20
    cache.give_back(0, 1000)
    cache.give_back(1, 0)
    assert resident() - before < 20 << 20
    assert bool((keys[0, :, :1000] == 1).all()) and not bool(keys[0, :, 1008:].any())
    assert not bool(keys[1].any())
