"""Absorbed latent attention: the same numbers as transformers' expansion, from the cache as it lies."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from services.inference.engine.batch import Segment
from services.inference.engine.torch_attention import AttentionChoice
from services.inference.engine.torch_engine import TorchEngine
from services.inference.engine.torch_mla import LATENT as LATENT_ATTENTION
from services.inference.engine.torch_mla import Absorbed, absorb, side_by_side
from services.inference.engine.torch_runner import ModelRunner
from services.inference.engine.torch_slots import SlotCache, Window

LATENT = ["deepseek-v2", "deepseek-v3"]
PROMPT = [number * 7 % 250 for number in range(90)]


def logits(engine: TorchEngine, chunks: list[int]) -> torch.Tensor:
    """After every token of the prompt, cut into chunks of these lengths."""
    found, start = [], 0
    for length in chunks:
        found.append(engine._runner.run([Segment(0, start, PROMPT[start : start + length], logits=length)]))
        start += length
    return torch.cat(found)


@pytest.mark.parametrize("family", LATENT)
def test_logits_are_those_of_the_expanded_model(
    family: str, tiny_engine: Callable[..., TorchEngine], tiny_model: Callable[[str], Any]
) -> None:
    """Fails if `Absorbed` takes the value part for the key part."""
    expanded = tiny_model(family)(torch.tensor([PROMPT])).logits[0]
    torch.testing.assert_close(logits(tiny_engine(family), [32, 1, 1, 56]), expanded, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", LATENT)
def test_no_layer_expands_the_context_in_fp32_on_cpu(family: str, tiny_engine: Callable[..., TorchEngine]) -> None:
    """Fails if `absorb` is not called, or leaves `kv_b_proj` where a chunk could be expanded by it."""
    model = tiny_engine(family)._runner._model
    assert model.config._attn_implementation == LATENT_ATTENTION
    assert {type(layer.self_attn.kv_b_proj) for layer in model.model.layers} == {torch.nn.Identity}


def test_where_bits_are_not_promised_a_long_chunk_is_expanded(tiny_model: Callable[[str], Any]) -> None:
    model = copy.deepcopy(tiny_model("deepseek-v3"))
    choice = AttentionChoice(implementation="sdpa", name="sdpa", reason="", view_tokens=64)
    model.set_attn_implementation(absorb(model, choice, exact=False, most_queries=16).implementation)
    expanded: list[int] = []
    for layer in model.model.layers:
        layer.self_attn.kv_b_proj.register_forward_hook(lambda _, taken, __: expanded.append(taken[0].shape[2]))
    runner = ModelRunner(model, SlotCache(2, 1, 128), choice, context=128)
    long = runner.run([Segment(0, 0, PROMPT[:40], logits=40)])
    short = runner.run([Segment(0, 40, PROMPT[40:56], logits=16)])
    assert expanded == [64, 64], "once a layer, the view of the first chunk"
    reference = tiny_model("deepseek-v3")(torch.tensor([PROMPT])).logits[0]
    torch.testing.assert_close(torch.cat([long, short]), reference[:56], rtol=1e-4, atol=1e-4)


def test_the_cache_is_read_without_a_copy() -> None:
    cache = SlotCache(1, 3, 64)
    cache.look(Window(first=1, positions=torch.tensor([[5], [6]]), start=0, view=64))
    latents, ropes = cache.layers[0].update(torch.ones(2, 1, 1, 8), torch.full((2, 1, 1, 4), 2.0))
    both = side_by_side(latents, ropes)
    assert both.data_ptr() == latents.data_ptr()
    assert both.shape == (2, 1, 64, 12)
    assert both[1, 0, 6].tolist() == [1.0] * 8 + [2.0] * 4
    apart = side_by_side(latents.clone(), ropes.clone())
    assert torch.equal(apart, both)


def test_a_layer_whose_weights_are_not_in_memory_stays_as_it_is(tiny_model: Callable[[str], Any]) -> None:
    model = copy.deepcopy(tiny_model("deepseek-v2"))
    model.model.layers[1].self_attn.kv_b_proj.to("meta")
    choice = AttentionChoice(implementation="sdpa", name="sdpa", reason="", view_tokens=64)
    absorb(model, choice, exact=True)
    assert isinstance(model.model.layers[0].self_attn.absorbed, Absorbed)
    assert not hasattr(model.model.layers[1].self_attn, "absorbed")


def test_a_model_with_keys_and_values_is_left_alone(tiny_model: Callable[[str], Any]) -> None:
    choice = AttentionChoice(implementation="sdpa", name="sdpa", reason="", view_tokens=64)
    assert absorb(tiny_model("llama"), choice, exact=True) is choice
