"""Our engine by itself: EngineLoop and TorchEngine in this process, no gateway, queue or audit."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from benchmarks.engine.driving import Answer, drive
from benchmarks.engine.workload import CONTEXT_TOKENS, Ask
from services.inference.engine.loop import EngineLoop
from services.inference.engine.opening import EngineSettings, open_engine
from services.inference.engine.protocol import Engine, EngineRefusal, Message, Sampling, StepOutput, Work


class Callers:
    """The loop's outlet: a caller asks its next question on the engine's thread, as its last answer ends."""

    def __init__(self) -> None:
        self._numbers = count()
        self._asks: deque[Ask] = deque()
        self._open: dict[str, tuple[Ask, Answer]] = {}
        self._answers: list[Answer] = []
        self._over = threading.Event()
        self._problem = ""

    def start(self, loop: EngineLoop) -> None:
        self._loop = loop
        loop.start()

    def play(self, asks: Sequence[Ask], callers: int) -> list[Answer]:
        self._begin(asks[callers:])
        for ask in asks[:callers]:
            self._ask(ask)
        return self._ended()

    def arrive(self, asks: Sequence[Ask], arrivals: Sequence[float]) -> list[Answer]:
        self._begin(())
        self._expected = len(asks)
        began = time.perf_counter()
        for ask, at in zip(asks, arrivals, strict=True):
            time.sleep(max(0.0, began + at - time.perf_counter()))
            self._ask(ask)
        return self._ended()

    def _begin(self, later: Sequence[Ask]) -> None:
        self._asks, self._answers, self._expected = deque(later), [], 0
        self._over.clear()

    def _ended(self) -> list[Answer]:
        self._over.wait()
        if self._problem:
            raise RuntimeError(self._problem)
        return self._answers

    def outputs(self, outputs: Sequence[StepOutput]) -> None:
        now = time.perf_counter()
        for output in outputs:
            ask, answer = self._open[output.request_id]
            if output.token_ids and answer.first is None:
                answer.first = now
            answer.tokens += output.token_ids
            if output.failure:
                self._give_up(f"request {ask.id} failed: {output.failure}")
            elif output.last:
                self._end(output, ask, answer, now)

    def refused(self, request_id: str, refusal: EngineRefusal) -> None:
        self._give_up(f"refused: {refusal.reason} {refusal.field} {refusal.bound}")

    def room_changed(self) -> None:
        """There is a slot for every caller."""

    def died(self) -> None:
        self._give_up("the engine died")

    def _ask(self, ask: Ask) -> None:
        messages = tuple(Message(role=turn["role"], content=turn["content"]) for turn in ask.messages)
        sampling = Sampling(temperature=0.0, max_tokens=ask.tokens)
        work = Work(request_id=f"r{next(self._numbers)}", messages=messages, sampling=sampling)
        self._open[work.request_id] = ask, Answer(ask.id, time.perf_counter())
        self._loop.admit(work)

    def _end(self, output: StepOutput, ask: Ask, answer: Answer, now: float) -> None:
        if output.input_tokens != len(ask.prompt):
            self._give_up(f"request {ask.id} was read as {output.input_tokens} tokens, not {len(ask.prompt)}")
        del self._open[output.request_id]
        answer.ended, answer.count = now, output.output_tokens
        self._answers.append(answer)
        if self._asks:
            self._ask(self._asks.popleft())
        elif not self._open and len(self._answers) >= self._expected:
            self._over.set()

    def _give_up(self, problem: str) -> None:
        self._problem = problem
        self._over.set()


def opened(model: Path, settings: Sequence[str]) -> Engine:
    """The engine with 64 slots and the context that all have; `settings` are NAME=VALUE."""
    chosen = {"slots": 64, "context_tokens": CONTEXT_TOKENS, **dict(map(_setting, settings))}
    engine = open_engine(EngineSettings(model=str(model), **chosen), model.parents[1])  # type: ignore[arg-type]
    print(engine.model, engine.capacity(), file=sys.stderr)
    return engine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="its folder")
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="of EngineSettings")
    options = parser.parse_args()
    callers = Callers()
    loop = EngineLoop(opened(options.model, options.settings), callers)
    callers.start(loop)
    drive(callers.play, arrive=callers.arrive)
    loop.stop()


def _setting(told: str) -> tuple[str, object]:
    """As the settings' own defaults are typed."""
    name, _, value = told.partition("=")
    kind = type(getattr(EngineSettings(), name))
    return name, value == "True" if kind is bool else kind(value)


if __name__ == "__main__":
    main()
