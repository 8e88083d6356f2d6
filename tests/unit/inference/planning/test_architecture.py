"""Counts from config.json are those of transformers' own models, and of the cache that they fill."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from services.inference.engine.batch import Segment
from services.inference.engine.torch_attention import AttentionChoice
from services.inference.engine.torch_runner import ModelRunner
from services.inference.engine.torch_slots import SlotCache
from services.inference.plan_command import shipped_configs
from services.inference.planning.architecture import FAMILIES, ConfigUnreadable, Kind, read
from services.inference.planning.modes import MODES, token_bytes

FP32 = MODES[0]


def counted(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_parameters_of_the_shipped_models_are_those_that_transformers_makes(name, empty_model):
    """Fails if the router of a mixture is left out, or the query's down projection gets a bias."""
    config = json.loads(shipped_configs()[name].read_text(encoding="utf-8"))
    assert read(config).parameters == counted(empty_model(config))


@some.composite
def configs(draw: some.DrawFn) -> dict[str, Any]:
    family = draw(some.sampled_from(FAMILIES))
    key_heads = draw(some.sampled_from([1, 2, 4]))
    heads = key_heads * draw(some.sampled_from([1, 3]))
    config = {
        "model_type": family,
        "vocab_size": draw(some.integers(3, 99)),
        "hidden_size": heads * draw(some.sampled_from([4, 8])),
        "intermediate_size": draw(some.integers(1, 70)),
        "num_hidden_layers": draw(some.integers(1, 4)),
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "max_position_embeddings": 128,
        "pad_token_id": None,
        "tie_word_embeddings": draw(some.booleans()),
    }
    if family in ("llama", "qwen3", "deepseek_v2", "deepseek_v3"):
        config["attention_bias"] = draw(some.booleans())
    if family in ("llama", "deepseek_v2"):
        config["mlp_bias"] = draw(some.booleans())
    if not family.startswith("deepseek"):
        return config | ({"head_dim": 2 * draw(some.integers(1, 9))} if draw(some.booleans()) else {})
    return config | {
        "num_key_value_heads": heads,
        "kv_lora_rank": draw(some.integers(1, 40)),
        "q_lora_rank": draw(some.none() | some.integers(1, 40)),
        "qk_nope_head_dim": draw(some.integers(1, 20)),
        "qk_rope_head_dim": 2 * draw(some.integers(1, 8)),
        "v_head_dim": draw(some.integers(1, 20)),
        "moe_intermediate_size": draw(some.integers(1, 30)),
        "n_routed_experts": draw(some.integers(2, 6)),
        "n_shared_experts": draw(some.integers(1, 3)),
        "num_experts_per_tok": 2,
        "first_k_dense_replace": draw(some.integers(0, 5)),
    }


@settings(max_examples=60, deadline=None)
@given(config=configs())
def test_parameters_of_any_config_are_those_that_transformers_makes(config, empty_model):
    """Biases, tied heads, no query rank, dense first layers. Fails if a layer's norms are counted once, not twice."""
    assert read(config).parameters == counted(empty_model(config))


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "deepseek-v2", "deepseek-v3"])
def test_a_token_takes_what_the_slot_cache_takes_for_it(tiny_model, family):
    """Fails if DeepSeek's heads were counted instead of the latents."""
    model = tiny_model(family)
    model.set_attn_implementation("sdpa")
    cache = SlotCache(model.config.num_hidden_layers, 1, 8)
    plain = AttentionChoice(implementation="sdpa", name="sdpa", reason="test", view_tokens=1)
    ModelRunner(model, cache, plain, context=8).run([Segment(0, 0, [1, 2, 3])])
    assert token_bytes(read(model.config.to_dict()), FP32) == sum(cache.token_bytes().values())


def test_a_token_is_multiplied_with_its_own_experts_only():
    config = json.loads(shipped_configs()["deepseek-v3"].read_text(encoding="utf-8"))
    model = read(config)
    every = model.parameters - model.count(Kind.PLAIN) - model.count(Kind.EMBEDDING)
    assert model.active == every - model.count(Kind.EXPERTS) * (256 - 8) // 256


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "gpt2"}, "model_type must be one of"),
        ({"model_type": "llama"}, "hidden_size must be a whole number"),
        ({"model_type": "llama", "hidden_size": 0}, "hidden_size must be above 0"),
        ({"model_type": "llama", "hidden_size": True}, "hidden_size must be a whole number"),
        ({"model_type": "llama", "num_local_experts": 8}, "num_local_experts"),
    ],
)
def test_a_config_that_does_not_say_enough_is_refused_by_the_field(config, said):
    with pytest.raises(ConfigUnreadable, match=said):
        read(config)


NUMBERS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim", "max_position_embeddings", "kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim",
    "v_head_dim", "moe_intermediate_size", "n_routed_experts", "n_shared_experts", "num_experts_per_tok",
    "first_k_dense_replace",
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    family=some.sampled_from(FAMILIES),
    fields=some.fixed_dictionaries({name: some.integers(1, 9) for name in NUMBERS}),
    odd=some.dictionaries(
        some.sampled_from([*NUMBERS, "quantization_config", "dtype", "tie_word_embeddings"]),
        some.integers(-2, 2**70) | some.none() | some.text(max_size=5) | some.lists(some.none()) | some.booleans(),
        max_size=3,
    ),
)
def test_whatever_a_config_holds_it_is_read_or_refused(family, fields, odd):
    """Fails if the number of layers has no bound: each of them would be a number in memory."""
    try:
        model = read({"model_type": family, **fields, **odd})
    except ConfigUnreadable:
        return
    assert model.parameters > 0 and model.layers <= 4096 and model.chosen <= model.experts
