"""The serving side of a batch stream: takes items as they come, and answers each when it can.

Tasks: `answering` owns its reader and the items it started; all end with the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from chassis.boundary import draining
from chassis.exchange import OPENED, ended
from chassis.replies import Replies


async def answering(
    requests: AsyncIterator[Any],
    context: Any,
    start: Callable[[Any], Any],
    items: Callable[[Any], Iterable[Any]],
    pack: Callable[[list[Any]], Any],
) -> AsyncIterator[Any]:
    """The serving side: `start` is given each item in order and returns its reply, a `Later`, or an awaitable of it.

    Yields messages of whatever replies are ready. Ends after the last reply when the caller's stream ends or the
    server drains. A coroutine is cancelled when the call ends early; a future belongs to whoever made it.
    A servicer returns this generator (`def Exchange(…): return answering(…)`): one that iterates over it in a
    generator of its own leaves the clean-up to whenever Python finalises the inner one.
    """
    await context.send_initial_metadata((OPENED,))  # the caller now knows that we are here
    replies = Replies()

    async def read() -> None:
        async for message in requests:
            for item in items(message):
                replies.begin(start, item)

    reader, drained = asyncio.create_task(read()), asyncio.create_task(draining().wait())
    drained.add_done_callback(lambda _: reader.cancel())
    reader.add_done_callback(lambda _: replies.changed.set())
    try:
        while not reader.done() or replies.owed or replies.ready:
            await replies.changed.wait()
            await asyncio.sleep(0)  # as `_write`: one turn of the loop, no delay
            replies.changed.clear()
            while batch := replies.take():
                yield pack(batch)
            if reader.done() and not reader.cancelled():
                reader.result()  # raises what ended it, at once; what is unanswered comes again
    finally:
        await ended([reader, drained, *replies.own])
