"""Replays over the wire: what audit gives is run, and what audit finds is told; never a text."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest
from strongroom.audit.v1 import audit_pb2
from strongroom.gateway.v1 import gateway_pb2 as pb

from chassis.errors import from_rpc_error
from services.gateway.requests.outcome import Step


@pytest.fixture
def recorded(door):
    """A record that audit gives out."""
    sent = {"messages": [{"role": "user", "content": "hello"}], "model": "tiny", "parameters": {"seed": 7, "n": 1}}
    door.audit.taking.material.CopyFrom(
        audit_pb2.ReplayMaterial(
            record_id="r1",
            party=audit_pb2.Party(tenant="bank", caller="auditor"),
            sealed_with="key-1",
            request_sent=json.dumps(sent).encode(),
            parameters=b'{"policy_digest":"aa"}',
        )
    )


async def reason(call) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value).reason


async def test_a_replay_is_run_recorded_and_told_without_a_text(door, recorded):
    """Fails if FinishReplay is called before the END is durable."""
    reply = await door.stub.Replay(pb.ReplayRequest(permit="permit"), metadata=door.key("auditor"))
    assert (reply.verdict, reply.choice, reply.token, reply.tokens) == ("DIVERGED", 0, 1, 1)
    assert b"world" not in reply.SerializeToString()
    accept, end = door.audit.entries
    assert (accept.accept.sealed_with, accept.accept.party.tenant) == ("key-1", "bank")
    assert accept.record_id == end.record_id == reply.request_id
    [asked] = door.audit.taken
    assert asked.permit == "permit"
    assert json.loads(asked.serving[0].made_by) == {"batch_invariant": True, "model": "tiny"}
    assert dict(asked.serving[0].adapters) == {"tone": b"d"}
    assert [job.priority for job in door.queue.jobs] == ["batch"] and door.guard.items == []


async def test_one_that_fails_on_the_way_is_judged_once_its_record_has_ended(door, recorded):
    """Fails if the judgement is asked for as soon as the error is known: the END is on its way then."""
    door.queue.scripts = {0: [Step("", "FAILED", "OUT_OF_MEMORY")]}
    reply = await door.stub.Replay(pb.ReplayRequest(permit="permit"), metadata=door.key("auditor"))
    assert door.audit.entries[-1].end.reason == "OUT_OF_MEMORY" and reply.request_id


async def test_what_audit_does_not_give_is_told_and_not_run(door):
    door.audit.taking.judgement.CopyFrom(audit_pb2.Judgement(verdict="NOT_REPLAYABLE", reasons=["ERASED"]))
    reply = await door.stub.Replay(pb.ReplayRequest(permit="permit"), metadata=door.key("auditor"))
    assert (reply.verdict, list(reply.reasons), reply.request_id) == ("NOT_REPLAYABLE", ["ERASED"], "")
    assert not reply.HasField("token") and door.audit.entries == []


async def test_a_replay_that_audit_does_not_accept_is_an_error_and_no_judgement(door, recorded):
    door.audit.refusing = "RECORD_ERASED"
    assert await reason(door.stub.Replay(pb.ReplayRequest(permit="p"), metadata=door.key("auditor")))
    assert door.audit.kinds() == ["accept"] and door.queue.jobs == []


async def test_callers_may_not_and_a_permit_is_short(door):
    assert await reason(door.stub.Replay(pb.ReplayRequest(permit="p"), metadata=door.key())) == "METHOD_NOT_ALLOWED"
    for permit in ("", "p" * 129):
        call = door.stub.Replay(pb.ReplayRequest(permit=permit), metadata=door.key("auditor"))
        assert await reason(call) == "INVALID_ARGUMENT"


async def test_whoever_leaves_ends_it(door, recorded, until):
    door.queue.scripts = {0: [Step("Hello")]}  # then silence
    call = door.stub.Replay(pb.ReplayRequest(permit="permit"), metadata=door.key("auditor"))
    await asyncio.wait([asyncio.ensure_future(until(lambda: door.queue.jobs))])
    call.cancel()
    await until(lambda: door.audit.kinds() == ["accept", "end"])
