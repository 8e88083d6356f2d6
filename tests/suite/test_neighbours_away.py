"""What callers see while a neighbour of the gateway is away, and that it is served again without a restart."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

LONG = "word " * 60  # 60 steps of the paced echo engine


async def test_redis_away_is_unavailable_at_once_and_comes_back_without_a_restart(suite):
    suite.kill("redis")
    await asyncio.sleep(0.5)
    began = time.monotonic()
    answer = await suite.ask("hello", max_tokens=4)
    assert answer.error.code() is grpc.StatusCode.UNAVAILABLE and time.monotonic() - began < 2
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in rpc_status.from_call(answer.error).details)
    assert retry.retry_delay.ToMilliseconds() > 0
    suite.start("redis")
    await suite.ready()
    assert suite.verify().returncode == 0


@pytest.mark.parametrize("name", ["audit", "guard", "redis", "inference"])
async def test_invariant_8_a_stream_pauses_while_a_neighbour_is_away_and_goes_on_where_it_was(suite, name):
    """Fails if `BatchStream._one_connection` does not send the unanswered items again."""
    async with suite.stream(LONG, max_tokens=60) as (answer, pieces):
        await anext(pieces)
        suite.kill(name)
        await asyncio.sleep(1.0)
        suite.start(name)
        async for _ in pieces:
            pass
    assert answer.error is None, f"{answer.error}\n{suite.logs()}"
    assert answer.text.split() == LONG.split()
    done = suite.verify()
    assert done.returncode == 0, done.stdout


async def test_invariant_2_nothing_is_sent_while_audit_is_away(suite):
    """Fails if `Answer._release` emits without awaiting `audit.release`."""
    async with suite.stream(LONG, seconds=3.0, max_tokens=60) as (answer, pieces):
        await anext(pieces)
        suite.kill("audit")
        told = len(answer.pieces)
        late = [piece async for piece in pieces]
    assert len(late) <= 1, "more than what was on the wire already"
    assert answer.error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    new = await suite.ask("hello", max_tokens=4)
    assert new.error.code() is grpc.StatusCode.UNAVAILABLE and told >= 1
    suite.start("audit")
    await suite.ready()
    assert suite.verify().returncode == 0
