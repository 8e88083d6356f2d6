"""The thread that waits for the disk: one thing after the other, results and failures back on the loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from services.audit.disk_thread import DiskThread


@pytest.fixture
def disk():
    made = DiskThread("disk")
    made.start()
    yield made
    made.stop()


async def test_work_is_done_on_the_thread_in_order_and_answered_on_the_loop(disk) -> None:
    seen: list[int] = []

    def work(n: int) -> tuple[str, int]:
        seen.append(n)
        return threading.current_thread().name, n

    answers = await asyncio.gather(*(disk.run(work, n) for n in range(20)))
    assert answers == [("disk", n) for n in range(20)]
    assert seen == list(range(20))


async def test_what_fails_raises_where_it_is_awaited_and_the_next_is_done(disk) -> None:
    def fails() -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        await disk.run(fails)
    assert await disk.run(lambda: 1) == 1


async def test_an_answer_that_nobody_waits_for_any_more_is_dropped(disk, caplog) -> None:
    going = threading.Event()
    abandoned = disk.run(going.wait, 10)
    abandoned.cancel()
    going.set()
    assert await disk.run(lambda: 2) == 2
    assert caplog.records == []


async def test_stopping_waits_for_what_was_given() -> None:
    disk, done = DiskThread("disk"), []
    disk.start()
    answer = disk.run(done.append, 1)
    await asyncio.to_thread(disk.stop)
    assert done == [1]
    await answer
