"""What is left to a handler of its caller's time."""

import asyncio
from dataclasses import dataclass

import pytest

from chassis.boundary import Call
from chassis.deadlines import remaining_seconds, within_deadline


@dataclass
class Waiting:
    """A context of which only the time matters."""

    seconds: float | None

    def time_remaining(self):
        return self.seconds


def call(seconds, long_lived=False):
    return Call("/a/B", {}, Waiting(seconds), long_lived, from_outside=False)


@pytest.mark.parametrize(("callers", "left"), [(5, 4.98), (0.5, 0.48), (None, 29.98), (0.01, -0.01)])
def test_20_milliseconds_are_kept_back_for_the_answer(callers, left):
    assert remaining_seconds(call(callers), 30) == pytest.approx(left)


async def test_a_call_that_comes_too_late_is_not_begun():
    async def proceed():
        await asyncio.sleep(0)
        raise AssertionError

    with pytest.raises(TimeoutError):
        await within_deadline(30)(call(0.01), proceed)


async def test_a_batch_stream_is_not_bound():
    begun = asyncio.Event()

    async def proceed():
        await asyncio.sleep(0)
        assert asyncio.current_task().cancelling() == 0
        begun.set()

    await within_deadline(30)(call(None, long_lived=True), proceed)
    assert begun.is_set()
