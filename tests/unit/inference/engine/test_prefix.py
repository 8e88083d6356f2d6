"""Kept prefixes: found by those who may, in the order they are used, and without changing a bit."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.engine.prefix import BLOCK_TOKENS, PrefixCache, PrefixIndex
from services.inference.engine.protocol import Message, Sampling, Work
from services.inference.engine.torch_engine import TorchEngine

PLACES = 4


class Blocks:
    """Token ids in place of keys and values."""

    def __init__(self) -> None:
        self.slot: list[int] = []
        self.places: dict[int, list[int]] = {}

    def load(self, slot: int, places: Sequence[int]) -> None:
        self.slot = [token for place in places for token in self.places[place]]

    def save(self, slot: int, blocks: Sequence[tuple[int, int]]) -> None:
        for n, place in blocks:
            self.places[place] = self.slot[n * BLOCK_TOKENS : (n + 1) * BLOCK_TOKENS]


def tokens(*blocks: int) -> list[int]:
    """So many whole blocks, each of one number."""
    return [number for number in blocks for _ in range(BLOCK_TOKENS)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.integers(0, 2), max_size=6)), max_size=30))
def test_what_is_found_is_what_that_scope_kept_and_memory_is_bounded(asked: list[tuple[str, list[int]]]) -> None:
    """Fails if `PrefixIndex.keys` leaves the scope, or the blocks before, out of a key."""
    blocks = Blocks()
    cache = PrefixCache(PrefixIndex(b"k" * 32, PLACES), blocks)
    kept: dict[str, set[tuple[int, ...]]] = {"a": set(), "b": set()}
    for scope, numbers in asked:
        ids = [*tokens(*numbers), 9]
        found = cache.load(scope, ids, 0)
        assert blocks.slot[:found] == ids[:found] and found % BLOCK_TOKENS == 0
        if found:
            assert any(list(ids[:found]) == list(one[:found]) for one in kept[scope])
        blocks.slot = ids
        cache.save(scope, ids, 0)
        kept[scope].add(tuple(ids))
        assert len(blocks.places) <= PLACES
        if len(numbers) <= PLACES:
            assert cache.load(scope, ids, 0) == len(numbers) * BLOCK_TOKENS


def test_what_nobody_used_for_longest_goes_first_and_ends_before_beginnings() -> None:
    index = PrefixIndex(b"k" * 32, PLACES)
    first, second = index.keys("a", tokens(1, 2)), index.keys("a", tokens(3, 4))
    index.keep(first)
    index.keep(second)
    assert len(index.find(first)) == 2
    index.keep(index.keys("a", tokens(5)))
    assert len(index.find(second)) == 1 and len(index.find(first)) == 2


def test_the_whole_prompt_is_never_found_for_something_must_be_computed() -> None:
    cache = PrefixCache(PrefixIndex(b"k" * 32, PLACES), blocks := Blocks())
    blocks.slot = tokens(1, 2)
    cache.save("a", tokens(1, 2), 0)
    assert cache.load("a", tokens(1, 2), 0) == BLOCK_TOKENS


def test_two_servers_give_the_same_tokens_different_keys() -> None:
    one, other = PrefixIndex(b"1" * 32, PLACES), PrefixIndex(b"2" * 32, PLACES)
    assert set(one.keys("a", tokens(1, 2))).isdisjoint(other.keys("a", tokens(1, 2)))


OPENING = "x" * 200 + " the same for all, "


def work(number: int, scope: str) -> Work:
    text = OPENING + random.Random(number).choice(["ab", "中文", "q" * 70]) * (1 + number % 3)
    sampling = Sampling(temperature=0.9, seed=number, max_tokens=90)
    return Work(request_id=f"r{number}", messages=(Message(role="user", content=text),), sampling=sampling, scope=scope)


def answers(engine: TorchEngine, works: Sequence[Work]) -> tuple[dict[str, list[int]], list[torch.Tensor]]:
    """And the logits that r1's tokens were chosen by."""
    waiting, got, seen = list(works), dict[str, list[int]](), list[torch.Tensor]()
    choose = engine._choose

    def spy(rows: Any, logits: torch.Tensor) -> list[int | None]:
        seen.extend(row.clone() for sequence, row in zip(rows, logits) if sequence.work.request_id == "r1")
        return choose(rows, logits)

    engine._choose = spy  # type: ignore[method-assign, assignment]
    while waiting or engine.live():
        if waiting and engine.capacity().free_slots:
            engine.admit(waiting.pop(0))
        for output in engine.step():
            got.setdefault(output.request_id, []).extend(output.token_ids)
    engine._choose = choose  # type: ignore[method-assign]
    return got, seen


@pytest.mark.parametrize("family", ["llama", "deepseek-v3"])
def test_invariant_11_answers_have_the_same_bits_with_and_without_hits(
    family: str, tiny_engine: Callable[..., TorchEngine]
) -> None:
    """Fails if `BlockStore.load` leaves out the transposition: heads then get each other's tokens."""
    made = tiny_engine(family, prefill_tokens=50)
    works = [work(number, "tenant:a") for number in range(6)]
    expected, bits = answers(made, [replace(one, scope="") for one in works])
    assert made.load().prefix_found == 0
    for _ in range(2):
        got, same = answers(made, works)
        assert got == expected
        assert all(torch.equal(one, other) for one, other in zip(bits, same, strict=True))
    assert made.load().prefix_found >= 6 * 3 * BLOCK_TOKENS
    found = made.load().prefix_found
    answers(made, [replace(works[0], scope="tenant:b")])
    assert made.load().prefix_found == found
