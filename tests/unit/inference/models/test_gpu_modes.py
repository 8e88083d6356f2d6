"""Quantization on a GPU, as far as it is seen without one: what is chosen by what it is, what transformers is told.

Nothing here ran on a GPU (tests/gpu has what would). Codes of bitsandbytes are made on the CPU, by the same loading.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from services.inference.engine.quantization import GPU_MODES, Capability, QuantizationImpossible, choose, possible
from services.inference.models.gpu_modes import configuration
from services.inference.models.loading import ModelSource, load

IDS = torch.tensor([[(7 * place * place + 3) % 250 for place in range(20)]])
LEFT = ["lm_head", r".*\.kv_b_proj"]


def there(*packages: str) -> Callable[[str], bool]:
    return lambda package: package in packages


@pytest.mark.parametrize(
    ("capability", "names"),
    [
        (None, ()),
        ((7, 0), ()),
        ((7, 5), ("int8", "nf4")),
        ((8, 0), ("int8", "int4", "nf4")),
        ((8, 6), ("int8", "int4", "nf4")),
        ((8, 9), ("int8", "int4", "nf4", "fp8")),
        ((9, 0), ("int8", "int4", "nf4", "fp8")),
        ((10, 0), ("int8", "int4", "nf4", "fp8")),
    ],
)
def test_a_gpu_s_modes_are_those_that_its_compute_capability_is_enough_for(
    capability: Capability | None, names: tuple[str, ...]
) -> None:
    """Fails if a mode's least capability is another, or capabilities are compared as numbers like 8.9 < 8.10."""
    both = there("bitsandbytes", "torchao")
    assert tuple(mode.name for mode in possible("cuda", "auto", capability, both)) == names
    for mode in GPU_MODES:
        if mode.name in names:
            assert choose(mode.name, device_type="cuda", dtype="auto", capability=capability, installed=both) is mode


@pytest.mark.parametrize(
    ("name", "dtype", "packages", "capability", "said"),
    [
        (
            "fp8",
            "auto",
            ("torchao",),
            (8, 6),
            r"needs compute capability 8\.9, where this GPU has 8\.6, .* none, int4 can",
        ),
        ("int4", "auto", ("bitsandbytes",), (9, 0), r"needs the package torchao, which .* auto: none, int8, nf4 can"),
        ("nf4", "float32", ("bitsandbytes",), (9, 0), "computes in bfloat16 or float16, .* in float32: none can"),
        ("int8", "auto", ("bitsandbytes",), None, "needs an NVIDIA GPU, .* none can"),
    ],
)
def test_what_a_gpu_cannot_have_is_refused_with_the_reason_and_what_it_can(
    name: str, dtype: str, packages: tuple[str, ...], capability: Capability | None, said: str
) -> None:
    with pytest.raises(QuantizationImpossible, match=f"quantization {name} {said}"):
        choose(name, device_type="cuda", dtype=dtype, capability=capability, installed=there(*packages))


def test_transformers_is_told_exactly_this_of_bitsandbytes_modes() -> None:
    """Fails if int8 has a threshold: then one row's outliers change how all rows are multiplied."""
    eight, four = (configuration(mode, torch.bfloat16).to_dict() for mode in ("int8", "nf4"))
    same = {
        "quant_method": "bitsandbytes", "llm_int8_skip_modules": LEFT, "llm_int8_enable_fp32_cpu_offload": False,
        "llm_int8_has_fp16_weight": False, "bnb_4bit_use_double_quant": False, "bnb_4bit_quant_storage": "uint8",
    }  # fmt: skip
    for told, own in (
        (eight, {"load_in_8bit": True, "load_in_4bit": False, "llm_int8_threshold": 0.0}),
        (four, {"load_in_8bit": False, "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_compute_dtype": "bfloat16"}),
    ):  # fmt: skip
        wanted = same | own
        assert {name: told[name] for name in wanted} == wanted


def test_transformers_is_told_exactly_this_of_torchao_modes() -> None:
    ao = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    four, eight = (configuration(mode, torch.bfloat16) for mode in ("int4", "fp8"))
    assert four.quant_type == ao.Int4WeightOnlyConfig(group_size=32, int4_packing_format="tile_packed_to_4d")
    assert eight.quant_type == ao.Float8DynamicActivationFloat8WeightConfig(granularity=ao.PerRow())
    assert four.modules_to_not_convert == eight.modules_to_not_convert == LEFT


@pytest.fixture
def saved(tiny_model: Callable[[str], Any], tiny_tokenizer: Any, tmp_path: Path) -> Callable[[str], Any]:
    def make(family: str) -> Any:
        """Its rows are whole blocks of 64 weights."""
        config = copy.deepcopy(tiny_model(family).config)
        config.hidden_size, config.num_attention_heads = 64, 4
        model = type(tiny_model(family))(config)
        for part in (model, tiny_tokenizer):
            part.save_pretrained(tmp_path / "models" / "tiny")
        return model

    return make


@pytest.mark.parametrize(("mode", "layer"), [("int8", "Linear8bitLt"), ("nf4", "Linear4bit")])
def test_a_model_is_loaded_with_its_layers_in_that_mode_and_the_head_as_it_is(
    mode: str, layer: str, saved: Callable[[str], Any], tmp_path: Path
) -> None:
    """Fails if the configuration does not reach transformers, or codes of two weights are counted as one."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    plain = saved("llama")
    source = ModelSource(model="tiny", device="cpu", dtype="bfloat16", gpu_mode=mode)
    loaded = load(source, tmp_path, lambda line: None)
    kinds = {name.rpartition(".")[2]: type(part).__name__ for name, part in loaded.model.named_modules()}
    assert {kinds[name] for name in ("q_proj", "o_proj", "gate_proj", "down_proj")} == {layer}
    assert kinds["lm_head"] == "Linear"
    assert loaded.parameters == plain.num_parameters() and loaded.gpu_mode == mode
    found, wanted = (model.model.layers[1].mlp.up_proj.weight for model in (loaded.model.dequantize(), plain))
    assert torch.cosine_similarity(found.float().flatten(), wanted.flatten(), dim=0) > 0.99


def test_mixtures_of_experts_are_refused_on_a_gpu(saved: Callable[[str], Any], tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    saved("deepseek-v3")
    with pytest.raises(ValueError, match="none for tiny on a GPU: no library quantizes its fused experts there"):
        load(ModelSource(model="tiny", device="cpu", dtype="bfloat16", gpu_mode="nf4"), tmp_path, lambda line: None)
