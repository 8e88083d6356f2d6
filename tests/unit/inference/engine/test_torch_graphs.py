"""Recorded decode passes: what is rounded up changes no answer. The recorder here runs the pass again each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.protocol import Message, Sampling, Work
from services.inference.engine.torch_attention import VIEW_TOKENS
from services.inference.engine.torch_engine import TorchEngine
from services.inference.engine.torch_graphs import DecodeGraphs, sizes

SLOTS = 8  # passes of 5 and 7 rows are rounded up


def work(number: int, length: int, max_tokens: int) -> Work:
    sampling = Sampling(temperature=0.8, top_p=0.95, seed=number, max_tokens=max_tokens)
    return Work(request_id=f"r{number}", messages=(Message(role="user", content="x" * length),), sampling=sampling)


def recorded(engine: TorchEngine, passes: list[tuple[int, int]]) -> TorchEngine:
    """The engine decodes through graphs from now on; `passes` gets the rows and view of each."""
    runner = engine._runner

    def run(ids: torch.Tensor, positions: torch.Tensor, *, first: int, view: int) -> torch.Tensor:
        passes.append((len(ids), view))
        return runner.one_each(ids, positions, first=first, view=view)

    runner.graphs = DecodeGraphs(
        run,
        slots=SLOTS,
        context=runner._context,
        vocabulary=259,
        device=torch.device("cpu"),
        view_tokens=VIEW_TOKENS,
        record=lambda again: again,
    )
    return engine


def answers(engine: TorchEngine, works: list[Work]) -> dict[str, list[int]]:
    """One joins every second step, so that some are still in prefill while others decode."""
    waiting, step = list(works), 0
    got: dict[str, list[int]] = {}
    while waiting or engine.live():
        if waiting and step % 2 == 0 and engine.capacity().free_slots:
            engine.admit(waiting.pop(0))
        for output in engine.step():
            got.setdefault(output.request_id, []).extend(output.token_ids)
        step += 1
    return got


@pytest.mark.parametrize("family", ["llama", "deepseek-v3"])
def test_invariant_11_rows_too_many_write_over_nobody(family: str, tiny_engine: Callable[..., Any]) -> None:
    """Fails if `DecodeGraphs.decode` gives them position 0."""
    settings = {"slots": SLOTS, "context_tokens": 1024, "prefill_tokens": 40}
    works = [work(n, length, 40 - 3 * n) for n, length in enumerate((3, 200, 530, 90, 10, 400, 1, 505, 7))]
    expected = answers(tiny_engine(family, fused=False, **settings), works)
    passes: list[tuple[int, int]] = []
    assert answers(recorded(tiny_engine(family, fused=False, **settings), passes), works) == expected
    assert {rows for rows, _ in passes} <= set(sizes(SLOTS))
    assert {view for _, view in passes} == {512, 1024}


@given(limit=st.integers(1, 1024))
def test_no_number_of_rows_is_rounded_up_by_more_than_half(limit: int) -> None:
    recorded_sizes = list(sizes(limit))
    assert recorded_sizes[-1] == limit and recorded_sizes == sorted(set(recorded_sizes))
    for rows in range(1, limit + 1):
        size = next(size for size in recorded_sizes if size >= rows)
        assert size <= max(rows * 1.5, rows + 1)
