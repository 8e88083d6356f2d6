"""Chunks fill what decode leaves of a step."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.budget import PrefillBudget

MS = 1_000_000


class Machine:
    """Steps on a clock of its own: 20 ms for a pass and 1 ms for each token in it, times how slow it is just now."""

    def __init__(self, decoding: int = 4) -> None:
        self.budget, self.decoding = PrefillBudget(200 * MS), decoding
        for _ in range(30):
            self.step(1.0)

    def step(self, slowness: float, *, prompt: bool = True) -> int:
        """Returns the step's length in ms."""
        tokens = self.decoding + (self.budget.prompt_tokens(self.decoding) if prompt else 0)
        took = int((20 + tokens) * MS * slowness)
        self.budget.stepped(tokens, took, prompt=prompt)
        return took // MS


def test_chunks_fill_the_target_beside_the_rows_that_decode() -> None:
    """Fails if `prompt_tokens` does not subtract `decoding`."""
    for decoding in (0, 4, 50):
        assert Machine(decoding).step(1.0) in range(190, 201)


@pytest.mark.parametrize(("decoding", "least_ms"), [(90, 100), (110, 100), (125, 100), (300, 320), (1000, 1020)])
def test_prompts_have_half_the_target_while_a_step_can_be_on_time_and_else_as_long_as_decode(
    decoding: int, least_ms: int
) -> None:
    """Fails if `_aimed` is the target alone: prompts then go on in crumbs, each of which pays for a whole pass."""
    decode_ms = 20 + decoding
    of_prompts = Machine(decoding).step(1.0) - decode_ms
    assert least_ms - 8 <= of_prompts <= least_ms or of_prompts == 512
    assert decode_ms >= 150 or decode_ms + of_prompts < 250


@pytest.mark.parametrize("seed", range(3))
def test_late_steps_do_not_starve_prompts_where_decode_alone_is_slow(seed: int) -> None:
    """Fails if what is aimed for after late steps may be less than what decode takes."""
    machine, chance = Machine(250), random.Random(seed)
    for _ in range(200):
        machine.step(chance.choice((1.0, 1.0, 2.0)))
        assert machine.budget.prompt_tokens(250) >= 64


def test_long_runs_of_nothing_but_decode_do_not_make_the_next_chunk_long() -> None:
    """Fails if the line is fitted to steps of one size: its slope is then anything."""
    machine = Machine(16)
    for _ in range(500):
        machine.step(1.0, prompt=False)
    assert 100 <= machine.step(1.0) <= 250


def test_a_step_always_carries_something_so_that_prompts_are_never_starved() -> None:
    budget = PrefillBudget(200 * MS)
    budget.stepped(16, 900 * MS, prompt=False)
    assert budget.prompt_tokens(16) == 32


def test_before_anything_is_measured_one_small_chunk_runs() -> None:
    assert PrefillBudget(200 * MS, first=32).prompt_tokens(5) == 32


def test_a_fixed_chunk_is_not_learned_away() -> None:
    budget = PrefillBudget(200 * MS, fixed=7)
    budget.stepped(32, 3200 * MS, prompt=True)
    assert budget.prompt_tokens(3) == 7


def test_one_pass_is_bounded_however_fast_the_machine() -> None:
    budget = PrefillBudget(200 * MS, most=512)
    for _ in range(20):
        budget.stepped(4 + budget.prompt_tokens(4), 1000, prompt=True)
    assert budget.prompt_tokens(4) == 512


@given(st.lists(st.tuples(st.integers(1, 700), st.integers(0, 10**10), st.booleans()), max_size=60))
def test_whatever_was_measured_the_next_chunk_is_within_its_bounds(steps: list[tuple[int, int, bool]]) -> None:
    budget = PrefillBudget(200 * MS)
    for tokens, took_ns, prompt in steps:
        budget.stepped(tokens, took_ns, prompt=prompt)
        assert 8 <= budget.prompt_tokens(16) <= 512


@given(st.floats(1.0, 6.0))
def test_invariant_9_on_a_machine_that_became_slower_only_the_first_step_is_long(slowness: float) -> None:
    """Fails if `_Cost.learn` leaves `slower` at 1: the chunk then takes several steps to follow. Beyond 6 times slower,
    decode and the least chunk alone are too long."""
    machine = Machine()
    machine.budget._late = lambda took_ns: None  # type: ignore[method-assign]
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
    """Fails if `PrefillBudget._late` does nothing."""
    adapting, unmoved, chance = Machine(), Machine(), random.Random(seed)
    unmoved.budget._late = lambda took_ns: None  # type: ignore[method-assign]
    late = {adapting: 0, unmoved: 0}
    for _ in range(400):
        slowness = chance.choice((1.0, 1.0, 1.0, 3.0))
        for machine in late:
            late[machine] += machine.step(slowness) > 250
    assert late[adapting] < late[unmoved] * 0.8


@pytest.mark.parametrize("slowness", [1.3, 1.8, 3.0, 10.0])
def test_a_step_that_was_interrupted_makes_one_short_step_and_no_more(slowness: float) -> None:
    """Fails if `stepped` does not take back what it learned of it, or `_late` the half of what is aimed for."""
    machine = Machine()
    before = machine.step(1.0)
    for _ in range(5):
        machine.step(slowness)
        assert machine.step(1.0) < before
        assert machine.step(1.0) >= 0.95 * before
        for _ in range(10):
            assert 0.95 * before <= machine.step(1.0) <= 250


def test_a_late_step_is_never_a_reason_to_carry_nothing() -> None:
    machine = Machine()
    for _ in range(50):
        machine.step(100.0)
    assert machine.budget.prompt_tokens(4) == 24
