"""transformers' `generate`, one question after the other."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.generation.streamers import BaseStreamer

from benchmarks.engine.driving import Answer, drive
from benchmarks.engine.workload import Ask


class FirstToken(BaseStreamer):
    """Notes when it came. What is put first is the prompt."""

    def __init__(self) -> None:
        self._puts = 0
        self.at: float | None = None

    def put(self, value: Any) -> None:
        self._puts += 1
        if self._puts == 2:
            self.at = time.perf_counter()

    def end(self) -> None:
        pass


def answered(model: Any, ask: Ask) -> Answer:
    answer, first = Answer(ask.id, time.perf_counter()), FirstToken()
    prompt = torch.tensor([ask.prompt])
    out = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=ask.tokens,
        streamer=first,
    )
    answer.first, answer.ended = first.at, time.perf_counter()
    answer.tokens = out[0, len(ask.prompt) :].tolist()
    answer.count = len(answer.tokens)
    return answer


def main() -> None:
    folder, dtype = sys.argv[1:]
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))  # already in eval mode

    def play(asks: Sequence[Ask], callers: int) -> list[Answer]:
        return [answered(model, ask) for ask in asks]

    drive(play)


if __name__ == "__main__":
    main()
