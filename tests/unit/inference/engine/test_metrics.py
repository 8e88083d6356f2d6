"""Useful and computed tokens of the torch engine: what batch efficiency is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.inference.engine.protocol import Message, Sampling, Work
from services.inference.engine.torch_engine import TorchEngine

PROMPTS = {"a": "the quick brown fox", "b": "中文和 English", "c": "q"}


def work(name: str) -> Work:
    message = Message(role="user", content=PROMPTS[name])
    return Work(request_id=name, messages=(message,), sampling=Sampling(temperature=0.0, max_tokens=5))


def run_all(engine: TorchEngine) -> None:
    for name in PROMPTS:
        engine.admit(work(name))
    while engine.live():
        engine.step()


def test_every_row_and_column_that_ran_well_held_a_token(tiny_engine: Callable[..., TorchEngine]) -> None:
    engine = tiny_engine("llama")
    prompts = sum(engine.prompt_tokens(work(name)) for name in PROMPTS)
    run_all(engine)
    load = engine.load()
    firsts = len(PROMPTS)  # chosen from the prefill's logits: no pass of their own
    assert load.prompt_tokens == prompts
    assert load.useful_tokens == load.computed_tokens == prompts + load.output_tokens - firsts


def test_a_pass_that_failed_was_computed_and_useless(tiny_engine: Callable[..., TorchEngine], faulty: Any) -> None:
    engine = tiny_engine("llama")
    failures = iter([True])

    def fail_once(segments: object) -> None:
        if engine.load().output_tokens > len(PROMPTS) and next(failures, False):
            raise RuntimeError("shape")

    handle = faulty(engine, fail_once)
    run_all(engine)
    handle.remove()
    assert engine.load().computed_tokens > engine.load().useful_tokens
