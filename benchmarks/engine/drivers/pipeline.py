"""transformers' text-generation pipeline with a batch size, the common way: static batches, padded on the left."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoTokenizer, pipeline

from benchmarks.engine.driving import Answer, drive
from benchmarks.engine.workload import Ask


def main() -> None:
    folder, dtype = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    made: Any = pipeline("text-generation", model=folder, tokenizer=tokenizer, dtype=getattr(torch, dtype))

    def play(asks: Sequence[Ask], callers: int) -> list[Answer]:
        """All answers of a batch come together: its size is the number of callers."""
        [tokens] = {ask.tokens for ask in asks}
        answers, began = [], time.perf_counter()
        texts = (ask.text for ask in asks)
        told = made(texts, batch_size=callers, do_sample=False, max_new_tokens=tokens, return_tensors=True)
        for ask, [out] in zip(asks, told, strict=True):
            ended = time.perf_counter()
            ids = out["generated_token_ids"][-tokens:]
            answers.append(Answer(ask.id, began, None, ended, len(ids), list(map(int, ids))))
        return answers

    drive(play)


if __name__ == "__main__":
    main()
