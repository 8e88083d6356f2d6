"""The reads: masked, for reviewers, and themselves recorded; receipts for their own caller."""

from __future__ import annotations

import json
from itertools import pairwise

import grpc
import pytest
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.consistency import check_consistency
from strongroom.verify import answer_bytes, open_checkpoint, parse_vkey, verify_receipt

from chassis.errors import from_rpc_error
from services.audit.log.leaf import Kind


async def test_a_view_is_masked(audit) -> None:
    async with audit.appending() as gateway, audit.calling("reviewer") as stub:
        await gateway.accept("r1", "my card is 6222020200112233445")
        await gateway.release("r1", 0)
        await gateway.end("r1", "4")
        record = await stub.GetRecord(pb.GetRecordRequest(record_id="r1"))
    shown = {field.name: field for field in record.fields}
    assert "6222020200112233445" not in str(record)
    assert "13800138000" not in str(record)
    for name in ("request_received", "answer_generated"):
        assert (shown[name].sealed, shown[name].masked, shown[name].length > 0) == (True, "", True)
    assert json.loads(shown["request_sent"].masked)[0]["content"] == "masked"
    assert json.loads(shown["answer_released"].masked)[0]["content"] == "4"
    assert json.loads(shown["parameters"].masked) == {"stop": ["[sealed]"], "temperature": "0.7"}
    assert [entry.kind for entry in record.entries] == ["ACCEPTED", "RELEASE", "END"]
    assert [entry.HasField("leaf_index") for entry in record.entries] == [True, False, True]
    assert (record.summary.state, record.summary.input_tokens, record.summary.output_tokens) == ("COMPLETED", 3, 1)
    assert record.summary.subject_pseudonym not in ("", "desk")


async def test_a_view_is_recorded_before_it_is_answered(audit) -> None:
    async with audit.appending() as gateway, audit.calling("reviewer") as stub:
        await gateway.accept("r1")
        await stub.GetRecord(pb.GetRecordRequest(record_id="r1"))
    act = audit.writer.stored.leaf(audit.writer.tree.size - 1)
    assert act.clear.kind is Kind.ACT
    assert (act.header["actor"], act.header["action"], act.header["target"]) == ("reviewer", "RECORD_VIEWED", "r1")


async def test_records_are_listed_newest_first_page_by_page(audit) -> None:
    async with audit.appending() as gateway, audit.calling("reviewer") as stub:
        for n in range(5):
            await gateway.accept(f"r{n}")
            if n != 2:
                await gateway.end(f"r{n}")
        listed, token = [], ""
        while True:
            page = await stub.ListRecords(pb.ListRecordsRequest(page_size=2, page_token=token))
            listed += [(record.record_id, record.state) for record in page.records]
            assert len(page.records) <= 2
            token = page.next_page_token
            if not token:
                break
    assert listed == [(f"r{n}", "OPEN" if n == 2 else "COMPLETED") for n in (4, 3, 2, 1, 0)]


async def test_an_old_record_is_found_in_the_journal(audit) -> None:
    async with audit.appending() as gateway, audit.calling("reviewer") as stub:
        await gateway.accept("r1")
        await gateway.end("r1")
        audit.writer.recorder.recent._spans.clear()  # what a hundred thousand later records would do
        record = await stub.GetRecord(pb.GetRecordRequest(record_id="r1"))
    assert [entry.kind for entry in record.entries] == ["ACCEPTED", "END"]


async def test_receipts_are_for_their_own_caller(audit) -> None:
    async with audit.appending() as gateway, audit.calling("reviewer") as reviewer:
        await gateway.accept("r1", "hi")
        request = pb.GetReceiptRequest(record_id="r1", party=pb.Party(tenant="bank", caller="desk"))
        with pytest.raises(grpc.aio.AioRpcError) as early:
            await gateway.stub.GetReceipt(request)
        await gateway.end("r1", "4")
        receipt = (await gateway.stub.GetReceipt(request)).receipt
        for party in (pb.Party(tenant="bank", caller="other"), pb.Party(tenant="other", caller="desk"), pb.Party()):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await gateway.stub.GetReceipt(pb.GetReceiptRequest(record_id="r1", party=party))
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert (await reviewer.GetReceipt(pb.GetReceiptRequest(record_id="r1"))).receipt
        key = (await reviewer.GetCheckpoint(pb.GetCheckpointRequest())).verifier_key
    assert early.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert verify_receipt("hi", "4", receipt, key)


async def test_a_later_state_of_the_log_is_proved_to_continue_an_earlier_one(audit) -> None:
    async with audit.appending() as gateway, audit.calling("reviewer") as reviewer:
        key = parse_vkey(audit.writer.verifier_key)
        heads = []
        for record in ("r1", "r2", "r3"):
            heads.append(open_checkpoint((await reviewer.GetCheckpoint(pb.GetCheckpointRequest())).checkpoint, key))
            await gateway.accept(record)
        for old, new in pairwise(heads):
            request = pb.GetConsistencyProofRequest(old_size=old.size, size=new.size)
            check_consistency(old, new, (await gateway.stub.GetConsistencyProof(request)).hashes)
        for old_size, size, code in ((2, 1, "INVALID_ARGUMENT"), (0, 2**63, "FAILED_PRECONDITION")):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await reviewer.GetConsistencyProof(pb.GetConsistencyProofRequest(old_size=old_size, size=size))
            assert refused.value.code().name == code


async def test_invariant_5_what_a_caller_was_given_is_read_back_for_that_caller_only(audit) -> None:
    """Fails if `GetOutcome` answers without `_may_ask`."""
    asked = pb.GetOutcomeRequest(record_id="r1", party=pb.Party(tenant="bank", caller="desk"))
    async with audit.appending() as gateway, audit.calling("reviewer") as reviewer:
        await gateway.accept("r1", "hi", idempotency_key="k")
        early = await reason(gateway.stub.GetOutcome(asked))
        await gateway.end("r1", "4")
        found = await gateway.stub.GetOutcome(asked)
        key = (await reviewer.GetCheckpoint(pb.GetCheckpointRequest())).verifier_key
        stranger = pb.GetOutcomeRequest(record_id="r1", party=pb.Party(tenant="bank", caller="other"))
        other, person = await reason(gateway.stub.GetOutcome(stranger)), await reason(reviewer.GetOutcome(asked))
        await gateway.accept("r2", idempotency_key="k2")
        await gateway.end("r2", state=pb.END_STATE_CANCELLED)
        asked.record_id = "r2"
        cancelled = await reason(gateway.stub.GetOutcome(asked))
    assert (early, cancelled, other, person) == ("RECORD_OPEN", "NO_OUTCOME", "RECORD_UNKNOWN", "METHOD_NOT_ALLOWED")
    fields = {each.name: each.content for each in found.fields}
    assert (found.state, found.finish_reason, found.input_tokens) == ("COMPLETED", "STOP", 3)
    assert fields["answer_released"] == answer_bytes("4") and "answer_generated" not in fields
    assert verify_receipt("hi", "4", found.receipt, key)


async def reason(call) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value).reason


async def test_the_checkpoint_opens_with_the_key_beside_it(audit) -> None:
    async with audit.calling("gateway") as stub:
        head = await stub.GetCheckpoint(pb.GetCheckpointRequest())
    checkpoint = open_checkpoint(head.checkpoint, parse_vkey(head.verifier_key))
    assert checkpoint.size == audit.writer.tree.size
    assert checkpoint.origin.startswith("dev.")


@pytest.mark.parametrize("token", ["gateway", "guard", "caller"])
async def test_only_reviewers_read_records(audit, token) -> None:
    async with audit.calling(token) as stub:
        for call in (stub.GetRecord(pb.GetRecordRequest(record_id="r1")), stub.ListRecords(pb.ListRecordsRequest())):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda stub: stub.ListRecords(pb.ListRecordsRequest(page_size=201)), "page_size"),
        (lambda stub: stub.ListRecords(pb.ListRecordsRequest(page_token="next")), "page_token"),
        (lambda stub: stub.GetRecord(pb.GetRecordRequest(record_id="has space")), "record_id"),
        (lambda stub: stub.GetReceipt(pb.GetReceiptRequest()), "record_id"),
    ],
)
async def test_bad_input_is_named(audit, call, field) -> None:
    async with audit.calling("reviewer") as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(stub)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in refused.value.details()


async def test_an_unknown_record_is_not_found(audit) -> None:
    async with audit.calling("reviewer") as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetRecord(pb.GetRecordRequest(record_id="nobody"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_acts_of_services_are_recorded_under_their_own_name(audit) -> None:
    async with audit.calling("guard") as stub:
        for _ in range(2):
            await stub.RecordAct(pb.RecordActRequest(action="POLICY_LOADED", target="ab", detail=b"text", once=True))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.RecordAct(pb.RecordActRequest(action="not upper"))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert audit.writer.tree.size == 2
    act = audit.writer.stored.leaf(1)
    assert (act.header["service"], act.header["action"]) == ("guard", "POLICY_LOADED")


async def test_no_text_reaches_the_log_lines(audit, caplog) -> None:
    async with audit.appending() as gateway, audit.calling("reviewer") as stub:
        await gateway.accept("r1", "my card is 6222020200112233445")
        await gateway.send("r1", end=pb.End(fields=[pb.Field(name="6222020200112233445")]))
        await stub.GetRecord(pb.GetRecordRequest(record_id="r1"))
    assert "6222020200112233445" not in caplog.text
