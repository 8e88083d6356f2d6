"""GPTQ's and AWQ's files, written here as those libraries write them, are read as the numbers that they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from safetensors.torch import load_file, save_file

from services.inference.engine.batch import Segment
from services.inference.engine.opening import EngineSettings
from services.inference.engine.torch_opening import open_torch_engine
from services.inference.models import integer_codes
from services.inference.models.loading import ModelSource, load
from services.inference.models.wheel import ModelUnavailable

AWQ_COLUMNS = (0, 2, 4, 6, 1, 3, 5, 7)  # the output in each four bits of an int32
Tensors = dict[str, torch.Tensor]


def packed(numbers: torch.Tensor, bits: int, columns: tuple[int, ...] | None = None) -> torch.Tensor:
    """[rows, n] to int32 [rows, n × bits / 32]."""
    of = columns or tuple(range(32 // bits))
    words = torch.zeros(len(numbers), numbers.shape[1] // len(of), dtype=torch.int64)
    for place, column in enumerate(of):
        words |= numbers[:, column :: len(of)].long() << bits * place
    return torch.where(words >= 2**31, words - 2**32, words).int()


def layer(outputs: int, inputs: int, told: dict[str, Any], groups: torch.Tensor, seed: int) -> tuple[Tensors, Any]:
    """A layer's tensors, and the numbers that they say, in float64."""
    generator = torch.Generator().manual_seed(seed)
    bits, awq = told["bits"], told["quant_method"] == "awq"
    count = int(groups.max()) + 1
    codes = torch.randint(0, 2**bits, (inputs, outputs), generator=generator)
    zeros = torch.randint(1, 2**bits, (count, outputs), generator=generator)
    scales = (torch.rand(count, outputs, generator=generator) + 0.1).half()
    kept = zeros - (0 if awq or told.get("checkpoint_format") == "gptq_v2" else 1)
    made = {"scales": scales, "qzeros": packed(kept, bits, AWQ_COLUMNS if awq else None)}
    made["qweight"] = packed(codes, bits, AWQ_COLUMNS) if awq else packed(codes.t(), bits).t().contiguous()
    if not awq:
        made["g_idx"] = groups.int()
    return made, ((codes - zeros[groups]) * scales[groups].double()).t()


@settings(max_examples=60, deadline=None)
@given(
    told=some.one_of(
        some.just({"quant_method": "awq", "bits": 4}),
        some.builds(
            lambda bits, written: {"quant_method": "gptq", "bits": bits, "checkpoint_format": written},
            some.sampled_from([2, 4, 8]), some.sampled_from(["gptq", "gptq_v2"]),
        ),
    ),
    outputs=some.sampled_from([32, 64, 96]), size=some.sampled_from([16, 32]), count=some.integers(1, 4),
    turned=some.booleans(), seed=some.integers(0, 1000),
)  # fmt: skip
def test_a_layer_is_read_as_the_numbers_that_its_codes_say(
    told: dict[str, Any], outputs: int, size: int, count: int, turned: bool, seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    """Fails if AWQ's order is not turned back, zeros are taken as they are kept, or inputs' groups by their place."""
    groups = torch.arange(size * count) // size
    if turned and told["quant_method"] == "gptq":  # as with desc_act
        groups = groups[torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))]
    made, said = layer(outputs, size * count, told, groups, seed)
    file = tmp_path_factory.mktemp("codes") / "model.safetensors"
    save_file({f"a.{name}": part for name, part in made.items()} | {"a.bias": torch.ones(3)}, file)
    found = integer_codes.plain_weights([file], told, torch.float32)
    assert found.keys() == {"a.weight", "a.bias"}
    assert torch.equal(found["a.weight"].double(), said.float().double())


@pytest.fixture
def folder(tiny_model: Callable[[str], Any], tiny_tokenizer: Any, tmp_path: Path) -> Path:
    target = tmp_path / "models" / "tiny"
    tiny_model("llama-wide").save_pretrained(target)
    tiny_tokenizer.save_pretrained(target)
    return target


def in_codes(folder: Path, told: dict[str, Any]) -> Tensors:
    """The folder's projections in codes; returns the numbers that they say."""
    said, tensors = {}, load_file(folder / "model.safetensors")
    for name in [each for each in tensors if each.endswith("_proj.weight")]:
        outputs, inputs = tensors.pop(name).shape
        made, said[name] = layer(outputs, inputs, told, torch.arange(inputs) // 32, seed=len(said))
        tensors |= {f"{name.removesuffix('weight')}{part}": numbers for part, numbers in made.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": told}))
    return said


GPTQ, AWQ = {"quant_method": "gptq", "bits": 4, "group_size": 32}, {"quant_method": "awq", "bits": 4, "group_size": 32}


@pytest.mark.parametrize("told", [GPTQ, AWQ], ids=lambda told: str(told["quant_method"]))
def test_a_model_in_codes_is_opened_as_plain_numbers_and_quantized_anew(
    told: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    expected = in_codes(folder, told)
    loaded = load(ModelSource(model="tiny", device="cpu"), tmp_path, said.append)
    assert f"model: the {told['quant_method']} weights of tiny are read as plain numbers" in said
    assert not hasattr(loaded.model.config, "quantization_config") and loaded.digest
    assert loaded.model.generation_config.eos_token_id == loaded.model.config.eos_token_id
    for name, numbers in expected.items():
        assert torch.equal(loaded.model.get_parameter(name), numbers.float()), name
    asked = EngineSettings(model="tiny", device="cpu", quantization="int8", slots=1, context_tokens=64, threads=1)
    engine: Any = open_torch_engine(asked, tmp_path, lambda line: None)
    assert engine._runner.run([Segment(0, 0, [1, 2, 3], 1)]).isfinite().all()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (GPTQ | {"bits": 3}, "of GPTQ files 2, 4 or 8 bits, written as gptq or gptq_v2, are read: .* have 3, gptq"),
        (GPTQ | {"checkpoint_format": "marlin"}, "have 4, marlin"),
        (AWQ | {"version": "gemv"}, "of AWQ files 4 bits, version gemm, are read: those of tiny have 4, gemv"),
        (AWQ | {"bits": 8}, "have 8, gemm"),
    ],
)
def test_what_those_methods_write_besides_is_refused(
    how: dict[str, Any], said: str, folder: Path, tmp_path: Path
) -> None:
    in_codes(folder, GPTQ)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": how}))
    with pytest.raises(ModelUnavailable, match=said):
        load(ModelSource(model="tiny", device="cpu"), tmp_path, lambda line: None)


def test_codes_without_their_zeros_or_of_another_size_are_refused(folder: Path, tmp_path: Path) -> None:
    in_codes(folder, GPTQ)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    name = next(each for each in tensors if each.endswith("qzeros"))
    for damaged in (tensors | {name: tensors[name][:, :1].clone()}, {k: v for k, v in tensors.items() if k != name}):
        save_file(damaged, file, {"format": "pt"})
        with pytest.raises(ModelUnavailable, match="do not belong together"):
            load(ModelSource(model="tiny", device="cpu"), tmp_path, lambda line: None)
