"""Chunks fill what decode leaves of a step."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


class Machine:
    """Steps on a clock of its own: 2 ms a token of prefill, 20 ms of decode, times how slow it is just now."""

    def __init__(self) -> None:
        self.budget = PrefillBudget(200 * MS)
        for _ in range(20):
            self.step(1.0)

    def step(self, slowness: float) -> int:
        """Returns the step's length in ms."""
        tokens = self.budget.chunk(10_000, spent_ns=0, beside_decode=True)
        prefill, decode = int(2 * MS * tokens * slowness), int(20 * MS * slowness)
        self.budget.prefilled(tokens, prefill)
        self.budget.decoded(decode)
        self.budget.stepped(prefill + decode)
        return (prefill + decode) // MS


@given(st.floats(1.0, 6.0))
def test_invariant_9_on_a_machine_that_became_slower_only_the_first_step_is_long(slowness: float) -> None:
    """Fails if `_learned` only blends: the chunk then takes several steps to follow. Beyond 6 times slower, decode and
    the least chunk alone are too long."""
    machine = Machine()
    machine.budget.stepped = lambda took_ns: None  # type: ignore[method-assign]
    assert machine.step(slowness) <= 200 * slowness
    assert all(machine.step(slowness) <= 250 for _ in range(50))


def test_what_became_fast_again_is_used_again() -> None:
    machine = Machine()
    for _ in range(10):
        machine.step(6.0)
    lengths = [machine.step(1.0) for _ in range(100)]
    assert max(lengths) <= 250 and min(lengths[-10:]) >= 180


@pytest.mark.parametrize("seed", range(5))
def test_late_steps_make_the_next_ones_shorter_while_the_speed_jumps(seed: int) -> None:
    """Fails if `PrefillBudget.stepped` does nothing."""
    adapting, unmoved, chance = Machine(), Machine(), random.Random(seed)
    unmoved.budget.stepped = lambda took_ns: None  # type: ignore[method-assign]
    late = {adapting: 0, unmoved: 0}
    for _ in range(400):
        slowness = chance.choice((1.0, 1.0, 1.0, 3.0))
        for machine in late:
            late[machine] += machine.step(slowness) > 250
    assert late[adapting] < late[unmoved] / 2


def test_a_late_step_is_never_a_reason_to_carry_nothing() -> None:
    machine = Machine()
    for _ in range(50):
        machine.step(100.0)
    assert machine.budget.chunk(1000, spent_ns=0, beside_decode=True) == 8
