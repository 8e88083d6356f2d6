"""openvino-genai's continuous batching in this process; weights by nncf, converted once by optimum-intel."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import openvino
import openvino_genai

from benchmarks.engine.driving import Answer, drive
from benchmarks.engine.workload import Ask
from services.inference.models.openvino import folder_of

CACHE_GIB = 2


class Callers:
    def __init__(self, engine: Any) -> None:
        self._engine, self._number = engine, 0

    def play(self, asks: Sequence[Ask], callers: int) -> list[Answer]:
        waiting, answers = deque(asks), list[Answer]()
        open_ = [self._asked(waiting.popleft(), answers) for _ in range(min(callers, len(waiting)))]
        while open_:
            self._engine.step()
            now = time.perf_counter()
            for handle, answer in open_:
                self._read(handle, answer, now)
            ended = [each for each in open_ if each[1].ended]
            open_ = [each for each in open_ if not each[1].ended]
            open_ += [self._asked(waiting.popleft(), answers) for _ in ended[: len(waiting)]]
        return answers

    def _asked(self, ask: Ask, answers: list[Answer]) -> tuple[Any, Answer]:
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens, config.do_sample, config.ignore_eos = ask.tokens, False, True
        answers.append(Answer(ask.id, time.perf_counter()))
        prompt = openvino.Tensor(numpy.array([ask.prompt], dtype=numpy.int64))
        self._number += 1
        return self._engine.add_request(self._number, prompt, config), answers[-1]

    def _read(self, handle: Any, answer: Answer, now: float) -> None:
        while handle.can_read():
            for output in handle.read().values():
                answer.tokens += output.generated_ids
        answer.count = len(answer.tokens)
        if answer.count and answer.first is None:
            answer.first = now
        if handle.get_status() != openvino_genai.GenerationStatus.RUNNING:
            answer.ended = now


def main() -> None:
    model, weights = Path(sys.argv[1]), sys.argv[2]
    scheduling = openvino_genai.SchedulerConfig()
    scheduling.cache_size, scheduling.enable_prefix_caching = CACHE_GIB, False
    where = folder_of(model.parent, model.name, weights)
    # Without it, the threads of a core count once.
    threads = {"INFERENCE_NUM_THREADS": len(os.sched_getaffinity(0))}
    engine = openvino_genai.ContinuousBatchingPipeline(where, scheduling, "CPU", threads)
    drive(Callers(engine).play)


if __name__ == "__main__":
    main()
