"""Replays over the wire: who may ask, what a gateway is given, and a judgement that the log has before it is told."""

from __future__ import annotations

import json

import grpc
import pytest
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.verify import VERIFIES, verify_home

from chassis.errors import from_rpc_error
from services.audit.log.leaf import Kind

MAKER = {"model": "echo", "weights_digest": "ab", "engine": "torch", "batch_invariant": True}
SENT = b'{"messages":[{"content":"masked","role":"user"}],"model":"echo","parameters":{"seed":7}}'
LIVE = [pb.Serving(made_by=json.dumps(MAKER).encode())]


async def reason(call) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value).reason


async def answered(gateway, record: str, *tokens: int, of: str = "", sealed_with: str = "") -> None:
    parameters = {"policy_digest": "aa", **({"replay_of": of} if of else {})}
    fields = {"request_sent": SENT, "parameters": json.dumps(parameters).encode(), "findings": b"[]"}
    accept = pb.Accept(party=pb.Party(tenant="bank", caller="desk"), model="echo", trace_id="0" * 32)
    accept.deadline_time.FromMilliseconds(1_800_000_060_000)
    accept.sealed_with = sealed_with
    accept.fields.extend(pb.Field(name=name, content=content) for name, content in fields.items())
    assert not (await gateway.send(record, accept=accept)).status.reason
    made = {"choices": [{"made_by": [MAKER], "token_ids": tokens}], "prompt_token_ids": [1]}
    end = pb.End(state=pb.END_STATE_COMPLETED, finish_reason="STOP")
    end.fields.add(name="generation", content=json.dumps(made).encode())
    assert not (await gateway.send(record, end=end)).status.reason


def acts(audit) -> list[tuple[str, str, str, dict]]:
    leaves = [audit.writer.stored.leaf(index) for index in range(audit.writer.tree.size)]
    return [
        (leaf.header["actor"], leaf.header["action"], leaf.header["target"], json.loads(leaf.parts["detail"]))
        for leaf in leaves
        if leaf.clear.kind is Kind.ACT
    ]


async def test_a_replay_is_asked_for_run_and_judged_and_the_log_tells_who_and_why(audit) -> None:
    """Fails if the judgement is told and not recorded, or a permit is good for two."""
    async with audit.appending() as gateway, audit.calling("administrator") as person:
        await answered(gateway, "r1", 5, 6, 7)
        given = await person.PrepareReplay(pb.PrepareReplayRequest(record_id="r1", reason="case 7"))
        assert [each[:3] for each in acts(audit)] == [("admin", "REPLAY_STARTED", "r1")]
        taken = (await gateway.stub.TakeReplay(pb.TakeReplayRequest(permit=given.permit, serving=LIVE))).material
        assert (taken.record_id, taken.party.tenant, taken.party.caller) == ("r1", "bank", "admin")
        assert taken.request_sent == SENT and b"token" not in taken.SerializeToString(), "what was answered is not told"
        await answered(gateway, "p1", 5, 6, 8, of="r1", sealed_with=taken.sealed_with)
        finish = pb.FinishReplayRequest(permit=given.permit, replay_record_id="p1")
        found = (await gateway.stub.FinishReplay(finish)).judgement
        spent = await reason(gateway.stub.FinishReplay(finish))
    told = (found.verdict, found.choice, found.token, found.tokens, found.replay_record_id, spent)
    assert told == ("DIVERGED", 0, 2, 2, "p1", "PERMIT_VOID")
    *_, (actor, action, target, detail) = acts(audit)
    assert (actor, action, target) == ("admin", "REPLAYED", "r1")
    assert (detail["reason"], detail["verdict"], detail["token"], detail["replay"]) == ("case 7", "DIVERGED", 2, "p1")
    audit.writer.publish()
    assert verify_home(audit.home, audit.writer.verifier_key).exit_code == VERIFIES


async def test_what_cannot_be_run_is_judged_at_once_and_recorded_too(audit) -> None:
    async with audit.appending() as gateway, audit.calling("auditor") as person:
        await gateway.accept("open")
        await answered(gateway, "r1", 5)
        early = await person.PrepareReplay(pb.PrepareReplayRequest(record_id="open", reason="case 7"))
        given = await person.PrepareReplay(pb.PrepareReplayRequest(record_id="r1", reason="case 7"))
        taken = await gateway.stub.TakeReplay(pb.TakeReplayRequest(permit=given.permit))
    assert (early.permit, list(early.judgement.reasons)) == ("", ["RECORD_OPEN"])
    assert not taken.HasField("material") and list(taken.judgement.reasons) == ["MODEL_NOT_SERVED"]
    judged = [(target, detail["reasons"]) for _, action, target, detail in acts(audit) if action == "REPLAYED"]
    assert judged == [("open", ["RECORD_OPEN"]), ("r1", ["MODEL_NOT_SERVED"])]


async def test_who_may_ask_and_who_may_take(audit) -> None:
    """A person is never given what a model was given, nor a gateway a permit."""
    ask = pb.PrepareReplayRequest(record_id="r1", reason="case 7")
    async with audit.appending() as gateway:
        await answered(gateway, "r1", 5)
        for role, may in {"reviewer": True, "operator": True, "examiner": False, "caller": False}.items():
            async with audit.calling(role) as person:
                if may:
                    permit = (await person.PrepareReplay(ask)).permit
                    assert await reason(person.TakeReplay(pb.TakeReplayRequest(permit=permit))) == "METHOD_NOT_ALLOWED"
                else:
                    assert await reason(person.PrepareReplay(ask)) == "METHOD_NOT_ALLOWED"
        assert await reason(gateway.stub.PrepareReplay(ask)) == "METHOD_NOT_ALLOWED"
        assert await reason(gateway.stub.TakeReplay(pb.TakeReplayRequest(permit="mine"))) == "PERMIT_VOID"
    async with audit.calling("auditor") as person:
        assert await reason(person.PrepareReplay(pb.PrepareReplayRequest(record_id="r1"))) == "INVALID_ARGUMENT"
        nobody = pb.PrepareReplayRequest(record_id="nobody", reason="case 7")
        assert await reason(person.PrepareReplay(nobody)) == "RECORD_UNKNOWN"


@pytest.mark.parametrize("made_by", [b"", b"{", b"[]", b"\xff"])
async def test_a_worker_that_tells_no_object_is_refused_by_field_and_the_permit_stays_good(audit, made_by) -> None:
    async with audit.appending() as gateway, audit.calling("administrator") as person:
        await answered(gateway, "r1", 5)
        given = await person.PrepareReplay(pb.PrepareReplayRequest(record_id="r1", reason="case 7"))
        wrong = pb.TakeReplayRequest(permit=given.permit, serving=[pb.Serving(made_by=made_by)])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.stub.TakeReplay(wrong)
        refused = from_rpc_error(caught.value)
        assert (refused.code, refused.field) == ("INVALID_ARGUMENT", "serving")
        right = pb.TakeReplayRequest(permit=given.permit, serving=LIVE)
        assert (await gateway.stub.TakeReplay(right)).material.record_id == "r1"
