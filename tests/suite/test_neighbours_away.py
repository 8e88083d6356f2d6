"""What callers see while a neighbour of the gateway is away, and that it is served again without a restart."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from strongroom.audit.v1 import audit_pb2, audit_pb2_grpc

LONG = "word " * 60  # 60 steps of the paced echo engine


async def test_redis_away_is_unavailable_at_once_and_comes_back_without_a_restart(own_suite):
    await own_suite.ready()
    own_suite.kill("redis")
    await asyncio.sleep(0.5)
    began = time.monotonic()
    answer = await own_suite.ask("hello", max_tokens=4)
    assert answer.error.code() is grpc.StatusCode.UNAVAILABLE and time.monotonic() - began < 2
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in rpc_status.from_call(answer.error).details)
    assert retry.retry_delay.ToMilliseconds() > 0
    own_suite.start("redis")
    await own_suite.ready()
    assert own_suite.verify().returncode == 0


@pytest.mark.parametrize("name", ["audit", "guard", "redis", "inference"])
async def test_invariant_8_a_stream_pauses_while_a_neighbour_is_away_and_goes_on_where_it_was(own_suite, name):
    """Fails if `BatchStream._one_connection` does not send the unanswered items again."""
    await own_suite.ready()
    async with own_suite.stream(LONG, max_tokens=60) as (answer, pieces):
        await anext(pieces)
        own_suite.kill(name)
        await asyncio.sleep(1.0)
        own_suite.start(name)
        async for _ in pieces:
            pass
    assert answer.error is None, f"{answer.error}\n{own_suite.logs()}"
    assert answer.text.split() == LONG.split()
    done = own_suite.verify()
    assert done.returncode == 0, done.stdout


async def test_invariant_2_nothing_is_sent_while_audit_is_away(own_suite):
    """Fails if `Answer._release` emits without awaiting `audit.release`."""
    await own_suite.ready()
    async with own_suite.stream(LONG, seconds=3.0, max_tokens=60) as (answer, pieces):
        await anext(pieces)
        own_suite.kill("audit")
        told = len(answer.pieces)
        late = [piece async for piece in pieces]
    assert len(late) <= 1, "more than what was on the wire already"
    assert answer.error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    new = await own_suite.ask("hello", max_tokens=4)
    assert new.error.code() is grpc.StatusCode.UNAVAILABLE and told >= 1
    own_suite.start("audit")
    await own_suite.ready()
    assert own_suite.verify().returncode == 0


async def test_invariant_4_a_killed_gateway_leaves_no_open_record(own_suite):
    """Fails if audit's sequencer stops enqueueing Reap."""
    await own_suite.ready()
    async with own_suite.stream(LONG * 8, max_tokens=480) as (answer, pieces):
        await anext(pieces)
        own_suite.kill("gateway")
        async for _ in pieces:
            pass
    assert answer.error.code() is grpc.StatusCode.UNAVAILABLE
    own_suite.start("gateway")
    await own_suite.ready()
    until = time.monotonic() + 30
    while (state := await _state(own_suite, answer.request_id)) == "OPEN":
        assert time.monotonic() < until
        await asyncio.sleep(0.5)
    assert state == "FAILED"
    assert own_suite.verify().returncode == 0


async def _state(suite, request_id: str) -> str:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{suite.port_base + 3}") as channel:
        request = audit_pb2.GetRecordRequest(record_id=request_id)
        record = await audit_pb2_grpc.AuditServiceStub(channel).GetRecord(request, metadata=suite.metadata, timeout=5)
    return record.summary.state
