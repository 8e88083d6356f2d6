"""Choosing tokens on a GPU: what the CPU chooses from the same logits, without waiting for the device row by row."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.inference.engine.choosing import choose
from services.inference.engine.protocol import Sampling, Work
from services.inference.engine.torch_sampling import choose_each

pytestmark = pytest.mark.gpu

Wanted = st.tuples(
    st.builds(
        Sampling,
        temperature=st.sampled_from([0.0, 1e-38, 0.3, 0.7, 1.0, 3.0]),
        top_p=st.sampled_from([1.0, 0.9, 0.999, 0.01]),
        top_k=st.sampled_from([0, 1, 7, 300]),
        min_p=st.sampled_from([0.0, 0.0, 1e-9, 0.2, 1.0]),
        seed=st.integers(0, 2**64 - 1),
    ),
    st.integers(0, 100_000),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(Wanted, min_size=1, max_size=80),
    vocabulary=st.sampled_from([40, 256, 257, 5000]),
    spread=st.sampled_from([0.0, 0.5, 4.0]),
    ties=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_a_row_gets_the_token_that_the_cpu_would_choose(
    rows: list[tuple[Sampling, int]], vocabulary: int, spread: float, ties: bool, seed: int, device: str
) -> None:
    """Equal logits among them: a GPU lists those in any order."""
    logits = torch.randn(len(rows), vocabulary, generator=torch.Generator().manual_seed(seed)) * spread
    if ties:
        logits = logits.round()
    expected = [choose(row, *wanted) for row, wanted in zip(logits.numpy(), rows)]
    assert choose_each(logits.to(device), rows) == expected


def test_rows_that_are_not_finite_get_none_and_the_others_theirs(device: str) -> None:
    logits = torch.randn(5, 300, generator=torch.Generator().manual_seed(1))
    asked = [(Sampling(temperature=0.8, seed=row), row) for row in range(5)]
    expected: list[int | None] = [choose(row, *wanted) for row, wanted in zip(logits.numpy(), asked)]
    logits[1, 5], logits[3] = float("nan"), float("-inf")
    expected[1] = expected[3] = None
    assert choose_each(logits.to(device), asked) == expected


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("family", ["llama", "deepseek-v3"])
def test_a_step_waits_for_the_device_no_more_often_with_more_rows(
    family: str,
    temperature: float,
    cuda: Any,
    gpu_engine: Callable[..., Any],
    asked: Callable[..., Work],
    measured: Callable[[str], None],
) -> None:
    """Fails if `choose_each` asks for every row's token by itself."""
    engine = gpu_engine(family, torch.bfloat16, slots=32)

    def waits(rows: int) -> int:
        for number in range(rows):
            engine.admit(asked(number, temperature=temperature, max_tokens=40))
        while len(engine._order.decoding) < rows:
            engine.step()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            cuda.set_sync_debug_mode("warn")
            try:
                engine.step()
            finally:
                cuda.set_sync_debug_mode("default")
        engine.close()
        return sum("called a synchronizing" in str(warning.message) for warning in caught)

    one, many = waits(1), waits(32)
    measured(f"bf16 tiny {family}, temperature {temperature}: a decode step waits for the device {many} times")
    assert 0 < one == many
