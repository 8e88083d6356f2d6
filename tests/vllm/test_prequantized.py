"""Checkpoints of four bits in their makers' formats, read by the real vLLM: `make test-vllm` runs it."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.inference.engine.protocol import Message, Sampling, Work
from services.inference.models.wheel import ModelUnavailable

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None or not os.environ.get("STRONGROOM_TEST_VLLM"),
        reason="needs vLLM's own Python: make test-vllm",
    ),
    pytest.mark.timeout(900),
]

GROUP, MIDDLE = 32, 8
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # which column of eight lies in which nibble
QUESTION = (Message(role="user", content="the quick brown fox"),)
HOW: dict[str, dict[str, Any]] = {
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": True},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm"},
}


def nibbles(codes: Any) -> Any:
    """Eight of the last dimension in a word, the first one lowest."""
    import torch

    words = sum(code.long() << 4 * place for place, code in enumerate(codes.unflatten(-1, (-1, 8)).unbind(-1)))
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def as_gptq(name: str, codes: Any, scales: Any) -> dict[str, Any]:
    """`codes` and `scales` are of inputs × outputs. A zero of 8 is written as 7."""
    import torch

    zeros = torch.full(scales.shape, MIDDLE - 1)
    order = torch.arange(len(codes), dtype=torch.int32) // GROUP
    packed = {"qweight": nibbles(codes.T).T, "qzeros": nibbles(zeros), "scales": scales.half(), "g_idx": order}
    return {f"{name}.{part}": tensor.contiguous() for part, tensor in packed.items()}


def as_awq(name: str, codes: Any, scales: Any) -> dict[str, Any]:
    import torch

    def ordered(columns: Any) -> Any:
        return nibbles(columns.unflatten(-1, (-1, 8))[..., AWQ_ORDER].flatten(-2))

    packed = {"qweight": ordered(codes), "qzeros": ordered(torch.full(scales.shape, MIDDLE)), "scales": scales.half()}
    return {f"{name}.{part}": tensor.contiguous() for part, tensor in packed.items()}


def quantized(model: Any, folder: Path, method: str) -> None:
    """Writes the files, and gives the model the numbers that they say. Its head is made milder: bfloat16 moves the
    logits of a random model by as much as a whole unit."""
    from safetensors.torch import save_file

    model.lm_head.weight.mul_(0.25)
    model.save_pretrained(folder)
    tensors = dict(model.state_dict())
    for name in [each for each in tensors if each.endswith("_proj.weight")]:
        weight = tensors.pop(name)
        groups = weight.T.unflatten(0, (-1, GROUP))
        scales = (groups.abs().amax(1) / 7).bfloat16().float()  # what half and bfloat16 both hold
        codes = ((groups / scales[:, None]).round().clamp(-7, 7) + MIDDLE).int()
        weight.copy_(((codes - MIDDLE) * scales[:, None]).flatten(0, 1).T)
        written = as_gptq if method == "gptq" else as_awq
        tensors |= written(name.removesuffix(".weight"), codes.flatten(0, 1), scales)
    save_file(
        {name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": HOW[method]}))


@pytest.fixture
def opened(tiny_tokenizer: Any, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """`opened()`: the engine of what lies in `tmp_path/models/tiny`."""
    from services.inference.engine.opening import EngineSettings, open_engine

    engines: list[Any] = []
    tiny_tokenizer.save_pretrained(tmp_path / "models" / "tiny")

    def make() -> Any:
        engines.append(
            open_engine(EngineSettings(engine="vllm", model="tiny", slots=2, context_tokens=128, fused=False), tmp_path)
        )
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.mark.parametrize("method", list(HOW))
def test_four_bits_are_read_as_the_numbers_that_they_say(
    method: str, tiny_model: Callable[[str], Any], opened: Callable[[], Any], tiny_tokenizer: Any, tmp_path: Path
) -> None:
    """In bfloat16, in which vLLM's kernels compute. Fails if a file's own dtype, float32 here, is left to it: vLLM then
    opens nothing."""
    import torch

    from services.inference.models.prompt import Prompt

    model = copy.deepcopy(tiny_model("llama-wide"))
    quantized(model, tmp_path / "models" / "tiny", method)
    engine = opened()
    assert (engine.model.dtype, engine.model.quantization) == ("bfloat16", method)
    engine.admit(Work(request_id="a", messages=QUESTION, sampling=Sampling(temperature=0.0, max_tokens=1, logprobs=5)))
    told = []
    while engine.live():
        told += [one for output in engine.step() for one in output.logprobs]
    likely = model(torch.tensor([Prompt(tiny_tokenizer).ids(QUESTION)])).logits[0, -1].log_softmax(-1)
    expected = likely.topk(5).values.tolist()
    assert [logprob for _, logprob in told[0].top] == pytest.approx(expected, abs=0.25)


def test_what_vllm_does_not_read_is_refused_at_the_start_by_its_method(
    tiny_model: Callable[[str], Any], opened: Callable[[], Any], tmp_path: Path
) -> None:
    """Eight bits, of which it has no kernel on a CPU."""
    quantized(copy.deepcopy(tiny_model("llama-wide")), tmp_path / "models" / "tiny", "gptq")
    path = tmp_path / "models" / "tiny" / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"]["bits"] = 8
    path.write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match="quantized by gptq: on a CPU it reads files of four bits by gptq"):
        opened()
