"""A gateway that is told to stop lets what runs end; a worker that is told to tells what it counted."""

from __future__ import annotations

import asyncio
import signal

import grpc
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc


async def test_a_stopping_gateway_finishes_its_answers_and_takes_no_new_ones(suite_with):
    suite = suite_with()
    await suite.ready()
    question = "word " * 60
    async with suite.stream(question, max_tokens=60) as (answer, pieces):
        await anext(pieces)
        suite.running["gateway"].send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        late = await suite.ask("hello", max_tokens=4)
        async for _ in pieces:
            pass
    assert answer.error is None and answer.text.split() == question.split()
    assert late.error is not None
    assert suite.running["gateway"].wait(10) == 0
    assert suite.verify().returncode == 0

    suite.running["inference"].send_signal(signal.SIGTERM)
    assert suite.running["inference"].wait(30) == 0
    async with grpc.aio.insecure_channel(f"127.0.0.1:{suite.port_base + 3}") as channel:
        request, metadata = pb.GetCompletenessRequest(), suite.metadata
        found = await rpc.AuditServiceStub(channel).GetCompleteness(request, metadata=metadata, timeout=30)
    [boot] = found.boots
    assert (boot.accepted_jobs, boot.completed_jobs, found.open_differences) == (
        boot.counted_jobs,
        boot.finished_jobs,
        0,
    )
    assert boot.recorded_tokens == boot.counted_tokens >= 60
