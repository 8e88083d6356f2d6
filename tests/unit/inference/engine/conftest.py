"""Models for the engine's tests: tiny random ones of each family, and the real default model, loaded once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from services.inference.engine.detokenizer import byte_alphabet
from services.inference.engine.opening import EngineSettings
from services.inference.engine.torch_engine import TorchEngine
from services.inference.engine.torch_opening import assemble
from services.inference.models.device import Device
from services.inference.models.loading import LoadedModel, ModelSource, load
from services.inference.models.prompt import Prompt

TEMPLATE = (
    "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception(m.content) }}"
    "{% endif %}<|turn|>{{ m.role }}\n{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
MakeEngine = Callable[..., TorchEngine]


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """Byte-level, one token a byte, and three special ones."""
    vocabulary = byte_alphabet()
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(text, special=True) for text in ("<|turn|>", "<|end|>", "<|pad|>")])
    tokenizer: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, eos_token="<|end|>", pad_token="<|pad|>"
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _tiny(family: str) -> Any:
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "vocab_size": 259,
        "hidden_size": 96,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 1024,
        "eos_token_id": 257,
        "pad_token_id": 258,
        "initializer_range": 0.5,  # so that argmax is decided by the context, not by one favourite token
    }
    if family == "llama":
        return LlamaForCausalLM(LlamaConfig(**shape))
    if family == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**shape))
    shape |= {
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 16,
        "moe_intermediate_size": 32,
        "n_shared_experts": 1,
        "n_routed_experts": 4,
        "kv_lora_rank": 32,
        "qk_rope_head_dim": 16,
        "v_head_dim": 32,
        "qk_nope_head_dim": 32,
        "n_group": 1,
        "topk_group": 1,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
        "initializer_range": 0.1,
    }
    if family == "deepseek-v2":
        return DeepseekV2ForCausalLM(DeepseekV2Config(q_lora_rank=None, **shape))
    return DeepseekV3ForCausalLM(DeepseekV3Config(q_lora_rank=48, **shape))


@pytest.fixture(scope="session")
def tiny_model() -> Callable[[str], Any]:
    """The plain transformers model of a family: the reference."""
    made: dict[str, Any] = {}

    def get(family: str) -> Any:
        if family not in made:
            made[family] = _tiny(family).eval().requires_grad_(False)
        return made[family]

    return get


@pytest.fixture(scope="session")
def tiny_engine(tiny_model: Callable[[str], Any], tiny_tokenizer: Any) -> MakeEngine:
    """An engine around a copy of the tiny model; keyword arguments are engine settings."""

    def make(family: str = "llama", **settings: Any) -> TorchEngine:
        model = copy.deepcopy(tiny_model(family))
        loaded = LoadedModel(
            model=model,
            prompt=Prompt(tiny_tokenizer),
            name=f"tiny-{family}",
            revision="",
            digest="",
            device=Device(name="cpu", reason="test"),
            dtype=torch.float32,
            parameters=0,
        )
        return assemble(loaded, EngineSettings(**({"slots": 4, "context_tokens": 600} | settings)))

    return make


@pytest.fixture(scope="session")
def smollm2(models_home: Path) -> LoadedModel:
    """Plain, as transformers loads it: the reference for `generate`."""
    return load(ModelSource(dtype="float32", device="cpu"), models_home)


@pytest.fixture(scope="session")
def smollm2_engine(models_home: Path) -> TorchEngine:
    loaded = load(ModelSource(dtype="float32", device="cpu"), models_home)
    return assemble(loaded, EngineSettings(slots=8, context_tokens=1024))
