"""Checkpoints that come quantized: fp8 ones are read as the numbers they stand for, others refused by their method."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from services.inference.engine.batch import Segment
from services.inference.engine.opening import EngineSettings
from services.inference.engine.torch_opening import open_torch_engine
from services.inference.engine.torch_saving import save_quantized
from services.inference.models.bitsandbytes import library
from services.inference.models.loading import ModelSource, load
from services.inference.models.wheel import ModelUnavailable

WEIGHTS = "model.safetensors"
LARGEST = 448.0  # of float8_e4m3fn
IDS = [(7 * place * place + 3) % 250 for place in range(20)]

Made = Callable[[str], Path]


@pytest.fixture
def folder(tiny_model: Callable[[str], Any], tiny_tokenizer: Any, tmp_path: Path) -> Made:
    """A tiny model's plain files, under the home."""

    def make(family: str) -> Path:
        target = tmp_path / "models" / "tiny"
        tiny_model(family).save_pretrained(target)
        tiny_tokenizer.save_pretrained(target)
        return target

    return make


def configured(folder: Path, how: dict[str, Any]) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": how}))


def in_fp8(folder: Path, block: int) -> dict[str, torch.Tensor]:
    """The files as DeepSeek publishes its own, a scale for `block` × `block` weights; returns the numbers they say."""
    said = {}
    tensors = load_file(folder / WEIGHTS)
    for name in [each for each in tensors if each.endswith("_proj.weight") and "layers" in each]:
        rows, columns = tensors[name].shape
        whole = torch.nn.functional.pad(tensors[name], (0, -columns % block, 0, -rows % block))
        blocks = whole.unflatten(1, (-1, block)).unflatten(0, (-1, block))
        scales = blocks.abs().amax((1, 3), keepdim=True) / LARGEST
        codes = (blocks / scales).to(torch.float8_e4m3fn)
        said[name] = (codes.float() * scales).flatten(2).flatten(0, 1)[:rows, :columns]
        codes = codes.flatten(2).flatten(0, 1)[:rows, :columns].contiguous()
        tensors |= {name: codes, f"{name}_scale_inv": scales[:, 0, :, 0].contiguous()}
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    configured(
        folder,
        {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [block, block], "activation_scheme": "dynamic"},
    )
    return said


def experts(model: Any) -> dict[str, torch.Tensor]:
    """By their names in the files: in memory they lie in one tensor a layer."""
    return {
        f"{name.removesuffix('down_proj')}{number}.down_proj.weight": numbers
        for name, part in model.named_parameters()
        if name.endswith("experts.down_proj")
        for number, numbers in enumerate(part)
    }


@pytest.mark.parametrize("family", ["llama", "deepseek-v3"])
def test_fp8_files_are_read_as_the_numbers_that_they_say(family: str, folder: Made, tmp_path: Path) -> None:
    """Of the second one some layers end within a block, as DeepSeek-V3's own do.

    Fails if the blocks' scales are left out, or the model is still held for a quantized one.
    """
    said: list[str] = []
    expected = in_fp8(folder(family), block=32)
    loaded = load(ModelSource(model="tiny", device="cpu"), tmp_path, said.append)
    assert "model: the fp8 weights of tiny are read as plain numbers" in said
    assert loaded.dtype is torch.float32
    assert not hasattr(loaded.model.config, "quantization_config")
    held = dict(loaded.model.named_parameters()) | experts(loaded.model)
    found = {name: held[name] for name in expected if name in held}
    assert len(found) >= 10
    for name, numbers in found.items():
        assert torch.equal(numbers, expected[name]), name


NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}


def in_bitsandbytes(folder: Path, **how: Any) -> dict[str, torch.Tensor]:
    """The files as transformers writes them; returns the numbers they say."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    library()
    told: Any = BitsAndBytesConfig
    made: Any = AutoModelForCausalLM.from_pretrained(folder, quantization_config=told(**how), device_map={"": "cpu"})
    said = {name: part.clone() for name, part in copy.deepcopy(made).dequantize().named_parameters()}
    made.save_pretrained(folder)
    return said


@pytest.mark.parametrize(("how", "near"), [({"load_in_8bit": True}, 0.999), (NF4, 0.99)])
def test_bitsandbytes_files_are_read_as_the_numbers_that_they_say(
    how: dict[str, Any], near: float, folder: Made, tiny_model: Callable[[str], Any], tmp_path: Path
) -> None:
    """Fails if the model is still held for a quantized one, or its codes for its weights."""
    target, config = folder("llama"), copy.deepcopy(tiny_model("llama").config)
    config.hidden_size, config.num_attention_heads = 64, 4  # rows of whole blocks of 64
    plain = type(tiny_model("llama"))(config)
    plain.save_pretrained(target)
    expected = in_bitsandbytes(target, **how)
    said: list[str] = []
    loaded = load(ModelSource(model="tiny", device="cpu"), tmp_path, said.append)
    assert "model: the bitsandbytes weights of tiny are read as plain numbers" in said
    assert not hasattr(loaded.model.config, "quantization_config") and loaded.parameters == plain.num_parameters()
    for name, part in plain.named_parameters():
        found = loaded.model.get_parameter(name)
        assert found.dtype is torch.float32 and torch.equal(found, expected[name].float()), name
        assert torch.cosine_similarity(found.flatten(), part.flatten(), dim=0) > near


def test_bitsandbytes_files_that_it_reads_wrongly_on_a_cpu_are_refused(folder: Made, tmp_path: Path) -> None:
    """Of rows of 96, every other one begins within a block. Fails if `_check_blocks` is left out."""
    in_bitsandbytes(folder("llama"), **NF4)
    with pytest.raises(ModelUnavailable, match=r"q_proj has 96 inputs, no multiple of the 64 that share a scale"):
        load(ModelSource(model="tiny", device="cpu"), tmp_path, lambda line: None)


def test_of_fp8_files_a_mode_can_be_made_and_saved(folder: Made, tmp_path: Path) -> None:
    """Fails if the saved model's config.json still says fp8."""
    in_fp8(folder("deepseek-v3"), block=16)
    asked = EngineSettings(model="tiny", device="cpu", quantization="int8", slots=1, context_tokens=64, threads=1)
    engine: Any = open_torch_engine(asked, tmp_path, lambda line: None)
    saved = save_quantized(asked, tmp_path, "small", lambda line: None)
    assert "quantization_config" not in json.loads((saved / "config.json").read_text())
    again: Any = open_torch_engine(
        EngineSettings(model="small", slots=1, context_tokens=64), tmp_path, lambda line: None
    )
    segment = [Segment(0, 0, IDS, 3)]
    assert torch.equal(again._runner.run(segment), engine._runner.run(segment))


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"quant_method": "aqlm"}, "aqlm"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "compressed-tensors"),
        ({"bits": 4}, "a method that config.json does not name"),
    ],
)
def test_what_this_version_does_not_read_is_refused_with_what_can_be_had(
    how: dict[str, Any], named: str, folder: Made, tmp_path: Path
) -> None:
    configured(folder("llama"), how)
    settings = EngineSettings(model="tiny", device="cpu", slots=1, context_tokens=64)
    with pytest.raises(ModelUnavailable) as caught:
        open_torch_engine(settings, tmp_path, lambda line: None)
    said = str(caught.value)
    assert (
        f"the files of tiny are quantized by {named}, and this engine reads fp8, bitsandbytes, gptq, awq and GGUF"
        in said
    )
    assert "STRONGROOM_INFERENCE_QUANTIZATION=none or int8 or int4 or nf4" in said
    assert "STRONGROOM_INFERENCE_ENGINE=vllm" in said
