"""The index is rebuilt and checked over the wire, by whoever looks after the machine: it shows no text."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from strongroom.audit.v1 import audit_pb2 as pb

from chassis.errors import from_rpc_error
from services.audit.log.leaf import Kind


async def some_records(audit) -> None:
    async with audit.appending() as gateway:
        for n in range(3):
            await gateway.accept(f"r{n}")
            await gateway.end(f"r{n}")
    await level(audit)


async def level(audit) -> None:
    async with asyncio.timeout(60):
        while audit.index.leaves < audit.writer.tree.size:
            await asyncio.sleep(0.01)


async def test_a_rebuild_says_how_far_it_is_and_who_asked_for_it(audit) -> None:
    await some_records(audit)
    before = audit.index.store.file.path
    async with audit.calling("administrator") as stub:
        said = [message async for message in stub.RebuildIndex(pb.RebuildIndexRequest())]
    assert [message.finished for message in said] == [False] * (len(said) - 1) + [True]
    assert said[-1].done == said[-1].total >= 7 and audit.index.store.file.path != before
    act = next(act for act in acts(audit) if act["action"] == "INDEX_REBUILD_STARTED")
    assert act["actor"] == "admin"


async def test_a_check_tells_what_is_wrong_and_where(audit) -> None:
    await some_records(audit)
    async with audit.calling("administrator") as stub:
        *_, good = [message async for message in stub.CheckIndex(pb.CheckIndexRequest())]
        audit.index._writer._database.execute("UPDATE records SET caller = 'other' WHERE record_id = 'r1'")
        *_, bad = [message async for message in stub.CheckIndex(pb.CheckIndexRequest())]
    assert (good.finished, good.records, list(good.problems)) == (True, 3, [])
    assert len(bad.problems) == 1 and "the record is another" in bad.problems[0]


@pytest.mark.parametrize("token", ["gateway", "guard", "caller"])
async def test_nobody_else_looks_after_the_index(audit, token) -> None:
    async with audit.calling(token) as stub:
        for call in (stub.RebuildIndex(pb.RebuildIndexRequest()), stub.CheckIndex(pb.CheckIndexRequest())):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call.read()
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_who_looks_after_the_machine_reads_no_record(audit) -> None:
    async with audit.calling("administrator") as stub:
        for call in (stub.GetRecord(pb.GetRecordRequest(record_id="r1")), stub.ListRecords(pb.ListRecordsRequest())):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert from_rpc_error(refused.value).reason == "METHOD_NOT_ALLOWED"


def acts(audit) -> list[dict[str, object]]:
    leaves = map(audit.writer.stored.leaf, range(audit.writer.tree.size))
    return [leaf.header for leaf in leaves if leaf.clear.kind is Kind.ACT]
