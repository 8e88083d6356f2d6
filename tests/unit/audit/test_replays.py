"""Replays of records in a real log: which may be run again, and that both are one subject's, for good."""

from __future__ import annotations

import json

import pytest

from services.audit.records.entries import AcceptReplay, AppendRefused, Ending, Refusal
from services.audit.replays.judging import Judgement, Serving, Verdict
from services.audit.replays.replays import Material, Replays

MAKER = {"model": "m", "weights_digest": "ab", "engine": "torch", "dtype": "float32", "batch_invariant": True}
SENT = b'{"messages":[{"content":"masked","role":"user"}],"model":"m","parameters":{"seed":7}}'
LIVE = [Serving(MAKER, {})]


def request(**more) -> dict[str, bytes]:
    parameters = json.dumps({"policy_digest": "aa", **more}).encode()
    return {"request_sent": SENT, "parameters": parameters, "findings": b"[]"}


def generation(*tokens: int, **maker) -> bytes:
    choices = [{"made_by": [{**MAKER, **maker}], "token_ids": tokens}]
    return json.dumps({"choices": choices, "prompt_token_ids": [1, 2]}).encode()


def answered(writer, gateway, record, *tokens, end=Ending.COMPLETED, subject="C", **maker) -> None:
    fields = {**request(), "request_received": b'{"messages":[],"parameters":{}}'}
    kept = {"answer_generated": b"[1]", "answer_released": b"[1]", "findings": b"[]"}
    if tokens:
        kept["generation"] = generation(*tokens, **maker)
    accepted = gateway.accept(record, subject=subject, fields=fields)
    writer.commit([accepted, gateway.end(record, end, fields=kept)])


def replay(gateway, record, of, key_id, **changes) -> AcceptReplay:
    accepted = gateway.accept(record, fields=request(replay_of=of), **changes)
    return AcceptReplay(**{**vars(accepted), "caller": "auditor"}, sealed_with=key_id)


def replayed(writer, gateway, record, of, *tokens, end=Ending.COMPLETED, **maker) -> None:
    answers = writer.commit(
        [
            replay(gateway, record, of, writer.records.opened(of).key_id),
            gateway.end(record, end, fields={"findings": b"[]", "generation": generation(*tokens, **maker)}),
        ]
    )
    assert not any(isinstance(answer, Exception) for answer in answers), answers


def test_a_record_is_given_out_as_the_model_got_it_and_judged_by_its_tokens(audit_log, gateway) -> None:
    writer = audit_log.open()
    replays = Replays(writer.records)
    answered(writer, gateway, "r1", 5, 6, 7)
    key_id = writer.records.opened("r1").key_id
    assert replays.obstacle("r1") is None
    assert replays.material("r1", LIVE) == Material("bank", key_id, SENT, request()["parameters"])
    for name, tokens, verdict, token in (("p1", (5, 6, 7), "EXACT", None), ("p2", (5, 9, 7), "DIVERGED", 1)):
        replayed(writer, gateway, name, "r1", *tokens)
        found = replays.judgement("r1", name)
        assert (found.verdict, found.token) == (verdict, token)


@pytest.mark.parametrize(
    ("end", "tokens", "reason"),
    [(Ending.COMPLETED, (), "NO_TOKENS"), (Ending.FAILED, (), "NO_TOKENS"), (Ending.CANCELLED, (5, 6), None)],
)
def test_what_ended_another_way_is_replayed_as_far_as_it_came(audit_log, gateway, end, tokens, reason) -> None:
    writer = audit_log.open()
    answered(writer, gateway, "r1", *tokens, end=end)
    found = Replays(writer.records).obstacle("r1")
    assert (found and found.reasons) == ((reason,) if reason else None)
    if tokens:
        replayed(writer, gateway, "p1", "r1", *tokens, 7)
        assert Replays(writer.records).judgement("r1", "p1").verdict == Verdict.EXACT


def test_an_open_or_a_refused_record_is_not_replayable_and_an_unknown_one_is_none(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([gateway.accept("open"), gateway.refuse("refused")])
    assert Replays(writer.records).obstacle("open") == Judgement(Verdict.NOT_REPLAYABLE, ("RECORD_OPEN",))
    assert Replays(writer.records).obstacle("refused") == Judgement(Verdict.NOT_REPLAYABLE, ("NO_TOKENS",))
    with pytest.raises(LookupError):
        Replays(writer.records).obstacle("nobody")


def test_other_workers_keep_it_from_being_run_at_all(audit_log, gateway) -> None:
    writer = audit_log.open()
    answered(writer, gateway, "r1", 5)
    found = Replays(writer.records).material("r1", [Serving({**MAKER, "weights_digest": "cd"}, {})])
    assert found == Judgement(Verdict.NOT_REPLAYABLE, ("OTHER_WEIGHTS",))


def test_another_request_or_a_failed_one_judges_nothing(audit_log, gateway) -> None:
    """Fails if `_replays` does not ask whose replay it is."""
    writer = audit_log.open()
    answered(writer, gateway, "r1", 5)
    answered(writer, gateway, "r2", 5)
    replayed(writer, gateway, "p2", "r2", 5)
    replayed(writer, gateway, "late", "r1", 5, end=Ending.EXPIRED)
    reasons = {name: Replays(writer.records).judgement("r1", name).reasons for name in ("r2", "p2", "late")}
    assert reasons == {"r2": ("OTHER_REQUEST",), "p2": ("OTHER_REQUEST",), "late": ("REPLAY_FAILED",)}
    writer.commit([replay(gateway, "going", "r1", writer.records.opened("r1").key_id)])
    with pytest.raises(LookupError):
        Replays(writer.records).judgement("r1", "going")


async def test_a_replay_is_its_subjects_and_is_erased_with_what_it_replays(audit_log, desk, gateway) -> None:
    """Fails if a replay is sealed under a key of whoever asked for it."""
    writer = audit_log.open()
    answered(writer, gateway, "r1", 5)
    key_id = writer.records.opened("r1").key_id
    replayed(writer, gateway, "p1", "r1", 5)
    assert (writer.records.opened("p1").key_id, writer.records.opened("p1").summary.caller) == (key_id, "auditor")
    assert writer.records.opened("p1").summary.subject == writer.records.opened("r1").summary.subject
    async with desk.custodian(writer) as custodian:
        await desk.erased(custodian, desk.scope(writer, "C"))
    assert writer.records.record("p1").summary.state == "ERASED"
    assert Replays(writer.records).obstacle("r1") == Judgement(Verdict.NOT_REPLAYABLE, ("ERASED",))
    [refused] = writer.commit([replay(gateway, "p2", "r1", key_id)])
    assert isinstance(refused, AppendRefused) and refused.refusal is Refusal.RECORD_ERASED


async def test_nothing_comes_under_a_key_that_is_about_to_go_or_is_another_tenants(audit_log, desk, gateway) -> None:
    """Fails if `in_use` asks only whether the key is still there: an erasure would wait for a replay, and the next."""
    writer = audit_log.open()
    answered(writer, gateway, "r1", 5)
    key_id = writer.records.opened("r1").key_id
    writer.commit([gateway.accept("busy", subject="C", fields=request())])
    [refused] = writer.commit([replay(gateway, "p1", "r1", key_id, tenant="fund")])
    assert isinstance(refused, AppendRefused) and refused.refusal is Refusal.RECORD_ERASED
    async with desk.custodian(writer, patience_seconds=0.05) as custodian:
        _, done = await desk.ordered(custodian, desk.scope(writer, "C"))
        assert not done
        assert Replays(writer.records).obstacle("r1") == Judgement(Verdict.NOT_REPLAYABLE, ("ERASED",))
        [refused] = writer.commit([replay(gateway, "p2", "r1", key_id)])
        assert isinstance(refused, AppendRefused) and refused.refusal is Refusal.RECORD_ERASED
