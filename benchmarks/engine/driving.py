"""A driver's side of the conversation: a column's name comes in, what was measured goes out, a line of JSON each."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.engine.workload import COLUMNS, Ask, Column


@dataclass
class Answer:
    """What one caller saw, in seconds of `time.perf_counter`."""

    id: int
    asked: float
    first: float | None = None  # when its first token came; None where a contender does not stream
    ended: float = 0.0
    count: int = 0
    tokens: list[int] = field(default_factory=list)  # their ids, where the contender tells them


Play = Callable[[Sequence[Ask], int], list[Answer]]  # so many callers in a closed loop
Arrive = Callable[[Sequence[Ask], Sequence[float]], list[Answer]]  # each at its second


def drive(
    play: Play,
    pids: Sequence[int] = (),
    arrive: Arrive | None = None,
    awake: Callable[[], None] = lambda: None,
) -> None:
    """Answers until standard input ends. `pids`: whose memory counts, with their children; else this process's. `awake`
    returns when those who stood still go on as before: that is not in the time."""
    said = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    play(COLUMNS["16"].asks[:4], 4)  # kernels are chosen, caches are made
    print(json.dumps({"ready": True}), file=said)
    for line in sys.stdin:
        column = Column(**json.loads(line))
        awake()
        began = time.perf_counter()
        if column.per_second and arrive:
            answers = arrive(column.asks, column.arrivals)
        else:
            answers = play(column.asks, column.callers)
        seconds = max(answer.ended for answer in answers) - began
        _check(column, answers)
        peak = sum(map(peak_mib, pids or [os.getpid()]))
        told = {"seconds": seconds, "peak_mib": peak, "answers": [asdict(answer) for answer in answers]}
        print(json.dumps(told), file=said)


async def in_closed_loop(asks: Sequence[Ask], callers: int, asked: Callable[[Ask], Awaitable[Answer]]) -> list[Answer]:
    """For contenders that are asked from an event loop."""
    waiting, answers = deque(asks), list[Answer]()

    async def caller() -> None:
        while waiting:
            answers.append(await asked(waiting.popleft()))

    await asyncio.gather(*(caller() for _ in range(callers)))
    return answers


def _check(column: Column, answers: list[Answer]) -> None:
    wanted = {ask.id: ask.tokens for ask in column.asks}
    wrong = [answer.id for answer in answers if answer.count != wanted.pop(answer.id)]
    if wrong or wanted:
        raise RuntimeError(f"answers of another length: {wrong}; missing: {sorted(wanted)}")


def peak_mib(pid: int) -> float:
    """The most resident memory that a process and its children ever had, each by itself."""
    return sum(_high_water_kib(each) for each in tree(pid)) / 1024


def tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(below for found in children for child in found.read_text().split() for below in tree(int(child)))]


def _high_water_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in status if line.startswith("VmHWM")), 0)
