"""Custody on a real log: what is erased stays erased, is certified once, and keys are rotated under it."""

from __future__ import annotations

import json
import shutil

import pytest
from strongroom.verify import VERIFIES, verify_home, verify_receipt

from services.audit.custody.orders import Erased, NothingHeld, Rotate, Scope
from services.audit.records.entries import Accepted, AppendRefused, Refusal
from services.audit.records.planning import Decision
from services.audit.sealing.keytree import KeyErased
from services.audit.sealing.provider import KeyUnusable
from services.audit.writer import FaultPoints


async def test_what_is_erased_is_unreadable_and_every_proof_of_it_verifies(audit_log, desk, gateway) -> None:
    """Also after a restart, which rebuilds all from the journal. Fails if `erase` leaves the row in the table."""
    writer = audit_log.open()
    receipt = desk.answered(writer, gateway, "r1", "C")
    kept = desk.answered(writer, gateway, "r2", "D")
    gateway.tenant, other = "fund", "C"
    desk.answered(writer, gateway, "r3", other)
    async with desk.custodian(writer) as custodian:
        order = await desk.erased(custodian, desk.scope(writer, "C"))
    writer.stop()
    audit_log.crash()
    for _ in range(2):
        writer = audit_log.open()
        assert [each.state for each in writer.records.summaries(None, 10)[0]] == ["COMPLETED", "COMPLETED", "ERASED"]
        view = writer.records.record("r1")
        assert [entry.kind for entry in view.entries] == ["ACCEPTED", "RELEASE", "END"] and view.fields == ()
        assert writer.records.receipt("r1")[1] is None and writer.records.outcome("r1")[1] is None
        with pytest.raises(KeyErased):
            writer.stored.leaf(1)
        assert writer.records.record("r2").fields and writer.records.record("r3").fields
        for each in (receipt, kept):
            assert verify_receipt("the marker", "the reply", each, writer.verifier_key)
        [(action, header)] = [(a, h) for a, h in desk.acts(writer) if a.endswith("ERASED")]
        assert (action, header["target"], header["key_ids"]) == ("SUBJECT_ERASED", order.id, list(order.key_ids))
        assert header["tenant_key"] == {"destroyed": 1, "in_use": 2}
        writer.stop()
        assert verify_home(audit_log.home).exit_code == VERIFIES


async def test_a_whole_tenant_is_erased_and_may_come_back_as_another(audit_log, desk, gateway) -> None:
    writer = audit_log.open()
    for record, subject in (("r1", "C"), ("r2", "D")):
        desk.answered(writer, gateway, record, subject)
    async with desk.custodian(writer) as custodian:
        await desk.erased(custodian, Scope("bank"))
        with pytest.raises(NothingHeld):
            await desk.erased(custodian, Scope("bank"))
    desk.answered(writer, gateway, "r3", "C")
    audit_log.crash()
    writer = audit_log.open()
    assert [each.state for each in writer.records.summaries(None, 10)[0]] == ["COMPLETED", "ERASED", "ERASED"]
    assert desk.acts(writer)[-1][0] == "TENANT_ERASED"


async def test_a_request_that_is_open_is_waited_for_and_what_comes_meanwhile_is_kept(audit_log, desk, gateway) -> None:
    """Fails if `order_erasure` does not detach the keys: the second record would be erased too, and a subject that is
    always busy never."""
    writer = audit_log.open()
    writer.commit([gateway.accept("r1", subject="C")])
    async with desk.custodian(writer, patience_seconds=0.05) as custodian:
        order, done = await desk.ordered(custodian, desk.scope(writer, "C"))
        assert (done, custodian.open_records(order)) == (False, 1)
        writer.commit([gateway.accept("r2", subject="C")])
    audit_log.crash()
    writer = audit_log.open()  # the order stands
    writer.commit([gateway.end("r1")])
    async with desk.custodian(writer) as custodian:
        await until_carried_out(custodian, order)
    assert writer.records.record("r1").summary.state == "ERASED"
    assert writer.records.record("r2").summary.state == "OPEN"


async def until_carried_out(custodian, order) -> None:
    assert await custodian._carried_out_soon(order)


@pytest.mark.parametrize("step", ["appending", "synced"])
async def test_a_crash_around_the_certificate_leaves_it_written_once(audit_log, desk, gateway, step) -> None:
    """The keys are gone before it is written. Fails if `strike` is written down before the act is durable."""

    class Crash(Exception):
        """The process dies here."""

    def die() -> None:
        """Not before: the counts are written down while the keys are still there."""
        if armed and not writer.custody.remaining(order):
            raise Crash

    armed, dropped = False, []
    writer = audit_log.open(FaultPoints(**{step: die}))
    desk.answered(writer, gateway, "r1", "C")
    writer.commit([gateway.accept("r0", subject="C")])
    async with desk.custodian(writer, dropped.append, patience_seconds=0.01) as custodian:
        order, _ = await desk.ordered(custodian, desk.scope(writer, "C"))
        writer.commit([gateway.end("r0")])
        armed = True
        assert not await custodian._carried_out_soon(order)
        while writer.custody.remaining(order):
            await custodian._carried_out_soon(order)
    armed = False
    audit_log.crash()
    writer = audit_log.open()
    assert writer.records.record("r1").summary.state == "ERASED"
    async with desk.custodian(writer, dropped.append) as custodian:
        await until_carried_out(custodian, order)
    assert [action for action, _ in desk.acts(writer)] == ["ERASURE_ORDERED", "SUBJECT_ERASED"]
    assert dropped == [Erased("bank", order.scope.subject, order.key_ids)]
    assert verify_home_of(audit_log, writer) == VERIFIES


def verify_home_of(audit_log, writer) -> int:
    writer.stop()
    return verify_home(audit_log.home).exit_code


async def test_whoever_keeps_copies_is_told_until_they_are_dropped(audit_log, desk, gateway) -> None:
    writer = audit_log.open()
    desk.answered(writer, gateway, "r1", "C")
    calls: list[Erased] = []

    class Full(Exception):
        """A disk that is full, say."""

    def drop(erased: Erased) -> None:
        calls.append(erased)
        if len(calls) == 1:
            raise Full

    async with desk.custodian(writer, drop, patience_seconds=0.05) as custodian:
        order, done = await desk.ordered(custodian, desk.scope(writer, "C"))
        assert not done
        custodian._patience = 20
        custodian._work.set()
        await until_carried_out(custodian, order)
    assert len(calls) == 2 and calls[0] == calls[1]


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_idempotency_key_is_free_once_its_outcome_is_erased(audit_log, desk, gateway, restarted) -> None:
    """As it cannot be read back: the same before and after a restart."""
    writer = audit_log.open()
    desk.answered(writer, gateway, "r1", "C", idempotency_key="k")
    [conflict] = writer.commit([gateway.accept("r2", subject="C", idempotency_key="k")])
    assert isinstance(conflict, AppendRefused) and conflict.refusal is Refusal.IDEMPOTENCY_CONFLICT
    async with desk.custodian(writer) as custodian:
        await desk.erased(custodian, desk.scope(writer, "C"))
    if restarted:
        audit_log.crash()
        writer = audit_log.open()
    [answer] = writer.commit([gateway.accept("r3", subject="C", idempotency_key="k")])
    assert isinstance(answer, Accepted)


async def test_an_item_sent_again_after_its_record_was_erased_is_told_so(audit_log, desk, gateway) -> None:
    writer = audit_log.open()
    items = [gateway.accept("r1", subject="C"), gateway.end("r1")]
    writer.commit(items)
    async with desk.custodian(writer) as custodian:
        await desk.erased(custodian, desk.scope(writer, "C"))
    for answer in writer.commit(items):
        assert isinstance(answer, AppendRefused) and answer.refusal is Refusal.RECORD_ERASED


async def test_no_digest_of_what_was_refused_outlives_its_subject(audit_log, desk, gateway) -> None:
    """Fails if a refused append, sealed under the log's own key, has one: a short text is found again from it."""
    writer = audit_log.open()
    writer.commit([gateway.accept("r1", subject="C")])
    writer.commit([gateway.accept("r1", subject="C")])  # RECORD_EXISTS
    writer.commit([gateway.end("r1")])
    async with desk.custodian(writer) as custodian:
        await desk.erased(custodian, desk.scope(writer, "C"))
    readable = [writer.stored.readable(index) for index in range(writer.tree.size)]
    assert not any(leaf and "item" in leaf.parts for leaf in readable)


async def test_show_5_a_copy_from_before_opens_nothing_once_the_old_provider_key_is_destroyed(
    audit_log, desk, gateway, tmp_path
) -> None:
    """The copy is a whole home with the keys that its owner still has."""
    writer = audit_log.open()
    desk.answered(writer, gateway, "r1", "C")
    writer.stop()
    audit_log.crash()
    shutil.copytree(audit_log.home, tmp_path / "copy")
    writer = audit_log.open()
    async with desk.custodian(writer) as custodian:
        await desk.erased(custodian, desk.scope(writer, "C"))
        rotate, done = await custodian.rotate(custodian.asked("officer", "bank", "after an erasure"))
        assert done
        assert await custodian.destroy_provider_keys(custodian.asked("officer", "bank", "backups")) == [rotate.before]
        with pytest.raises(NothingHeld):
            await custodian.destroy_provider_keys(custodian.asked("officer", "bank", "again"))
    desk.answered(writer, gateway, "r2", "D")
    audit_log.crash()
    assert audit_log.open().records.record("r2").fields
    copy = type(audit_log)(tmp_path / "copy")
    shutil.rmtree(copy.home / "keys")
    shutil.copytree(audit_log.home / "keys", copy.home / "keys")
    with pytest.raises(KeyUnusable, match=rotate.before):
        copy.open()
    assert verify_home(copy.home).exit_code == VERIFIES
    actions = [action for action, _ in desk.acts(audit_log.opened[-1])]
    assert actions[2:] == ["PROVIDER_KEY_ROTATION_ORDERED", "PROVIDER_KEY_ROTATED", "PROVIDER_KEYS_DESTROYED"]


async def test_a_rotation_that_a_stop_interrupted_goes_on(audit_log, desk, gateway) -> None:
    writer = audit_log.open()
    desk.answered(writer, gateway, "r1", "C")
    keys = writer.custody.keys
    order = Rotate(
        id=keys.provider.create(), before=keys.provider_key, person="officer", unit="bank", reason="yearly", at_ms=1
    )
    writer.commit([Decision(lambda: writer.custody.order_rotation(order))])
    gateway.tenant = "fund"
    desk.answered(writer, gateway, "r2", "C")  # its tenant's key is under the new one already
    audit_log.crash()
    writer = audit_log.open()
    async with desk.custodian(writer) as custodian:
        assert custodian.rotating or not writer.custody.book.orders
        await until_carried_out(custodian, order)
        await custodian.destroy_provider_keys(custodian.asked("officer", "bank", "done"))
    audit_log.crash()
    writer = audit_log.open()
    assert all(writer.records.record(record).fields for record in ("r1", "r2"))
    assert json.loads((audit_log.folders.wrapped_keys / "log.json").read_text())["provider"] == order.id


async def test_what_was_erased_stays_counted(audit_log, desk, gateway) -> None:
    """Over restarts, which cannot open it any more. Fails if the counts are not written down before the keys go."""
    writer = audit_log.open()
    desk.answered(writer, gateway, "r1", "C")
    desk.answered(writer, gateway, "r2", "D")
    before = counted(writer)
    async with desk.custodian(writer) as custodian:
        await desk.erased(custodian, desk.scope(writer, "C"))
    for _ in range(2):
        assert counted(writer) == before == [("boot-1", 2, (2, 2), 0)]
        audit_log.crash()
        writer = audit_log.open()


def counted(writer) -> list[tuple[str, int, tuple[int, int], int]]:
    return [(boot, each.accepted, tuple(each.ended), each.otherwise) for boot, each in writer.ledger.boots()]
