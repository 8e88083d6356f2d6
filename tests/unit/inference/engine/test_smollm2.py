"""Invariant 11 on the real default model, and what it must answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from services.inference.engine.protocol import Finish, Message, Sampling, StepOutput, Work
from services.inference.engine.torch_engine import TorchEngine
from services.inference.models.loading import LoadedModel

QUESTIONS = [
    "What is the capital of France?",
    "Add 1234 and 5678.",
    "Summarise: " + "The committee met on 2026-11-23 and adjourned. " * 9,
    "用一句话介绍北京。",
]


def work(number: int, **sampling: Any) -> Work:
    chosen = Sampling(**({"temperature": 0.0, "max_tokens": 14, "seed": number} | sampling))
    message = Message(role="user", content=QUESTIONS[number])
    return Work(request_id=f"q{number}", messages=(message,), sampling=chosen)


def finish(engine: TorchEngine, works: list[Work], every: int = 0) -> dict[str, list[StepOutput]]:
    """Admit one work every so many steps (0: all at once)."""
    outputs: dict[str, list[StepOutput]] = {}
    waiting = list(works)
    step = 0
    while waiting or engine.live():
        while waiting and (not every or step % every == 0):
            engine.admit(waiting.pop(0))
            if every:
                break
        for output in engine.step():
            outputs.setdefault(output.request_id, []).append(output)
        step += 1
    return outputs


def tokens(outputs: list[StepOutput]) -> list[int]:
    return [token for output in outputs for token in output.token_ids]


@pytest.fixture(scope="module")
def single(smollm2_engine: TorchEngine) -> dict[str, list[StepOutput]]:
    """Each question alone, sampled."""
    return {f"q{n}": finish(smollm2_engine, [work(n, temperature=0.9)])[f"q{n}"] for n in range(len(QUESTIONS))}


def test_invariant_11_greedy_is_what_generate_gives(smollm2: LoadedModel, smollm2_engine: TorchEngine) -> None:
    """Fails if `ModelRunner.forward` takes its positions from 0 in every chunk."""
    outputs = finish(smollm2_engine, [work(n) for n in range(len(QUESTIONS))], every=2)
    for number in range(len(QUESTIONS)):
        ids = smollm2.prompt.ids(work(number).messages)
        reference = smollm2.model.generate(torch.tensor([ids]), max_new_tokens=14, do_sample=False)
        assert tokens(outputs[f"q{number}"]) == reference[0, len(ids) :].tolist()


def test_invariant_11_sampled_answers_are_the_same_alone_and_together(
    smollm2_engine: TorchEngine, single: dict[str, list[StepOutput]]
) -> None:
    """Fails if `choose` takes its number from a generator that all rows share."""
    together = finish(smollm2_engine, [work(n, temperature=0.9) for n in reversed(range(len(QUESTIONS)))])
    assert {name: tokens(outputs) for name, outputs in together.items()} == {
        name: tokens(outputs) for name, outputs in single.items()
    }


def test_invariant_8_another_worker_goes_on_with_the_same_tokens_and_text(
    smollm2_engine: TorchEngine, single: dict[str, list[StepOutput]]
) -> None:
    """Fails if `admit` leaves out `answer.replay`."""
    whole = single["q3"]
    cut = 5
    resumed = Work(
        request_id="resumed",
        messages=work(3).messages,
        sampling=work(3, temperature=0.9).sampling,
        emitted=tuple(tokens(whole)[:cut]),
    )
    rest = finish(smollm2_engine, [work(2), resumed])["resumed"]
    assert tokens(rest) == tokens(whole)[cut:]
    assert [output.text for output in rest] == [output.text for output in whole[cut:]]


def test_it_answers_and_ends_by_itself(smollm2_engine: TorchEngine) -> None:
    outputs = finish(smollm2_engine, [work(0, max_tokens=40)])["q0"]
    assert "Paris" in "".join(output.text for output in outputs)
    assert outputs[-1].finish is Finish.STOP
    assert "<|" not in "".join(output.text for output in outputs)
