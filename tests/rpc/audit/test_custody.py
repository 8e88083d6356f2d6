"""Custody over the wire: erasure, holds and the provider's keys, by administrators, and what callers see of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import zipfile
from pathlib import Path

import grpc
import pytest
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.backup.take import take_backup
from strongroom.export.certificate import certificate
from strongroom.verify import VERIFIES, verify_export, verify_home, verify_receipt

from chassis.errors import from_rpc_error
from services.audit.custody.orders import Erased
from services.audit.records.planning import Clock
from services.audit.sealing.provider import KeyUnusable
from services.audit.writer import Folders, Writer

OF_C = {"party": pb.Party(subject="C")}


async def reason(call) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value).reason


async def finished(gateway, record: str, **changes) -> str:
    await gateway.accept(record, "hi", **changes)
    await gateway.release(record, 0)
    return (await gateway.end(record, "4")).receipt


async def test_show_5_an_erased_subject_is_unreadable_wherever_records_are_read(started) -> None:
    """And whoever keeps copies was told before the answer came; old receipts still verify."""
    dropped: list[Erased] = []
    async with (
        started(drop=dropped.append) as audit,
        audit.appending() as gateway,
        audit.calling("reviewer") as reviewer,
        audit.calling("administrator") as officer,
    ):
        receipt = await finished(gateway, "r1", **OF_C)
        await finished(gateway, "r2")
        answer = await officer.Erase(pb.EraseRequest(tenant="bank", subject="C", reason="asked for", basis="GDPR 17"))
        listed = (await reviewer.ListRecords(pb.ListRecordsRequest())).records
        shown = await reviewer.GetRecord(pb.GetRecordRequest(record_id="r1"))
        no_receipt = await reason(reviewer.GetReceipt(pb.GetReceiptRequest(record_id="r1")))
        party = pb.Party(tenant="bank", caller="desk")
        no_outcome = await reason(gateway.stub.GetOutcome(pb.GetOutcomeRequest(record_id="r1", party=party)))
        key = (await reviewer.GetCheckpoint(pb.GetCheckpointRequest())).verifier_key
    assert (answer.done, answer.keys, dropped[0].subject) == (True, 1, answer.subject_pseudonym)
    assert [(each.record_id, each.state) for each in listed] == [("r2", "COMPLETED"), ("r1", "ERASED")]
    assert not listed[1].HasField("create_time") and listed[1].tenant == ""
    assert not shown.fields and [entry.kind for entry in shown.entries] == ["ACCEPTED", "RELEASE", "END"]
    assert (no_receipt, no_outcome) == ("NO_RECEIPT", "RECORD_UNKNOWN")
    assert verify_receipt("hi", "4", receipt, key)
    report = verify_home(audit.home, key)
    assert (report.exit_code, report.entries["END"]) == (VERIFIES, 2)


async def test_a_destruction_certificate_is_a_file_that_a_stranger_checks(audit, tmp_path) -> None:
    async with audit.appending() as gateway, audit.calling("administrator") as officer:
        await finished(gateway, "r1", **OF_C)
        unknown = await reason(officer.ExportCertificate(pb.ExportCertificateRequest(erasure_id="0123")))
        answer = await officer.Erase(pb.EraseRequest(tenant="bank", subject="C", reason="asked for", basis="GDPR 17"))
        async with asyncio.timeout(60):
            while audit.index.leaves < audit.writer.tree.size:
                await asyncio.sleep(0.01)
        given = await officer.ExportCertificate(pb.ExportCertificateRequest(erasure_id=answer.erasure_id))
    assert unknown == "ERASURE_UNKNOWN"
    target = tmp_path / "certificate.zip"
    stated = certificate(given.act, given.checkpoint, given.verifier_key, target)
    assert (stated["action"], stated["keys"], stated["basis"]) == ("SUBJECT_ERASED", 1, "GDPR 17")
    report = verify_export(target, audit.writer.verifier_key)
    assert (report.exit_code, dict(report.entries)) == (VERIFIES, {"ACT": 1})
    with zipfile.ZipFile(target) as archive:
        archive.extractall(tmp_path / "out")
    told = (tmp_path / "out" / "certificate.txt").read_text()
    assert answer.subject_pseudonym in told and "GDPR 17" in told and answer.provider_key_id in told
    trail = tmp_path / "out" / "trail.jsonl"
    trail.write_text(trail.read_text().replace("GDPR 17", "GDPR 99"))
    assert any("header is not the one" in problem.what for problem in verify_export(tmp_path / "out").problems)
    assert {path.name for path in tmp_path.iterdir()} == {"certificate.zip", "out", audit.home.name}


async def test_a_hold_is_placed_listed_and_lifted(audit) -> None:
    async with audit.appending() as gateway, audit.calling("administrator") as officer:
        await finished(gateway, "r1", **OF_C)
        placed = await officer.PlaceHold(pb.PlaceHoldRequest(tenant="bank", subject="C", reason="case 7"))
        erase = pb.EraseRequest(tenant="bank", subject="C", reason="asked for", basis="GDPR 17")
        held = await reason(officer.Erase(erase))
        [hold] = (await officer.GetCustody(pb.GetCustodyRequest())).holds
        lift = pb.LiftHoldRequest(hold_id=placed.hold_id, reason="settled")
        await officer.LiftHold(lift)
        again = await reason(officer.LiftHold(lift))
        assert (await officer.Erase(erase)).done
        gone = await reason(officer.Erase(erase))
    assert (held, again, gone) == ("HELD", "NOT_FOUND", "NOT_FOUND")
    assert (hold.hold_id, hold.tenant, hold.person, hold.reason) == (placed.hold_id, "bank", "admin", "case 7")
    assert hold.subject_pseudonym and hold.create_time.seconds == 1_800_000_000


async def test_after_a_rotation_backups_from_before_open_until_the_retired_key_is_destroyed(audit, tmp_path) -> None:
    async with audit.appending() as gateway, audit.calling("administrator") as officer:
        await finished(gateway, "r1", **OF_C)
        await backed_up(audit, tmp_path / "before")
        await officer.Erase(pb.EraseRequest(tenant="bank", subject="C", reason="asked for", basis="GDPR 17"))
        rotated = await officer.RotateProviderKey(pb.RotateProviderKeyRequest(reason="after an erasure"))
        await finished(gateway, "r2")
        await backed_up(audit, tmp_path / "after")
        opened(tmp_path / "before", audit).close()
        state = await officer.GetCustody(pb.GetCustodyRequest())
        destroyed = await officer.DestroyProviderKeys(pb.DestroyProviderKeysRequest(reason="backups"))
        none = await reason(officer.DestroyProviderKeys(pb.DestroyProviderKeysRequest(reason="again")))
    assert rotated.done and (state.provider, state.provider_key_id) == ("file", rotated.key_id)
    assert [rotated.retired_key_id] == list(state.retired_key_ids) == list(destroyed.key_ids)
    assert none == "NOT_FOUND"
    with pytest.raises(KeyUnusable, match=rotated.retired_key_id):
        opened(tmp_path / "before", audit)
    writer = opened(tmp_path / "after", audit)
    assert writer.records.record("r2").fields and writer.records.record("r1").summary.state == "ERASED"
    writer.close()
    assert verify_home(tmp_path / "before").exit_code == verify_home(tmp_path / "after").exit_code == VERIFIES


async def backed_up(audit, target: Path) -> None:
    async with audit.calling("reviewer") as reviewer:
        take_backup([message async for message in reviewer.BackUp(pb.BackUpRequest())], target)


def opened(home: Path, audit) -> Writer:
    """A restored log, with the keys that are left."""
    shutil.rmtree(home / "keys", ignore_errors=True)
    shutil.copytree(audit.home / "keys", home / "keys")
    clock = Clock(lambda: audit.time.wall, lambda: audit.time.monotonic)
    return Writer(Folders(home / "audit", home / "keys"), clock)


async def test_keys_are_not_changed_under_a_backup(audit) -> None:
    """Fails if a copy could hold one file from before a rotation and one from after it."""
    async with (
        audit.appending() as gateway,
        audit.calling("reviewer") as reviewer,
        audit.calling("administrator") as officer,
    ):
        await gateway.accept("large", **OF_C)
        for n in range(24):
            await gateway.release("large", n, os.urandom(1024 * 1024))
        await gateway.end("large")
        backup = reviewer.BackUp(pb.BackUpRequest())
        await backup.read()
        refused = await reason(officer.RotateProviderKey(pb.RotateProviderKeyRequest(reason="yearly")))
        erase = pb.EraseRequest(tenant="bank", subject="C", reason="asked for", basis="GDPR 17")
        erasure = officer.Erase(erase)
        while not (await officer.GetCustody(pb.GetCustodyRequest())).orders:
            await asyncio.sleep(0.01)
        assert (await reviewer.GetRecord(pb.GetRecordRequest(record_id="large"))).fields
        backup.cancel()
        assert (await asyncio.wait_for(erasure, 60)).done
    assert refused == "KEYS_IN_USE"


@pytest.mark.parametrize("token", ["gateway", "caller", "operator", "reviewer"])
async def test_only_administrators_have_custody(audit, token) -> None:
    async with audit.calling(token) as stub:
        for call in (
            stub.Erase(pb.EraseRequest()),
            stub.PlaceHold(pb.PlaceHoldRequest()),
            stub.LiftHold(pb.LiftHoldRequest()),
            stub.RotateProviderKey(pb.RotateProviderKeyRequest()),
            stub.DestroyProviderKeys(pb.DestroyProviderKeysRequest()),
            stub.GetCustody(pb.GetCustodyRequest()),
        ):
            assert await reason(call) == "METHOD_NOT_ALLOWED"


async def test_administrators_read_no_record(audit) -> None:
    async with audit.appending() as gateway, audit.calling("administrator") as officer:
        await finished(gateway, "r1")
        assert await reason(officer.GetRecord(pb.GetRecordRequest(record_id="r1"))) == "METHOD_NOT_ALLOWED"
        assert await reason(officer.ListRecords(pb.ListRecordsRequest())) == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tenant": ""}, "tenant"),
        ({"tenant": "x" * 5_000}, "tenant"),
        ({"subject": ""}, "subject"),
        ({"whole_tenant": True}, "subject"),
        ({"reason": " "}, "reason"),
        ({"reason": "x" * 600}, "reason"),
        ({"basis": "x" * 600}, "basis"),
    ],
)
async def test_what_cannot_be_asked_is_named(audit, changes, field) -> None:
    request = pb.EraseRequest(
        **{"tenant": "bank", "subject": "C", "reason": "asked for", "basis": "GDPR 17", **changes}
    )
    async with audit.calling("administrator") as officer:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await officer.Erase(request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert from_rpc_error(refused.value).field == field


async def test_before_its_time_nothing_is_erased_without_a_basis(audit) -> None:
    async with audit.appending() as gateway, audit.calling("administrator") as officer:
        await finished(gateway, "r1", **OF_C)
        erase = pb.EraseRequest(tenant="bank", subject="C", reason="asked for")
        assert await reason(officer.Erase(erase)) == "RETENTION"
        audit.time.advance(181 * 24 * 3600)
        assert (await officer.Erase(erase)).done


async def test_show_5_an_erased_subject_is_found_by_no_search_and_leaves_with_no_later_export(audit) -> None:
    """The index follows the certificate. Fails if an export takes a row for the record that it was."""
    async with (
        audit.appending() as gateway,
        audit.calling("auditor") as auditor,
        audit.calling("administrator") as officer,
        asyncio.timeout(120),
    ):
        for record, changes in (("r1", OF_C), ("r2", {})):
            await finished(gateway, record, **changes)
        while await found(auditor) != ["r1", "r2"]:
            await asyncio.sleep(0.02)
        before = await exported(auditor)
        await officer.Erase(pb.EraseRequest(tenant="bank", subject="C", reason="asked for", basis="GDPR 17"))
        at_once = await exported(auditor)
        while await found(auditor) != ["r2"]:
            await asyncio.sleep(0.02)
        after = await exported(auditor)
    assert b'"r1"' in before
    for export in (at_once, after):
        assert b'"r1"' not in export and b'"r2"' in export


async def found(auditor) -> list[str]:
    page = await auditor.SearchRecords(pb.SearchRecordsRequest(filter=pb.RecordFilter(tenant="bank")))
    return sorted(record.record_id for record in page.records)


async def exported(auditor) -> bytes:
    call = auditor.ExportRecords(pb.ExportRecordsRequest(filter=pb.RecordFilter(tenant="bank"), reason="case 7"))
    return b"".join([piece.content async for message in call for piece in message.pieces])
