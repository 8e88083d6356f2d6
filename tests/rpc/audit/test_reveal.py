"""Revealing: texts as they were recorded, to auditors alone, with a reason that the log has first."""

from __future__ import annotations

import hashlib
import json

import grpc
import pytest
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.verify import request_bytes

from chassis.errors import from_rpc_error
from services.audit.log.note import unb64

CARD = "my card is 6222020200112233445"


async def reason(call) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value).reason


async def finished(gateway, record: str) -> None:
    await gateway.accept(record, CARD)
    await gateway.release(record, 0)
    await gateway.end(record, "4")


def content_of(opening: dict, name: str, data: bytes) -> bytes:
    """The content root, folded as docs/audit-format.md says; only where siblings stand on known sides."""
    found = hashlib.sha256(b"\x00" + name.encode() + b"\x00" + unb64(opening["salt"]) + data).digest()
    index, last = opening["index"], opening["count"] - 1
    for sibling in map(unb64, opening["siblings"]):
        while last and index == last and not index & 1:
            index, last = index >> 1, last >> 1
        pair = (sibling, found) if index & 1 else (found, sibling)
        found, index, last = hashlib.sha256(b"\x01" + b"".join(pair)).digest(), index >> 1, last >> 1
    return found


async def test_a_record_is_revealed_with_a_receipt_that_opens_exactly_what_is_shown(audit) -> None:
    """Fails if the act comes after the answer, or a field is opened that was not asked for."""
    async with audit.appending() as gateway, audit.calling("auditor") as person:
        await finished(gateway, "r1")
        shown = await person.RevealRecord(pb.RevealRecordRequest(record_id="r1", reason="case 7"))
        act = audit.writer.stored.leaf(audit.writer.tree.size - 1)
        one = await person.RevealRecord(
            pb.RevealRecordRequest(record_id="r1", reason="case 7", fields=["request_sent"])
        )
    fields = {field.name: field.content for field in shown.fields}
    assert set(fields) == {"request_received", "answer_generated", "answer_released"}
    assert fields["request_received"] == request_bytes(CARD) and b"13800138000" in fields["answer_generated"]
    assert (act.header["actor"], act.header["action"], act.header["target"]) == ("auditor", "RECORD_REVEALED", "r1")
    assert json.loads(act.parts["detail"]) == {"tenant": "bank", "reason": "case 7", "fields": sorted(fields)}
    receipt = json.loads(shown.receipt)
    assert set(receipt["openings"]) == set(fields) and set(json.loads(one.receipt)["openings"]) == {"request_sent"}
    root = unb64(receipt["leaf"])[-32:]
    assert {content_of(receipt["openings"][name], name, data) for name, data in fields.items()} == {root}


async def test_nobody_else_is_shown_a_record_and_nobody_without_a_reason(audit) -> None:
    ask = pb.RevealRecordRequest(record_id="r1", reason="case 7")
    async with audit.appending() as gateway:
        await finished(gateway, "r1")
        for role in ("reviewer", "examiner", "operator", "administrator", "caller"):
            async with audit.calling(role) as person:
                assert await reason(person.RevealRecord(ask)) == "METHOD_NOT_ALLOWED"
        assert await reason(gateway.stub.RevealRecord(ask)) == "METHOD_NOT_ALLOWED"
    size = audit.writer.tree.size
    async with audit.calling("auditor") as person:
        for request, field in (
            (pb.RevealRecordRequest(record_id="r1", reason=" "), "INVALID_ARGUMENT"),
            (pb.RevealRecordRequest(record_id="r1", reason="x", fields=["seed"]), "INVALID_ARGUMENT"),
            (pb.RevealRecordRequest(record_id="nobody", reason="x"), "RECORD_UNKNOWN"),
        ):
            assert await reason(person.RevealRecord(request)) == field
    assert audit.writer.tree.size == size, "nothing was revealed, and nothing says that it was"


async def test_an_open_record_is_revealed_as_far_as_it_is_and_an_erased_one_not_at_all(audit) -> None:
    async with (
        audit.appending() as gateway,
        audit.calling("auditor") as person,
        audit.calling("administrator") as officer,
    ):
        await gateway.accept("r1", CARD)
        open_one = await person.RevealRecord(pb.RevealRecordRequest(record_id="r1", reason="case 7"))
        await gateway.end("r1", "4")
        await officer.Erase(pb.EraseRequest(tenant="bank", subject="desk", reason="asked", basis="GDPR 17"))
        gone = await reason(person.RevealRecord(pb.RevealRecordRequest(record_id="r1", reason="case 7")))
    assert [field.name for field in open_one.fields] == ["request_received"] and gone == "ERASED"
