"""The GPU's memory: what the KV arena takes, and that running out of it ends one request and no other."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from services.inference.engine.protocol import Failure, StepOutput, Work

pytestmark = pytest.mark.gpu

MIB = 1 << 20
Ask = Callable[..., Work]
Answers = Callable[..., dict[str, list[StepOutput]]]
Tokens = Callable[..., dict[str, list[int]]]


@contextmanager
def memory_left(cuda: Any, size: int) -> Iterator[None]:
    """torch may take so many bytes more than it holds, and then says that the GPU is full."""
    gc.collect()  # engines of other tests
    cuda.synchronize()
    cuda.empty_cache()
    total = cuda.get_device_properties(0).total_memory
    cuda.set_per_process_memory_fraction((cuda.memory_reserved() + size) / total)
    try:
        yield
    finally:
        cuda.set_per_process_memory_fraction(1.0)
        cuda.empty_cache()


def test_the_arena_is_a_share_of_the_gpus_free_memory_and_not_the_hosts(
    cuda: Any, gpu_engine: Callable[..., Any], measured: Callable[[str], None]
) -> None:
    """Fails if `free_memory` gives what the container has left."""
    share = 16 * MIB / cuda.mem_get_info()[0]  # a slot of 640 tokens takes 320 KiB here
    before = gpu_engine(slots=1024, kv_memory_share=share).capacity().slots
    half = cuda.mem_get_info()[0] // 2
    ballast = torch.empty(half, dtype=torch.uint8, device="cuda")
    after = gpu_engine(slots=1024, kv_memory_share=share).capacity().slots
    del ballast
    cuda.empty_cache()
    measured(f"slots in 16 MiB of KV arena: {before}; with half of the GPU's memory taken by another: {after}")
    assert 40 <= before <= 52
    assert before * 0.4 <= after <= before * 0.6


def test_the_arena_is_taken_when_the_engine_opens(cuda: Any, gpu_engine: Callable[..., Any], asked: Ask) -> None:
    """Not with the first request, which might find the memory gone."""
    gc.collect()
    before = cuda.memory_allocated()
    engine = gpu_engine(slots=200, context_tokens=1024)
    opened = cuda.memory_allocated()
    assert opened - before >= 200 * 1024 * 512  # two layers of two heads of 16, keys and values, in fp32
    engine.admit(asked(0))
    engine.step()
    engine.close()
    assert cuda.memory_allocated() - opened < MIB


def test_a_model_whose_cache_does_not_fit_is_refused_with_a_remedy(cuda: Any, gpu_engine: Callable[..., Any]) -> None:
    from services.inference.models.wheel import ModelUnavailable

    with pytest.raises(ModelUnavailable, match=r"KV cache on cuda:0.* lower context_tokens"):
        gpu_engine(kv_memory_share=1e-9)


def test_a_prompt_that_does_not_fit_ends_with_out_of_memory_and_the_others_go_on(
    cuda: Any, gpu_engine: Callable[..., Any], asked: Ask, answers: Answers, tokens: Tokens
) -> None:
    engine = gpu_engine(context_tokens=1024, prefill_tokens=1000)
    long = asked(9, text="z" * 900)
    works = [asked(0, max_tokens=30), asked(1, max_tokens=30), long, asked(3, max_tokens=30)]
    expected = tokens(engine, works)
    with memory_left(cuda, 4 * MIB):
        outputs = answers(engine, works)
    assert outputs["r9"][-1].failure is Failure.OUT_OF_MEMORY
    assert not any(output.token_ids for output in outputs["r9"])
    for name in ("r0", "r1", "r3"):
        assert [token for output in outputs[name] for token in output.token_ids] == expected[name]
    assert engine.capacity().free_slots == 6
    assert tokens(engine, [long])["r9"] == expected["r9"]


def test_a_batch_that_does_not_fit_is_halved_and_nobody_fails(
    cuda: Any, gpu_engine: Callable[..., Any], asked: Ask, answers: Answers, tokens: Tokens
) -> None:
    """Fails if the halves run while the failed pass's tensors are still held."""
    engine = gpu_engine(slots=32, cuda_graphs=False)  # a recorded pass has taken its memory and runs no hook
    works = [asked(number, max_tokens=10) for number in range(32)]
    expected = tokens(engine, works)

    def need(module: Any, arguments: Any, keywords: dict[str, Any]) -> None:
        """A pass that works in 2 × 12 MiB a row."""
        rows = len(keywords["input_ids"])
        first = torch.empty(rows * 12 * MIB, dtype=torch.uint8, device="cuda")
        second = torch.empty(rows * 12 * MIB, dtype=torch.uint8, device="cuda")
        del first, second

    hook = engine._runner._model.register_forward_pre_hook(need, with_kwargs=True)
    with memory_left(cuda, 600 * MIB):  # 32 rows would need 768, 16 need 384
        outputs = answers(engine, works)
    hook.remove()
    assert {n: [token for output in got for token in output.token_ids] for n, got in outputs.items()} == expected
    assert engine.load().computed_tokens > engine.load().useful_tokens


def test_a_token_id_that_the_model_does_not_have_ends_its_request_and_not_the_device(
    gpu_engine: Callable[..., Any], asked: Ask, answers: Answers, tokens: Tokens
) -> None:
    """On a GPU an index out of bounds is found by the kernel, and no call after it works."""
    engine = gpu_engine()
    expected = tokens(engine, [asked(0), asked(1)])
    outputs = answers(engine, [asked(0), asked(2, emitted=(1_000_000,)), asked(1)])
    assert outputs["r2"][-1].failure is Failure.ENGINE_ERROR
    assert tokens(engine, [asked(0), asked(1)]) == expected


def test_numbers_that_are_not_finite_end_their_request_and_do_not_stay_in_the_cache(
    gpu_engine: Callable[..., Any], asked: Ask, answers: Answers, tokens: Tokens
) -> None:
    engine = gpu_engine(slots=1)
    expected = tokens(engine, [asked(2)])
    embedding = engine._runner.embedding
    kept = embedding[ord("!")].clone()
    embedding[ord("!")] = float("nan")
    assert answers(engine, [asked(1, text="y" * 300 + "!")])["r1"][-1].failure is Failure.NOT_FINITE
    embedding[ord("!")] = kept
    assert tokens(engine, [asked(2)]) == expected
