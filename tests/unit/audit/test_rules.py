"""What is appended, what is refused, and what each answer says."""

from __future__ import annotations

import dataclasses
import hmac
import json

import pytest

from services.audit.log.leaf import Kind, decode_leaf
from services.audit.log.merkle import leaf_hash
from services.audit.log.note import unb64
from services.audit.records import sealer
from services.audit.records.entries import (
    Accepted,
    Act,
    AppendRefused,
    Ended,
    Ending,
    Recorded,
    Refusal,
    Refused,
)
from services.audit.records.planning import RecordLimits
from services.audit.translation import reply_of


def refusal_of(answer) -> Refusal:
    assert isinstance(answer, AppendRefused), answer
    return answer.refusal


def kinds(writer) -> list[str]:
    return [writer.stored.clear(index).kind.name for index in range(writer.tree.size)]


def test_a_request_becomes_accepted_releases_and_one_end(audit_log, gateway) -> None:
    writer = audit_log.open()
    accepted, first, second, ended = writer.commit(
        [gateway.accept("r1"), gateway.release("r1", 0), gateway.release("r1", 1), gateway.end("r1")]
    )
    assert isinstance(accepted, Accepted)
    assert (first, second) == (Recorded(), Recorded())
    assert isinstance(ended, Ended)
    assert json.loads(ended.receipt)["request_id"] == "r1"
    assert kinds(writer) == ["CONTROL", "ACCEPTED", "END"]
    assert accepted.accepted_leaf_hash == leaf_hash(writer.stored.entry(1).leaf)


def test_invariant_1_a_ticket_binds_log_request_expiry_and_job(audit_log, gateway) -> None:
    """Fails if `ticket_mac` leaves the job digest out of its parts."""
    writer = audit_log.open()
    digests = (bytes([1]) * 32, bytes([2]) * 32)
    (accepted,) = writer.commit([gateway.accept("r1", job_digests=digests)])
    assert [ticket.job_digest for ticket in accepted.tickets] == list(digests)
    key = (audit_log.folders.keys / "ticket").read_bytes()
    for ticket in accepted.tickets:
        message = b""
        for part in (
            b"strongroom acceptance ticket v1",
            writer.origin.encode(),
            b"r1",
            (1_800_000_060_000).to_bytes(8, "big"),
            ticket.job_digest,
        ):
            message += len(part).to_bytes(4, "big") + part
        assert ticket.mac == hmac.digest(key, message, "sha256")
        assert ticket.expires_ms == 1_800_000_060_000


def test_invariant_1_a_refused_append_carries_no_ticket(audit_log, gateway) -> None:
    """Fails if `_plan_request` answers a refused accept with its tickets."""
    writer = audit_log.open()
    first = gateway.accept("r1")
    _, again = writer.commit([first, gateway.accept("r1")])
    assert refusal_of(again) is Refusal.RECORD_EXISTS


def test_end_commits_to_the_request_again_with_the_same_salts(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([gateway.accept("r1"), gateway.end("r1")])
    accepted, end = writer.stored.leaf(1), writer.stored.leaf(2)
    assert accepted.parts[sealer.SEED] == end.parts[sealer.SEED]
    assert sorted(end.leaves) == [
        "answer_generated",
        "answer_released",
        "findings",
        "parameters",
        "request_received",
        "request_sent",
    ]


def test_every_leaf_commits_to_its_sealed_bytes_and_holds_no_text(audit_log, gateway) -> None:
    writer = audit_log.open()
    body = "客户 张三 6222020200112233445".encode()
    writer.commit([gateway.accept("r1", subject="张三"), gateway.release("r1", 0, body), gateway.end("r1")])
    journal = b"".join(path.read_bytes() for path in audit_log.segments())
    for text in (body, b"6222020200112233445", "张三".encode(), b"bank", b"desk", b"messages"):
        assert text not in journal
    for index in range(writer.tree.size):
        entry = writer.stored.leaf(index).entry
        assert decode_leaf(entry.leaf).sealed == entry.sealed_hash


def test_findings_of_the_end_replace_those_of_the_request(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([gateway.accept("r1"), gateway.end("r1", fields={"findings": b"[1]"})])
    accepted, end = writer.stored.leaf(1), writer.stored.leaf(2)
    assert end.fields == {"findings": b"[1]"}
    assert end.leaves["request_sent"]
    assert decode_leaf(accepted.entry.leaf).content != decode_leaf(end.entry.leaf).content


@pytest.mark.parametrize("end", list(Ending))
def test_every_way_to_end_has_a_receipt(audit_log, gateway, end) -> None:
    writer = audit_log.open()
    *_, ended = writer.commit(
        [gateway.accept("r1"), gateway.release("r1", 0), gateway.end("r1", end, fields={"answer_released": b"[]"})]
    )
    assert sorted(json.loads(ended.receipt)["openings"]) == ["answer_released", "request_received"]


def test_refused_and_rejected_are_records_of_one_entry(audit_log, gateway) -> None:
    writer = audit_log.open()
    refused, rejected = writer.commit([gateway.refuse("r1"), gateway.reject("r2")])
    assert isinstance(refused, Refused)
    assert rejected == Recorded()
    assert kinds(writer) == ["CONTROL", "REFUSED", "REJECTED"]
    assert decode_leaf(unb64(json.loads(refused.receipt)["leaf"])).kind is Kind.REFUSED
    assert decode_leaf(writer.stored.entry(2).leaf).content == bytes(32)


@pytest.mark.parametrize(
    ("make", "refusal"),
    [
        (lambda g: g.release("nobody", 0), Refusal.RECORD_UNKNOWN),
        (lambda g: g.end("nobody"), Refusal.RECORD_UNKNOWN),
        (lambda g: g.release("ended", 0), Refusal.RECORD_ENDED),
        (lambda g: g.end("ended"), Refusal.RECORD_ENDED),
        (lambda g: g.accept("ended"), Refusal.RECORD_EXISTS),
        (lambda g: g.release("open", 1), Refusal.RELEASE_OUT_OF_ORDER),
        (lambda g: g.end("open", releases=1), Refusal.RELEASE_OUT_OF_ORDER),
        (lambda g: g.accept("new", deadline_ms=0), Refusal.INVALID_ITEM),
        (lambda g: g.accept("new", tenant=""), Refusal.INVALID_ITEM),
        (lambda g: g.accept("new", job_digests=(b"short",)), Refusal.INVALID_ITEM),
        (lambda g: g.accept("new", fields={"answer_released": b""}), Refusal.INVALID_ITEM),
        (lambda g: g.accept("has space"), Refusal.INVALID_ITEM),
        (lambda g: g.accept("x" * 65), Refusal.INVALID_ITEM),
        (lambda g: g.end("open", usage={"input_tokens": 2**60}), Refusal.INVALID_ITEM),
        (lambda g: g.accept("new", tenant="\ud800"), Refusal.INVALID_ITEM),
        (lambda g: g.release("open", 0, bytes(2000)), Refusal.ITEM_TOO_LARGE),
    ],
)
def test_a_refused_append_is_accounted_for_and_leaves_no_gap(audit_log, gateway, make, refusal) -> None:
    writer = audit_log.open(records=RecordLimits(item_bytes=1500))
    writer.commit([gateway.accept("ended"), gateway.end("ended"), gateway.accept("open")])
    item = make(gateway)
    answer, after = writer.commit([item, gateway.release("open", 0)])
    assert refusal_of(answer) is refusal
    assert after == Recorded()
    clear = writer.stored.clear(writer.tree.size - 1)
    assert (clear.kind, clear.boot, clear.sequence) == (Kind.CONTROL, item.boot, item.sequence)
    (again,) = writer.commit([item])
    assert refusal_of(again) is refusal


def test_only_the_boot_that_opened_a_record_may_continue_it(audit_log, gateway, new_gateway) -> None:
    writer = audit_log.open()
    other = new_gateway("boot-2")
    writer.commit([gateway.accept("r1")])
    assert refusal_of(writer.commit([other.release("r1", 0)])[0]) is Refusal.NOT_THIS_BOOT
    assert refusal_of(writer.commit([other.end("r1")])[0]) is Refusal.NOT_THIS_BOOT
    assert writer.commit([gateway.release("r1", 0)]) == [Recorded()]


def test_a_gap_in_the_sequence_is_refused_and_not_written(audit_log, gateway) -> None:
    writer = audit_log.open()
    skipped = gateway.accept("r1")
    size = writer.tree.size
    (answer,) = writer.commit([gateway.accept("r2")])
    assert refusal_of(answer) is Refusal.SEQUENCE_GAP
    assert answer.expected == skipped.sequence
    assert writer.tree.size == size


def test_an_item_sent_again_is_answered_again_and_written_once(audit_log, gateway) -> None:
    writer = audit_log.open()
    items = [
        gateway.accept("r1"),
        gateway.release("r1", 0),
        gateway.end("r1"),
        gateway.refuse("r2"),
        gateway.reject("r3"),
    ]
    first = writer.commit([*items, *items])
    assert first[:5] == first[5:]
    size = writer.tree.size
    assert writer.commit(items) == first[:5]
    writer = audit_log.open()
    again = writer.commit(items)
    assert again[:2] == first[:2]
    for before, after in zip(first[2:4], again[2:4], strict=True):
        old, new = json.loads(before.receipt), json.loads(after.receipt)
        assert (old["leaf"], old["openings"]) == (new["leaf"], new["openings"])
    assert writer.tree.size == size + 1  # the start alone


def test_an_item_sent_again_with_other_content_is_refused(audit_log, gateway) -> None:
    writer = audit_log.open()
    item = gateway.accept("r1")
    writer.commit([item])
    for changed in (dataclasses.replace(item, model="other"), dataclasses.replace(item, record_id="r2")):
        assert refusal_of(writer.commit([changed])[0]) is Refusal.DUPLICATE_DIFFERS


def test_invariant_5_one_holder_of_an_idempotency_key(audit_log, gateway) -> None:
    """Fails if `_claimed` does not ask for the holder."""
    writer = audit_log.open()
    other = {"request_received": b"{}"}
    _, same, different = writer.commit(
        [
            gateway.accept("r1", idempotency_key="k"),
            gateway.accept("r2", idempotency_key="k"),
            gateway.accept("r3", idempotency_key="k", fields=other),
        ]
    )
    for answer, same_request in ((same, True), (different, False)):
        assert refusal_of(answer) is Refusal.IDEMPOTENCY_CONFLICT
        assert (answer.holder.record_id, answer.holder.same_request) == ("r1", same_request)
    assert kinds(writer)[-2:] == ["REJECTED", "REJECTED"]
    assert b"idempotency" not in b"".join(path.read_bytes() for path in audit_log.segments())


@pytest.mark.parametrize(
    ("end", "releases", "bound"),
    [
        (Ending.COMPLETED, 0, True),
        (Ending.WITHHELD, 0, True),
        (Ending.FAILED, 0, False),
        (Ending.CANCELLED, 0, False),
        (Ending.EXPIRED, 1, True),
    ],
)
@pytest.mark.parametrize("restart", [False, True])
def test_invariant_5_what_binds_an_idempotency_key(audit_log, gateway, end, releases, bound, restart) -> None:
    """Fails if `BINDING_ENDS` loses a member, or if recovery forgets the keys."""
    writer = audit_log.open()
    items = [gateway.accept("r1", idempotency_key="k")]
    items += [gateway.release("r1", n) for n in range(releases)]
    writer.commit([*items, gateway.end("r1", end, fields={})])
    writer = audit_log.open() if restart else writer
    (answer,) = writer.commit([gateway.accept("r2", idempotency_key="k")])
    assert isinstance(answer, AppendRefused) == bound


def test_idempotency_keys_are_per_caller_and_last_a_day(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([gateway.refuse("r1", idempotency_key="k")])
    (other,) = writer.commit([gateway.accept("r2", idempotency_key="k", caller="another desk")])
    assert isinstance(other, Accepted)
    audit_log.time.advance(24 * 3600 - 1)
    assert refusal_of(writer.commit([gateway.refuse("r3", idempotency_key="k")])[0]) is Refusal.IDEMPOTENCY_CONFLICT
    audit_log.time.advance(1)
    assert isinstance(writer.commit([gateway.refuse("r4", idempotency_key="k")])[0], Refused)


def test_a_tenant_has_a_bounded_number_of_idempotency_keys(audit_log, gateway) -> None:
    writer = audit_log.open(records=RecordLimits(idempotency_keys_per_tenant=2))
    answers = writer.commit([gateway.accept(f"r{n}", idempotency_key=f"k{n}") for n in range(3)])
    assert refusal_of(answers[2]) is Refusal.IDEMPOTENCY_KEYS_FULL
    audit_log.time.advance(3600)
    (full,) = writer.commit([gateway.accept("r8", idempotency_key="k8")])
    assert full.retry_after_seconds == 23 * 3600  # until the oldest is forgotten
    assert isinstance(writer.commit([gateway.accept("r9")])[0], Accepted)


def test_the_number_of_open_records_is_bounded(audit_log, gateway) -> None:
    writer = audit_log.open(records=RecordLimits(open_records=1))
    _, full = writer.commit([gateway.accept("r1"), gateway.accept("r2")])
    assert refusal_of(full) is Refusal.OPEN_RECORDS_FULL
    writer.commit([gateway.end("r1")])
    assert isinstance(writer.commit([gateway.accept("r3")])[0], Accepted)


def test_invariant_6_too_many_open_records_tells_when_there_will_be_room_from_how_fast_they_end(
    audit_log, gateway
) -> None:
    """Fails if `Recorder._accept` tells nothing."""
    writer = audit_log.open(records=RecordLimits(open_records=1))
    writer.commit([gateway.accept("r0")])
    for n in range(10):
        audit_log.time.advance(2)
        writer.commit([gateway.end(f"r{n}"), gateway.accept(f"r{n + 1}")])
    (full,) = writer.commit([gateway.accept("r99")])
    assert full.retry_after_seconds == pytest.approx(2 * 2, abs=0.5)
    status = reply_of(1, full).status
    assert status.retry_after.ToMilliseconds() == int(full.retry_after_seconds * 1000)


def test_an_act_may_be_recorded_once(audit_log) -> None:
    writer = audit_log.open()
    act = Act(service="gateway", actor="gateway", action="POLICY_USED", target="d1", detail=b"text", once=True)
    writer.commit([act, act, dataclasses.replace(act, target="d2")])
    assert kinds(writer) == ["CONTROL", "ACT", "ACT"]
    assert writer.stored.leaf(1).parts[sealer.DETAIL] == b"text"
    writer = audit_log.open()
    writer.commit([act, dataclasses.replace(act, once=False)])
    assert kinds(writer)[3:] == ["CONTROL", "ACT"]


def test_subjects_are_pseudonyms_that_tenants_cannot_join(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit(
        [
            gateway.accept("r1", subject="client-7"),
            gateway.accept("r2", subject="client-7", tenant="other"),
            gateway.accept("r3"),
            gateway.accept("r4", subject="desk"),
        ]
    )
    subjects = [writer.stored.leaf(index).header["subject"] for index in range(1, 5)]
    assert len(set(subjects[:3])) == 3
    assert subjects[2] == subjects[3]
    assert "client-7" not in subjects
