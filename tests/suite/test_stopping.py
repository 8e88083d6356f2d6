"""A gateway that is told to stop lets what runs end."""

from __future__ import annotations

import asyncio
import signal


async def test_a_stopping_gateway_finishes_its_answers_and_takes_no_new_ones(own_suite):
    await own_suite.ready()
    question = "word " * 60
    async with own_suite.stream(question, max_tokens=60) as (answer, pieces):
        await anext(pieces)
        own_suite.running["gateway"].send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        late = await own_suite.ask("hello", max_tokens=4)
        async for _ in pieces:
            pass
    assert answer.error is None and answer.text.split() == question.split()
    assert late.error is not None
    assert own_suite.running["gateway"].wait(10) == 0
    assert own_suite.verify().returncode == 0
