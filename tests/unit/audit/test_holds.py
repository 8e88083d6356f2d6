"""Holds: while one is in force nothing in its scope is erased, and none is forgotten."""

from __future__ import annotations

import pytest

from services.audit.custody.book import BOOK
from services.audit.custody.orders import Held, NothingHeld, Scope
from services.audit.sealing.provider import KeyUnusable


@pytest.mark.parametrize("held", ["subject", "tenant"])
@pytest.mark.parametrize("asked", ["subject", "tenant"])
async def test_a_hold_prevents_erasure_until_it_is_lifted(audit_log, desk, gateway, held, asked) -> None:
    """Also after a restart. Fails if `meets` compares tenants and subjects for equality alone."""
    writer = audit_log.open()
    desk.answered(writer, gateway, "r1", "C")
    scopes = {"subject": desk.scope(writer, "C"), "tenant": Scope("bank")}
    async with desk.custodian(writer) as custodian:
        hold = await custodian.place_hold(scopes[held], custodian.asked("counsel", "bank", "case 7"))
    audit_log.crash()
    writer = audit_log.open()
    async with desk.custodian(writer) as custodian:
        with pytest.raises(Held, match=hold.id):
            await desk.erased(custodian, scopes[asked])
        assert writer.records.record("r1").fields
        await custodian.lift_hold(hold.id, custodian.asked("counsel", "bank", "settled"))
        with pytest.raises(NothingHeld):
            await custodian.lift_hold(hold.id, custodian.asked("counsel", "bank", "settled"))
        await desk.erased(custodian, scopes[asked])
    assert [action for action, _ in desk.acts(writer)][:2] == ["HOLD_PLACED", "HOLD_LIFTED"]
    audit_log.crash()
    assert audit_log.open().custody.book.holds == {}


async def test_a_hold_of_somebody_else_prevents_nothing(audit_log, desk, gateway) -> None:
    writer = audit_log.open()
    desk.answered(writer, gateway, "r1", "C")
    async with desk.custodian(writer) as custodian:
        for scope in (desk.scope(writer, "D"), Scope("fund"), desk.scope(writer, "C", "fund")):
            await custodian.place_hold(scope, custodian.asked("counsel", "bank", "case 7"))
        await desk.erased(custodian, desk.scope(writer, "C"))


async def test_a_hold_withdraws_an_erasure_that_waits(audit_log, desk, gateway) -> None:
    writer = audit_log.open()
    writer.commit([gateway.accept("r1", subject="C")])
    async with desk.custodian(writer, patience_seconds=0.05) as custodian:
        order, _ = await desk.ordered(custodian, desk.scope(writer, "C"))
        await custodian.place_hold(Scope("bank"), custodian.asked("counsel", "bank", "case 7"))
        writer.commit([gateway.end("r1")])
        assert await custodian._carried_out_soon(order)  # it is no more in the book
    assert writer.records.record("r1").summary.state == "COMPLETED"
    assert desk.acts(writer)[-1][1]["withdrawn"] == [order.id]


async def test_a_hold_that_the_log_knows_is_not_forgotten_with_the_book(audit_log, desk, gateway) -> None:
    writer = audit_log.open()
    async with desk.custodian(writer) as custodian:
        hold = await custodian.place_hold(Scope("bank"), custodian.asked("counsel", "bank", "case 7"))
    audit_log.crash()
    (audit_log.folders.wrapped_keys / BOOK).unlink()
    with pytest.raises(KeyUnusable, match=hold.id):
        audit_log.open()


async def test_the_book_on_the_disk_shows_neither_names_nor_reasons(audit_log, desk, gateway) -> None:
    writer = audit_log.open()
    async with desk.custodian(writer) as custodian:
        await custodian.place_hold(desk.scope(writer, "C"), custodian.asked("counsel", "bank", "the case of Zhang San"))
    data = (audit_log.folders.wrapped_keys / BOOK).read_bytes()
    assert not any(word in data for word in (b"Zhang", b"bank", b"counsel"))
