"""The append stream: durable answers, refusals that keep the stream, reconnects, lost gateways."""

from __future__ import annotations

import asyncio
import json
import os
import threading

import grpc
import pytest
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.verify import VERIFIES, verify_home, verify_receipt

from services.audit.records.ticket import TicketKey
from services.audit.writer import FaultPoints


async def test_a_request_is_appended_and_its_receipt_verifies_offline(audit) -> None:
    async with audit.appending() as gateway:
        accepted = await gateway.accept("r1", "What is 2 + 2?")
        assert (await gateway.release("r1", 0)).status.code == 0
        ended = await gateway.end("r1", "4")
    key = (audit.home / "keys" / "ticket").read_bytes()
    expected = TicketKey(key, accepted.accepted.log_origin).mac("r1", 1_800_000_060_000, bytes(32))
    assert list(accepted.accepted.tickets) == [expected]
    assert accepted.accepted.expire_time.ToMilliseconds() == 1_800_000_060_000
    vkey = (audit.home / "audit" / "tlog" / "log.vkey").read_text().strip()
    assert verify_receipt("What is 2 + 2?", "4", ended.receipt, vkey)
    assert not verify_receipt("What is 2 + 2?", "5", ended.receipt, vkey)


async def test_a_refusal_by_policy_is_one_entry_with_a_receipt(audit) -> None:
    refuse = pb.Refuse(party=pb.Party(tenant="bank", caller="desk"), rule="violence/1")
    async with audit.appending() as gateway:
        reply = await gateway.send("r1", refuse=refuse)
    assert json.loads(reply.receipt)["request_id"] == "r1"


@pytest.mark.parametrize(
    ("entry", "code", "reason"),
    [
        ({}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ITEM"),
        ({"end": pb.End()}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ITEM"),
        ({"accept": pb.Accept()}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ITEM"),
        ({"release": pb.Release()}, grpc.StatusCode.NOT_FOUND, "RECORD_UNKNOWN"),
        (
            {"refuse": pb.Refuse(fields=[pb.Field(name="findings"), pb.Field(name="findings")])},
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_ITEM",
        ),
    ],
)
async def test_an_item_that_is_refused_leaves_stream_and_sequence_whole(audit, entry, code, reason) -> None:
    async with audit.appending() as gateway:
        reply = await gateway.send("r0", **entry)
        assert (reply.status.code, reply.status.reason) == (code.value[0], reason)
        assert (await gateway.accept("r1")).accepted.tickets
    assert audit.writer.tree.size == 3


async def test_an_idempotency_conflict_names_the_holder(audit) -> None:
    async with audit.appending() as gateway:
        await gateway.accept("r1", idempotency_key="k")
        same = await gateway.accept("r2", idempotency_key="k")
        other = await gateway.accept("r3", "something else", idempotency_key="k")
    for reply in (same, other):
        assert (reply.status.reason, reply.status.other_record_id) == ("IDEMPOTENCY_CONFLICT", "r1")
    assert same.status.same_request and not other.status.same_request


async def test_many_gateways_append_at_once_in_few_groups(audit) -> None:
    async with audit.appending("boot-1") as one, audit.appending("boot-2") as other:
        await asyncio.gather(one.stream.connected.wait(), other.stream.connected.wait())
        groups = audit.sequencer.counters.groups
        replies = await asyncio.gather(
            *(one.accept(f"a{n}") for n in range(100)), *(other.accept(f"b{n}") for n in range(100))
        )
    assert all(reply.accepted.tickets for reply in replies)
    assert audit.sequencer.counters.groups - groups < 100


async def test_invariant_2_a_release_is_answered_only_when_durable(started) -> None:
    """Fails if `_reply` answers before its future is done."""
    closed, entered, passed = threading.Event(), threading.Event(), threading.Event()

    def sync(descriptor: int) -> None:
        if closed.is_set():
            entered.set()
            assert passed.wait(10)
        os.fdatasync(descriptor)

    async with started(FaultPoints(sync=sync)) as audit, audit.appending() as gateway:
        await gateway.accept("r1")
        closed.set()
        release = asyncio.create_task(gateway.release("r1", 0))
        await asyncio.to_thread(entered.wait, 10)
        assert not release.done()
        closed.clear()
        passed.set()
        assert (await release).status.code == 0


async def test_items_sent_again_after_a_restart_are_answered_again_and_written_once(started) -> None:
    async with started() as audit:
        async with audit.appending() as gateway:
            first = await gateway.accept("r1")
            await gateway.release("r1", 0)
        size = audit.writer.tree.size
    async with started() as audit:
        async with audit.appending() as gateway:
            again = await gateway.accept("r1")
            await gateway.release("r1", 0)
            ended = await gateway.end("r1")
        assert again.accepted == first.accepted
        assert ended.receipt
        assert audit.writer.tree.size == size + 3  # the stop, the start and the end
    report = verify_home(audit.home)
    assert (report.exit_code, report.pending, report.entries["RELEASE"]) == (VERIFIES, [], 1)


async def test_invariant_4_records_of_a_lost_gateway_end(audit) -> None:
    """Fails if `Append` does not tell the log that its stream closed."""
    async with audit.appending("boot-1") as gateway:
        await gateway.accept("r1")
        audit.time.advance(60)
    async with audit.calling("reviewer") as stub:
        async with asyncio.timeout(10):
            while (await stub.GetRecord(pb.GetRecordRequest(record_id="r1"))).summary.state == "OPEN":
                audit.time.advance(1)
                await asyncio.sleep(0.02)
        summary = (await stub.GetRecord(pb.GetRecordRequest(record_id="r1"))).summary
    assert (summary.state, summary.reason) == ("FAILED", "GATEWAY_LOST")
    async with audit.appending("boot-1", sequence=1) as gateway:
        assert (await gateway.release("r1", 0)).status.reason == "RECORD_ENDED"


async def test_a_disk_that_fails_answers_nothing_as_durable(started) -> None:
    broken = threading.Event()

    def sync(descriptor: int) -> None:
        if broken.is_set():
            raise OSError(5, "Input/output error")
        os.fdatasync(descriptor)

    async with started(FaultPoints(sync=sync)) as audit, audit.appending() as gateway:
        await gateway.accept("r1")
        broken.set()
        release = asyncio.create_task(gateway.release("r1", 0))
        await audit.sequencer.failed.wait()
        done, _ = await asyncio.wait([release], timeout=0.1)
        assert not done
        release.cancel()
    broken.clear()
    async with started() as audit, audit.appending(sequence=1) as gateway:
        assert (await gateway.release("r1", 0)).status.code == 0


@pytest.mark.parametrize("token", ["guard", "caller", "reviewer", "nobody"])
async def test_only_a_gateway_may_append(audit, token) -> None:
    async with audit.calling(token) as stub:
        call = stub.Append()
        with pytest.raises(grpc.aio.AioRpcError) as refused:  # the write hears of it, or the read does
            await call.write(pb.AppendRequest(boot_id="b"))
            await call.read()
    assert refused.value.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)


async def test_a_stream_without_a_boot_is_refused(audit) -> None:
    async with audit.calling("gateway") as stub:
        call = stub.Append()
        await call.write(pb.AppendRequest())
        with pytest.raises(grpc.aio.AioRpcError, match="boot_id") as refused:
            while await call.read() is not grpc.aio.EOF:
                pass
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
