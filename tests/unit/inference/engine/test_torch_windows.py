"""Sliding windows over the slot cache: what a layer of each kind sees, and models whose windows are not known."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from services.inference.engine.batch import Segment
from services.inference.engine.torch_engine import TorchEngine
from services.inference.engine.torch_windows import FULL, SLIDING, Masks
from services.inference.models.wheel import ModelUnavailable


def seen(mask: torch.Tensor) -> list[list[int]]:
    """Of one row: the keys that each query sees."""
    return [(line == 0).nonzero().flatten().tolist() for line in mask[0, 0]]


def test_each_kind_of_layer_has_its_mask() -> None:
    masks = Masks(SimpleNamespace(layer_types=[FULL, SLIDING], sliding_window=3))
    made = masks.of(torch.tensor([[4, 5]]), 8, torch.float32)
    assert isinstance(made, dict)
    assert seen(made[FULL]) == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5]]
    assert seen(made[SLIDING]) == [[2, 3, 4], [3, 4, 5]]


def test_a_window_that_is_switched_off_is_none() -> None:
    assert not Masks(SimpleNamespace(sliding_window=4096, use_sliding_window=False)).sliding


@pytest.mark.parametrize("config", [{"layer_types": ["chunked_attention"]}, {"layer_types": [SLIDING]}])
def test_a_model_whose_masks_are_not_known_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ModelUnavailable):
        Masks(SimpleNamespace(**config))


@pytest.mark.parametrize("family", ["mistral", "qwen2-sliding"])
def test_logits_far_behind_the_window_are_those_of_the_plain_model(
    family: str, tiny_engine: Callable[..., TorchEngine], tiny_model: Callable[[str], Any]
) -> None:
    """Whole blocks of 512 keys are hidden. Fails if `Masks.of` gives every layer the causal mask."""
    ids = [number * 7 % 250 for number in range(590)]
    engine = tiny_engine(family)
    engine._runner.run([Segment(0, 0, ids[:400], logits=0)])
    chunk = engine._runner.run([Segment(0, 400, ids[400:589], logits=189)])
    newest = engine._runner.run([Segment(0, 589, ids[589:])])
    reference = tiny_model(family)(torch.tensor([ids])).logits[0, 400:]
    torch.testing.assert_close(torch.cat([chunk, newest]), reference, rtol=1e-4, atol=1e-4)
