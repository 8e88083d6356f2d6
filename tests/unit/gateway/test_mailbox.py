"""Events on their way to a caller who reads them as they come, or all of them at the end."""

from __future__ import annotations

import asyncio

import pytest

from chassis.failures import Internal
from services.gateway.requests.mailbox import MAX_UNREAD_EVENTS, Mailbox
from services.gateway.requests.outcome import Broken, Delta

LAST = Broken(Internal("internal error"))
MANY = [Delta(str(n)) for n in range(3 * MAX_UNREAD_EVENTS)]


async def fill(mailbox: Mailbox) -> None:
    for delta in MANY:
        await mailbox.put(delta)
    mailbox.push(LAST)


@pytest.mark.parametrize("already", [False, True], ids=["from the start", "while an event waits for room"])
async def test_one_who_reads_at_the_end_is_told_everything_and_nothing_waits_for_room(already):
    """Fails if `put` waits for room whoever reads, or if `take_all` does not wake what waits already."""
    mailbox = Mailbox()
    filling = asyncio.create_task(fill(mailbox))
    if already:
        await asyncio.sleep(0)
        assert not filling.done()
    async with asyncio.timeout(10):
        assert await mailbox.take_all() == [*MANY, LAST]
        await filling


async def test_one_who_reads_as_they_come_gets_each_in_order_and_makes_room():
    mailbox = Mailbox()
    filling = asyncio.create_task(fill(mailbox))
    async with asyncio.timeout(10):
        assert [await mailbox.take() for _ in range(len(MANY) + 1)] == [*MANY, LAST]
        await filling
