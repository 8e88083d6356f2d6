"""Searches over the wire: what they find, who may, and what the log keeps of them."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest
from strongroom.audit.v1 import audit_pb2 as pb

from chassis.errors import from_rpc_error
from services.audit.log.leaf import Kind
from services.audit.records import sealer

CARD = "6222020200112233445"


async def filled(audit) -> None:
    """Four records, in the index: r0 and r1 of ann's, r2 of the caller itself, r3 open."""
    async with audit.appending() as gateway:
        party = pb.Party(tenant="bank", caller="desk", subject="ann")
        await gateway.accept("r0", f"my card is {CARD}", party=party)
        await gateway.end("r0", "the rate is 4")
        await gateway.accept("r1", party=party)
        await gateway.end("r1", "贷款利率")
        await gateway.accept("r2", trace_id="ab" * 16)
        await gateway.end("r2", "no")
        await gateway.accept("r3")
        await level(audit)


async def level(audit) -> None:
    async with asyncio.timeout(60):
        while audit.index.leaves < audit.writer.tree.size:
            await asyncio.sleep(0.01)


def last_act(audit) -> tuple[dict[str, object], dict[str, object]]:
    """Header and detail."""
    leaves = map(audit.writer.stored.leaf, range(audit.writer.tree.size - 1, -1, -1))
    act = next(leaf for leaf in leaves if leaf.clear.kind is Kind.ACT)
    return act.header, json.loads(act.parts[sealer.DETAIL])


@pytest.mark.parametrize("token", ["reviewer", "auditor", "examiner"])
async def test_records_are_found_and_the_search_is_recorded(audit, token) -> None:
    await filled(audit)
    async with audit.calling(token) as stub:
        wanted = pb.RecordFilter(text="利率", tenant="bank")
        page = await stub.SearchRecords(pb.SearchRecordsRequest(filter=wanted, reason="case 7"))
    assert [record.record_id for record in page.records] == ["r1"]
    assert (page.count, page.next_page_token, page.indexed_entries) == (1, "", audit.index.leaves)
    header, detail = last_act(audit)
    assert (header["actor"], header["action"]) == (token, "RECORDS_SEARCHED")
    assert detail == {"tenant": "bank", "reason": "case 7", "filter": {"tenant": "bank", "text": "利率"}, "records": 1}


async def test_a_number_that_is_searched_for_as_words_is_not_kept_in_the_log(audit) -> None:
    """Fails if only `identifier` is hashed: whoever looks for a telephone number would leave it in the log for good."""
    await filled(audit)
    async with audit.calling("auditor") as stub:
        wanted = pb.RecordFilter(text="电话 138 0013 8000", tenant="bank")
        await stub.SearchRecords(pb.SearchRecordsRequest(filter=wanted, reason="case 7"))
    _, detail = last_act(audit)
    assert set(detail["filter"]) == {"tenant", "text"} and "138" not in detail["filter"]["text"]


async def test_a_subject_is_found_by_its_name_and_makes_no_key(audit) -> None:
    await filled(audit)
    keys = dict(audit.writer._keytree._by_id)
    async with audit.calling("auditor") as stub:
        found = []
        for subject in ("ann", "desk", "nobody"):
            wanted = pb.RecordFilter(tenant="bank", subject=subject)
            page = await stub.SearchRecords(pb.SearchRecordsRequest(filter=wanted))
            found.append([record.record_id for record in page.records])
    assert found == [["r1", "r0"], ["r3", "r2"], []]
    log_keys = 1  # of the acts that the searches are
    assert len(audit.writer._keytree._by_id) <= len(keys) + log_keys


async def test_an_account_is_found_and_the_log_keeps_its_keyed_hash_alone(audit) -> None:
    await filled(audit)
    async with audit.calling("auditor") as stub:
        wanted = pb.RecordFilter(identifier="6222 0202 0011 2233 445", tenant="bank")
        page = await stub.SearchRecords(pb.SearchRecordsRequest(filter=wanted))
    assert [record.record_id for record in page.records] == ["r0"]
    assert CARD not in str(last_act(audit)) and "6222" not in str(last_act(audit))


async def test_pages_follow_one_another(audit) -> None:
    await filled(audit)
    async with audit.calling("auditor") as stub:
        pages, token = [], ""
        while True:
            page = await stub.SearchRecords(pb.SearchRecordsRequest(page_size=3, page_token=token))
            pages.append(([record.record_id for record in page.records], page.HasField("count")))
            token = page.next_page_token
            if not token:
                break
    assert pages == [(["r3", "r2", "r1"], True), (["r0"], False)]


async def test_who_looked_at_a_record_is_told_to_the_next(audit) -> None:
    await filled(audit)
    async with audit.calling("auditor") as stub, audit.calling("gateway") as gateway:
        await gateway.RecordAct(pb.RecordActRequest(action="POLICY_USED", target="cd" * 32, detail=b"the policy"))
        await stub.GetRecord(pb.GetRecordRequest(record_id="r1", reason="case 7"))
        await level(audit)
        record = await stub.GetRecord(pb.GetRecordRequest(record_id="r1"))
    [act] = record.acts
    assert (act.actor, act.action, act.reason) == ("auditor", "RECORD_VIEWED", "case 7")
    assert record.verdict == "ALLOW" and record.policy_digest == ""


async def test_the_policy_that_judged_then_is_named_with_the_leaf_that_has_its_text(audit) -> None:
    digest, parameters = "cd" * 32, b'{"policy_digest":"' + b"cd" * 32 + b'"}'
    async with audit.appending() as gateway, audit.calling("auditor") as stub:
        await gateway.stub.RecordAct(pb.RecordActRequest(action="POLICY_USED", target=digest, detail=b"the policy"))
        refuse = pb.Refuse(party=pb.Party(tenant="bank", caller="desk"), rule="violence/1", trace_id="0" * 32)
        refuse.fields.add(name="parameters", content=parameters)
        refuse.fields.add(
            name="request_received", content='{"messages":[{"content":"kill 张三","role":"user"}]}'.encode()
        )
        finding = {"type": "NAME", "start": 5, "end": 7, "side": "prompt", "message_index": 0}
        refuse.fields.add(name="findings", content=json.dumps([finding]).encode())
        await gateway.send("r1", refuse=refuse)
        await level(audit)
        record = await stub.GetRecord(pb.GetRecordRequest(record_id="r1"))
    assert (record.verdict, record.policy_digest) == ("REFUSE", digest)
    assert audit.writer.stored.leaf(record.policy_leaf_index).header["target"] == digest
    [request] = [field for field in record.fields if field.name == "request_received"]
    assert json.loads(request.masked) == {"messages": [{"content": "kill [NAME]", "role": "user"}]}
    assert request.sealed and "张三" not in str(record)


async def test_a_list_is_recorded_too(audit) -> None:
    async with audit.calling("examiner") as stub:
        await stub.ListRecords(pb.ListRecordsRequest(reason="quarterly"))
    header, detail = last_act(audit)
    assert (header["action"], detail["reason"]) == ("RECORDS_LISTED", "quarterly")


@pytest.mark.parametrize("token", ["gateway", "guard", "caller", "operator", "administrator"])
async def test_only_readers_search(audit, token) -> None:
    async with audit.calling(token) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.SearchRecords(pb.SearchRecordsRequest())
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"text": "！"}, "text"),
        ({"text": "x" * 257}, "text"),
        ({"states": ["ENDED"]}, "states"),
        ({"verdict": "MAYBE"}, "verdict"),
        ({"subject": "ann"}, "subject"),
        ({"identifier": "12345"}, "identifier"),
        ({"classes": ["x"] * 17}, "classes"),
    ],
)
async def test_a_filter_that_cannot_be_is_named(audit, wanted, field) -> None:
    async with audit.calling("auditor") as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.SearchRecords(pb.SearchRecordsRequest(filter=pb.RecordFilter(**wanted)))
    failure = from_rpc_error(refused.value)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT and failure.field == f"filter.{field}"


async def test_a_damaged_index_says_so_and_is_made_again(audit) -> None:
    await filled(audit)
    store = audit.index.store
    audit.index._writer.settle()
    data = bytearray(store.file.path.read_bytes())
    data[100:] = bytes(len(data) - 100)
    store.file.path.write_bytes(data)
    async with audit.calling("auditor") as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.SearchRecords(pb.SearchRecordsRequest(filter=pb.RecordFilter(tenant="bank")))
        assert from_rpc_error(refused.value).reason == "INDEX_DAMAGED"
        async with asyncio.timeout(60):
            while audit.index.store is store:
                await asyncio.sleep(0.01)
        page = await stub.SearchRecords(pb.SearchRecordsRequest(filter=pb.RecordFilter(tenant="bank")))
    assert len(page.records) == 4


async def test_a_credential_is_none_from_its_time_on(audit) -> None:
    async with audit.calling("expired examiner") as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.SearchRecords(pb.SearchRecordsRequest())
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert from_rpc_error(refused.value).reason == "CREDENTIAL_EXPIRED"
