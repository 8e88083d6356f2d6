"""NF4 by bitsandbytes: its codes, its product, and what is refused where it cannot be had."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from services.inference.engine.batch import Segment
from services.inference.engine.opening import EngineSettings
from services.inference.engine.quantization import QuantizationImpossible, choose
from services.inference.engine.torch_codes import CodesKept, CodesRead
from services.inference.engine.torch_four_bits import FourBitPacking
from services.inference.engine.torch_linear import rows_are_independent
from services.inference.engine.torch_nf4 import GROUP, nf4_packing
from services.inference.engine.torch_opening import open_torch_engine
from services.inference.engine.torch_saving import save_quantized
from services.inference.models.bitsandbytes import library

IDS = [(7 * place * place + 3) % 250 for place in range(40)]


@pytest.fixture(scope="module")
def packing() -> FourBitPacking:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    try:
        return nf4_packing()
    except QuantizationImpossible as impossible:
        pytest.skip(str(impossible))


def weights(outputs: int, inputs: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(outputs)
    spread = torch.rand(outputs, 1, generator=generator) + 0.1
    return (torch.randn(outputs, inputs, generator=generator) * spread).bfloat16()


def said(weight: torch.Tensor) -> torch.Tensor:
    """By the definition: the nearest of the 16 quantiles, times what is largest in each 32."""
    values: torch.Tensor = library().get_4bit_type("nf4", device="cpu").double()
    groups = weight.double().view(-1, GROUP)
    largest = groups.abs().amax(1, keepdim=True)
    nearest = (groups / largest).unsqueeze(2).sub(values).abs().argmin(2)
    return (values[nearest] * largest.bfloat16().double()).view(weight.shape)


@pytest.mark.parametrize("count", [1, 5, 130])
def test_the_product_is_that_of_the_nearest_quantiles(count: int, packing: FourBitPacking) -> None:
    """Fails if the packing is left out, or scales lie by outputs and not by groups."""
    weight, bias = weights(96, 192), weights(1, 96)[0]
    x, beside = weights(count, 192), weights(count, 96)
    layer = packing.linear(weight, bias)
    expected = x.double() @ said(weight).t() + bias.double()
    bound = 1e-2 * float(expected.abs().max())
    torch.testing.assert_close(layer.plain(x).double(), expected, rtol=0, atol=bound)
    torch.testing.assert_close(layer.plus(x, beside).double(), expected + beside.double(), rtol=0, atol=bound)


@pytest.mark.parametrize(("inputs", "outputs"), [(576, 960), (1536, 576), (96, 64)])
def test_a_product_s_row_has_the_same_bits_whatever_is_multiplied_beside_it(
    inputs: int, outputs: int, packing: FourBitPacking
) -> None:
    layer = packing.linear(weights(outputs, inputs))
    assert rows_are_independent(layer.plain, inputs, torch.bfloat16)


def test_layers_whose_sizes_the_product_does_not_take_are_held_in_eight_bits(packing: FourBitPacking) -> None:
    sizes = ((96, 64), (80, 64), (96, 80))
    kinds = {size: type(packing.linear(weights(*size))).__name__ for size in sizes}
    assert kinds == {(96, 64): "FourBits", (80, 64): "Int8", (96, 80): "Int8"}


def test_codes_that_were_kept_make_the_same_layer_without_its_weight(packing: FourBitPacking) -> None:
    kept, weight, x = CodesKept(), weights(96, 192), weights(3, 192)
    expected = nf4_packing(kept).linear(weight).plain(x)
    assert sorted(part.dtype.itemsize for part in kept.tensors.values()) == [1, 2]
    assert sum(part.nbytes for part in kept.tensors.values()) == weight.numel() * 9 // 16  # 4.5 bits each
    found = nf4_packing(CodesRead(kept.tensors)).linear(torch.empty_like(weight)).plain(x)
    assert torch.equal(found, expected)


def as_said(model: Any) -> Any:
    """A model of the numbers that the codes of its layers say."""
    held = copy.deepcopy(model)
    for name, weight in held.named_parameters():
        if name.endswith("_proj.weight") and "kv_b_proj" not in name:
            weight.data = said(weight.bfloat16()).float()
        elif name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            weight.data = torch.stack([said(each.bfloat16()) for each in weight.data]).float()
    return held


@pytest.mark.parametrize("family", ["llama", "deepseek-v2"])
def test_a_model_in_nf4_is_the_one_that_its_codes_say_and_saved_it_gives_the_same_bits(
    family: str, packing: FourBitPacking, tiny_model: Callable[[str], Any], tiny_tokenizer: Any, tmp_path: Path
) -> None:
    """Fused layers, and transformers' own with latent attention and experts.

    Fails if `mlp` gives up's rows as gate's, or a saved scale is read by outputs.
    """
    for part in (tiny_model(family), tiny_tokenizer):
        part.save_pretrained(tmp_path / "models" / "tiny")
    asked = EngineSettings(model="tiny", device="cpu", quantization="nf4", slots=1, context_tokens=64, threads=1)
    engine = open_torch_engine(asked, tmp_path, lambda line: None)
    assert (engine.model.quantization, engine.model.dtype) == ("nf4", "bfloat16")
    assert not engine.model.batch_invariant
    segment = [Segment(0, 0, IDS, 1)]
    found = engine._runner.run(segment)
    expected = as_said(tiny_model(family))(torch.tensor([IDS])).logits[0, -1]
    assert torch.cosine_similarity(found[0].float(), expected, dim=0) > 0.98
    save_quantized(asked, tmp_path, "small", lambda line: None)
    again = open_torch_engine(replace(asked, model="small", quantization="none"), tmp_path, lambda line: None)
    assert torch.equal(again._runner.run(segment), found)


def test_bitsandbytes_is_imported_without_a_warning_and_without_what_asks_a_hub(packing: FourBitPacking) -> None:
    """In a process of its own, where a package `kernels` is there that says so. Fails if `library` leaves it in."""
    program = (
        "import sys, types; kernels = types.ModuleType('kernels');"
        "kernels.get_kernel = lambda *a, **b: print('asked');"
        "sys.modules['kernels'] = kernels;"
        "from services.inference.models.bitsandbytes import library; library();"
        "print(sys.modules['kernels'] is kernels)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_without_bitsandbytes_nf4_is_refused_with_what_can_be_had() -> None:
    """Fails if `possible` asks nobody what is installed."""
    with pytest.raises(
        QuantizationImpossible,
        match=r"nf4 needs the package bitsandbytes, .* cannot be had on cpu in auto: none, int8, int4 can",
    ):
        choose("nf4", device_type="cpu", dtype="auto", installed=lambda package: False)
    with pytest.raises(QuantizationImpossible, match=r"nf4 computes in bfloat16, .* on cpu in float32: none, int8 can"):
        choose("nf4", device_type="cpu", dtype="float32", installed=lambda package: True)
    found = choose("nf4", device_type="cpu", dtype="auto", installed=lambda package: True)
    assert found is not None and found.dtypes == ("bfloat16",)
