"""Each mode of quantization on the GPU: what it holds, that it answers, and that batch mates move nothing far.

Never run yet: where one of these fails, the mode is what to look at first, and not the test.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from services.inference.engine.opening import EngineSettings, open_engine
from services.inference.engine.protocol import StepOutput, Work
from services.inference.engine.quantization import GPU_MODES, Mode, is_installed
from services.inference.models.cuda import capability

pytestmark = pytest.mark.gpu


@pytest.fixture
def folder(tiny_tokenizer: Any, tmp_path: Path) -> Path:
    """A model whose layers every mode's kernels take, as it lies on disk: sizes are multiples of 128."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=259, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, max_position_embeddings=1024, eos_token_id=257, pad_token_id=258,
    )  # fmt: skip
    for part in (LlamaForCausalLM(config), tiny_tokenizer):
        part.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture(params=GPU_MODES, ids=[mode.name for mode in GPU_MODES])
def mode(request: pytest.FixtureRequest, cuda: Any) -> Mode:
    """Skipped where the GPU or the package is missing, and only there."""
    asked: Mode = request.param
    found = capability("cuda")
    if found is None or found < asked.capability:
        pytest.skip(f"{asked.name} needs compute capability {asked.capability}, this GPU has {found}")
    if not is_installed(asked.package):
        pytest.skip(f"{asked.name} needs {asked.package}, which is not installed")
    return asked


def opened(folder: Path, quantization: str) -> Any:
    settings = EngineSettings(model=str(folder), quantization=quantization, dtype="bfloat16", slots=6)
    return open_engine(settings, folder.parent)


def test_a_quantized_model_answers_and_its_logits_are_near_the_plain_one_s(
    mode: Mode,
    folder: Path,
    asked: Callable[..., Work],
    answers: Callable[..., dict[str, list[StepOutput]]],
    measured: Callable[[str], None],
) -> None:
    plain, engine = opened(folder, "none"), opened(folder, mode.name)
    assert (engine.model.quantization, engine.model.batch_invariant) == (mode.name, False)
    ids = torch.arange(40, device="cuda")[None] * 7 % 250
    with torch.inference_mode():
        found, wanted = (each._runner._model(ids, use_cache=False).logits.float() for each in (engine, plain))
    near = torch.cosine_similarity(found.flatten(), wanted.flatten(), dim=0)
    measured(f"{mode.name} by {mode.package}: logits' cosine to bf16 {float(near):.4f}")
    assert near > 0.9
    outputs = answers(engine, [asked(number) for number in range(6)])
    assert all(got[-1].finish and got[-1].failure is None for got in outputs.values())


def test_a_quantized_layer_takes_less_memory_than_the_plain_one(
    mode: Mode, folder: Path, cuda: Any, measured: Callable[[str], None]
) -> None:
    """By what the allocator has given away for the whole model, whose ends stay as they are."""
    from services.inference.models.loading import ModelSource, load

    taken = {}
    for name in ("", mode.name):
        before = cuda.memory_allocated()
        loaded = load(
            ModelSource(model=str(folder), dtype="bfloat16", device="cuda", gpu_mode=name), folder.parent, print
        )
        taken[name] = cuda.memory_allocated() - before
        del loaded
        cuda.empty_cache()
    measured(f"{mode.name}: {taken[mode.name] / taken['']:.2f} of bf16's memory, ends and norms included")
    assert taken[mode.name] < 0.8 * taken[""]
