"""A grammar is compiled beside the loop, and whatever becomes of that is told once, by a reason."""

from __future__ import annotations

import asyncio
import threading
from typing import cast

import pytest

from services.inference.engine.protocol import Engine, PromptTooLong, Sampling, Work
from services.inference.worker.preparation import Preparation

WORK = Work(request_id="r", messages=(), sampling=Sampling(temperature=0))


class Preparing:
    """An engine's `prepare` alone; it ends when it is let."""

    def __init__(self, error: Exception | None = None) -> None:
        self.let, self.began, self._error = threading.Event(), threading.Event(), error

    def prepare(self, work: Work) -> None:
        self.began.set()
        assert self.let.wait(60)
        if self._error:
            raise self._error


@pytest.mark.parametrize(
    ("error", "failure"),
    [(None, ""), (PromptTooLong(9, 8), "PROMPT_TOO_LONG"), (ValueError("a bug"), "ENGINE_ERROR")],
)
async def test_what_fails_is_told_by_its_reason_and_the_loop_goes_on_meanwhile(
    error: Exception | None, failure: str
) -> None:
    engine, told = Preparing(error), asyncio.Queue[str]()
    preparation = Preparation(cast(Engine, engine))
    preparation.begin(WORK, told.put_nowait)
    while not engine.began.is_set():
        await asyncio.sleep(0.01)
    assert told.empty()
    engine.let.set()
    assert await asyncio.wait_for(told.get(), 60) == failure
    preparation.close()


async def test_after_it_is_closed_nobody_is_called() -> None:
    """Fails if `close` cancels no task."""
    engine, told = Preparing(), asyncio.Queue[str]()
    preparation = Preparation(cast(Engine, engine))
    preparation.begin(WORK, told.put_nowait)
    while not engine.began.is_set():
        await asyncio.sleep(0.01)
    preparation.close()
    engine.let.set()
    for thread in threading.enumerate():
        if thread.name.startswith("grammar"):  # when it has ended, what it had to tell is in the loop's hands
            await asyncio.to_thread(thread.join, 60)
    for _ in range(5):
        await asyncio.sleep(0)
    assert told.empty()
