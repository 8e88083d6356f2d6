"""Chunks fill what decode leaves of a step."""

from __future__ import annotations

from services.inference.engine.budget import PrefillBudget

MS = 1_000_000


def test_a_chunk_fills_the_target() -> None:
    budget = PrefillBudget(200 * MS)
    budget.prefilled(32, 32 * MS)
    assert budget.chunk(1000, spent_ns=0, beside_decode=False) == 200


def test_decode_has_the_first_claim_on_the_step() -> None:
    budget = PrefillBudget(200 * MS)
    budget.prefilled(32, 32 * MS)
    budget.decoded(120 * MS)
    assert budget.chunk(1000, spent_ns=0, beside_decode=True) == 80


def test_a_step_always_carries_something_so_that_prompts_are_never_starved() -> None:
    budget = PrefillBudget(200 * MS)
    budget.prefilled(32, 32 * MS)
    budget.decoded(900 * MS)
    assert budget.chunk(1000, spent_ns=0, beside_decode=True) == 8
    assert budget.chunk(1000, spent_ns=1, beside_decode=True) == 0


def test_a_second_prompt_joins_only_while_there_is_room() -> None:
    budget = PrefillBudget(200 * MS)
    budget.prefilled(32, 32 * MS)
    assert budget.chunk(5, spent_ns=100 * MS, beside_decode=False) == 5
    assert budget.chunk(5, spent_ns=195 * MS, beside_decode=False) == 0


def test_before_anything_is_measured_one_small_chunk_runs() -> None:
    budget = PrefillBudget(200 * MS, first=32)
    assert budget.chunk(1000, spent_ns=0, beside_decode=True) == 32
    assert budget.chunk(1000, spent_ns=1, beside_decode=True) == 0


def test_a_fixed_chunk_is_not_learned_away() -> None:
    budget = PrefillBudget(200 * MS, fixed=7)
    budget.prefilled(32, 3200 * MS)
    assert budget.chunk(1000, spent_ns=0, beside_decode=True) == 7
