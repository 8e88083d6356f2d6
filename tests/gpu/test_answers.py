"""What the engine answers on a GPU: the model's own greedy text, whoever shares the batch, and after a crash too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from services.inference.engine.protocol import Work

pytestmark = pytest.mark.gpu

FAMILIES = ["llama", "qwen2", "deepseek-v2", "deepseek-v3"]
QUESTIONS = [
    "What is the capital of France?",
    "Add 1234 and 5678.",
    "Summarise: " + "The committee met on 2026-11-23 and adjourned. " * 9,
    "用一句话介绍北京。",
    "Name three rivers.",
    "What does a bank's audit department do?",
    "Write a short poem about the sea.",
    "List the planets.",
]
Ask = Callable[..., Work]
Tokens = Callable[..., dict[str, list[int]]]


def generated(model: Any, engine: Any, one: Work) -> list[int]:
    """What transformers itself gives, greedily, on the same device and in the same dtype."""
    ids = engine._prompt.ids(one.messages)
    whole = model.generate(
        torch.tensor([ids], device=model.device), max_new_tokens=one.sampling.max_tokens, do_sample=False
    )
    return list(whole[0, len(ids) :].tolist())


def common(one: list[int], other: list[int]) -> int:
    """How many tokens they share from the start."""
    return next((n for n, pair in enumerate(zip(one, other)) if pair[0] != pair[1]), min(len(one), len(other)))


@pytest.mark.parametrize("chunk", [5, 64])
@pytest.mark.parametrize("family", FAMILIES)
def test_invariant_11_greedy_in_fp32_is_what_generate_gives_whatever_the_batch(
    family: str, chunk: int, gpu_engine: Callable[..., Any], on_device: Callable[..., Any], asked: Ask, tokens: Tokens
) -> None:
    """Fails if `SlotLayer._write` puts every row's key at the first row's position."""
    engine = gpu_engine(family, prefill_tokens=chunk)
    works = [asked(number, max_tokens=6 + 3 * number) for number in range(6)]
    together = tokens(engine, works, every=2)
    model = on_device(family, torch.float32)
    assert together == {one.request_id: generated(model, engine, one) for one in works}


@pytest.mark.parametrize("family", FAMILIES)
def test_invariant_11_sampled_in_fp32_is_the_same_alone_and_together(
    family: str, gpu_engine: Callable[..., Any], asked: Ask, tokens: Tokens
) -> None:
    """Fails if `_choose_block` draws every row with the first row's seed."""
    engine = gpu_engine(family, prefill_tokens=16)
    works = [asked(number, temperature=1.0, max_tokens=24) for number in range(6)]
    alone = {one.request_id: tokens(engine, [one])[one.request_id] for one in works}
    assert tokens(engine, works[::-1]) == alone


@pytest.mark.parametrize("family", ["llama", "deepseek-v2"])
def test_recorded_passes_answer_as_launched_ones(
    family: str, cuda: Any, gpu_engine: Callable[..., Any], asked: Ask, tokens: Tokens, measured: Callable[[str], None]
) -> None:
    """In bf16, where every family can be recorded: kernels are the same ones if the shapes are."""
    works = [asked(number, max_tokens=40 - 5 * number) for number in range(6)]
    engine = gpu_engine(family, torch.bfloat16)
    launching = gpu_engine(family, torch.bfloat16, cuda_graphs=False)
    assert engine._runner.graphs and not launching._runner.graphs
    one, other = (tokens(running, works[:1])["r0"] for running in (engine, launching))
    assert one == other
    both = tokens(engine, works, every=1), tokens(launching, works, every=1)
    same = sum(both[0][name] == both[1][name] for name in both[0])
    measured(f"bf16 tiny {family}: {len(engine._runner.graphs)} graphs; as launched in a batch: {same} of {len(works)}")


@pytest.mark.parametrize("family", FAMILIES)
def test_invariant_8_another_engine_goes_on_from_the_emitted_tokens(
    family: str, gpu_engine: Callable[..., Any], asked: Ask, tokens: Tokens
) -> None:
    """Fails if `_choose` counts positions from where this engine began."""
    sampling = {"temperature": 0.9, "max_tokens": 16}
    whole = tokens(gpu_engine(family), [asked(n, **sampling) for n in range(6)])
    other = gpu_engine(family, prefill_tokens=32)
    for cut in (1, 7):
        resumed = [asked(n, emitted=tuple(whole[f"r{n}"][:cut]), **sampling) for n in range(6)]
        expected = {name: ids[cut:] for name, ids in whole.items()}
        assert tokens(other, resumed) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_what_batch_mates_change_in_bf16_is_measured(
    family: str,
    gpu_engine: Callable[..., Any],
    on_device: Callable[..., Any],
    asked: Ask,
    tokens: Tokens,
    measured: Callable[[str], None],
) -> None:
    """Not bit for bit: matrix products take another kernel for another number of rows. Every answer comes, though."""
    engine = gpu_engine(family, torch.bfloat16)
    works = [asked(number, max_tokens=32) for number in range(6)]
    together = tokens(engine, works)
    alone = {one.request_id: tokens(engine, [one])[one.request_id] for one in works}
    model = on_device(family, torch.bfloat16)
    reference = {one.request_id: generated(model, engine, one) for one in works}
    assert all(together.values())
    for what, other in (("alone", alone), ("generate", reference)):
        same = sum(together[name] == other[name] for name in other)
        shared = [common(together[name], other[name]) for name in other]
        measured(f"bf16 tiny {family}: in a batch as {what}: {same} of {len(other)} answers; tokens in common {shared}")


def test_what_batch_mates_change_in_the_logits_is_measured(
    gpu_engine: Callable[..., Any], asked: Ask, tokens: Tokens, measured: Callable[[str], None]
) -> None:
    """In fp32 tokens are the same; whether the bits are depends on the kernels that the shapes choose."""
    engine = gpu_engine("llama")
    seen: dict[str, list[torch.Tensor]] = {"alone": [], "together": []}
    choose, now = engine._choose, "alone"

    def spy(rows: Any, logits: torch.Tensor) -> Any:
        seen[now].extend(row.clone() for sequence, row in zip(rows, logits) if sequence.work.request_id == "r1")
        return choose(rows, logits)

    engine._choose = spy
    first = tokens(engine, [asked(1)])
    now = "together"
    second = tokens(engine, [asked(number) for number in range(6)])
    assert first["r1"] == second["r1"]
    off = [float((a - b).abs().max() / a.abs().max()) for a, b in zip(seen["alone"], seen["together"], strict=True)]
    measured(f"fp32 tiny llama: logits alone and in a batch differ by at most {max(off):.1e} of the largest")
    assert max(off) < 1e-4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_default_model_answers_as_generate_does(
    dtype: str, device: str, smollm2_home: Path, asked: Ask, tokens: Tokens, measured: Callable[[str], None]
) -> None:
    """fp32 exactly; bf16 is measured."""
    from services.inference.engine.opening import EngineSettings
    from services.inference.engine.torch_opening import assemble
    from services.inference.models.loading import ModelSource, load

    source = ModelSource(dtype=dtype, device=device)
    reference = load(source, smollm2_home)
    engine = assemble(load(source, smollm2_home), EngineSettings(slots=8, context_tokens=1024))
    length = 48 if device == "cuda" else 8
    works = [asked(number, text=text, max_tokens=length) for number, text in enumerate(QUESTIONS)]
    together = tokens(engine, works, every=2)
    expected = {one.request_id: generated(reference.model, engine, one) for one in works}
    detokenizer = reference.prompt.detokenizer()
    assert "Paris" in "".join(detokenizer.feed(token) for token in together["r0"])
    same = sum(together[name] == expected[name] for name in expected)
    shared = [common(together[name], expected[name]) for name in expected]
    measured(f"{dtype} SmolLM2-135M: in a batch as generate: {same} of {len(expected)}; tokens in common {shared}")
    if dtype == "float32":
        assert together == expected
