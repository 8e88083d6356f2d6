"""Models in fewer bits: near the plain one, saved and opened again, and what cannot be had is refused by name."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from services.inference.engine.batch import Segment
from services.inference.engine.opening import EngineSettings
from services.inference.engine.quantization import NAMES, QuantizationImpossible, choose
from services.inference.engine.torch_cpu import EIGHT
from services.inference.engine.torch_dense import DenseDecoder
from services.inference.engine.torch_engine import TorchEngine
from services.inference.engine.torch_opening import open_torch_engine
from services.inference.engine.torch_rows import MOST
from services.inference.engine.torch_saving import save_quantized
from services.inference.models import saved
from services.inference.models.wheel import ModelUnavailable

FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "deepseek-v2", "deepseek-v3"]
Asked = Callable[[str, str], EngineSettings]
PROMPTS = [[(7 * row + 3 * place * place) % 250 for place in range(30 + 9 * row)] for row in range(4)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_quantized_model_is_near_the_plain_one_and_no_request_knows_another(
    family: str, tiny_engine: Callable[..., TorchEngine], tiny_model: Callable[[str], Any]
) -> None:
    """Fails if a pass multiplies a row by another row's scale."""
    engine = tiny_engine(family, quantization="int8")
    assert (engine.model.quantization, bool(engine.model.quantization_loss)) == ("int8", True)
    runner = engine._runner
    runner.run([Segment(row, 0, ids[:-1], 0) for row, ids in enumerate(PROMPTS)])
    last = [Segment(row, len(ids) - 1, ids[-1:]) for row, ids in enumerate(PROMPTS)]
    together = runner.run(last)
    for row, ids in enumerate(PROMPTS):
        expected = tiny_model(family)(torch.tensor([ids])).logits[0, -1]
        assert torch.cosine_similarity(together[row], expected, dim=0) > (0.95 if MOST == EIGHT else 0.93)
        assert torch.equal(runner.run([last[row]])[0], together[row])


@pytest.mark.parametrize("family", ["llama", "deepseek-v2"])
def test_no_weight_of_a_product_is_left_in_more_bits(family: str, tiny_engine: Callable[..., TorchEngine]) -> None:
    """Fails if `quantize` leaves the experts out, or `_ends` keeps the embedding."""
    runner: Any = tiny_engine(family, quantization="int8")._runner
    model = getattr(runner, "_model", None)
    if model is None:
        assert runner.embedding.dtype is torch.int8
        return
    left = {name for name, parameter in model.named_parameters() if parameter.ndim > 1}
    assert all(name.endswith(("gate.router.weight", "kv_b_proj.weight")) for name in left)


def test_a_mode_that_a_device_cannot_run_is_refused_with_those_that_it_can(tmp_path: Any) -> None:
    for name in NAMES[1:]:
        with pytest.raises(QuantizationImpossible, match=f"quantization {name} .* on cuda in auto: none can"):
            choose(name, device_type="cuda", dtype="auto")
    with pytest.raises(QuantizationImpossible, match=r"fp8 needs .* on cpu in auto: none, int8, int4, nf4 can"):
        choose("fp8", device_type="cpu", dtype="auto", installed=lambda package: True)
    with pytest.raises(QuantizationImpossible, match="in float16: none can"):
        open_torch_engine(
            EngineSettings(device="cpu", dtype="float16", quantization="int8"), tmp_path, lambda line: None
        )
    with pytest.raises(ValueError, match=r"quantization must be one of none, int8, int4, nf4, fp8$"):
        EngineSettings(quantization="int3")


def test_layers_of_which_some_are_not_in_memory_are_not_quantized(tiny_model: Callable[[str], Any]) -> None:
    from services.inference.engine.torch_quantized import packing_of, quantize

    model = copy.deepcopy(tiny_model("deepseek-v2"))
    model.model.layers[1].to("meta")
    with pytest.raises(ValueError, match="layers lie on disk"):
        quantize(model, packing_of("int8"))


@pytest.fixture
def asked_of(tiny_model: Callable[[str], Any], tiny_tokenizer: Any, tmp_path: Path) -> Asked:
    """Saves a family's model, plain, and asks for it in a mode."""

    def ask(family: str, mode: str) -> EngineSettings:
        for part in (tiny_model(family), tiny_tokenizer):
            part.save_pretrained(tmp_path / "models" / "tiny")
        return EngineSettings(model="tiny", device="cpu", quantization=mode, slots=1, context_tokens=64, threads=1)

    return ask


@pytest.mark.parametrize("family", ["llama", "deepseek-v2"])
@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_a_model_that_was_saved_quantized_gives_the_same_bits_and_needs_no_weights(
    family: str, mode: str, asked_of: Asked, tmp_path: Path
) -> None:
    """Fails if `CodesRead` counts on from another layer, or `plain_state` leaves a router out."""
    asked = asked_of(family, mode)
    expected = open_torch_engine(asked, tmp_path, lambda line: None)
    save_quantized(asked, tmp_path, "small", lambda line: None)
    shutil.rmtree(tmp_path / "models" / "tiny")
    small = replace(asked, model="small", quantization="none")
    found = open_torch_engine(small, tmp_path, lambda line: None)
    assert found.model.quantization == mode
    assert found.model.parameters == expected.model.parameters
    segment = [Segment(0, 0, PROMPTS[0], 3)]
    assert torch.equal(found._runner.run(segment), expected._runner.run(segment))
    other = next(name for name in NAMES[1:] if name != mode)
    with pytest.raises(ValueError, match=f"quantization must be {mode} or none for small"):
        open_torch_engine(replace(small, quantization=other), tmp_path, lambda line: None)


@pytest.mark.parametrize("mode", ["none", "int8"])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_fused_layers_hold_no_file_of_weights_in_memory(
    family: str, mode: str, asked_of: Asked, tmp_path: Path
) -> None:
    """Fails if one norm, bias or embedding is a view of the file: all of it stays mapped then."""
    asked = asked_of(family, mode)
    engine: Any = open_torch_engine(asked, tmp_path, lambda line: None)
    assert isinstance(engine._runner, DenseDecoder)
    assert f"{tmp_path}/" not in Path("/proc/self/maps").read_text()


def test_a_saved_model_that_is_damaged_is_refused(tmp_path: Path) -> None:
    for text, said in (("{", "another version, or damaged"), ('{"format": 3, "mode": "int8"}', "is damaged")):
        (tmp_path / saved.MARKER).write_text(text)
        with pytest.raises(ModelUnavailable, match=said):
            saved.facts(tmp_path)
