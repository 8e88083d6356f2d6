"""Retention classes: what a file may say, and what is not erased before its time without a stated basis."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from chassis.settings import InvalidSettings
from services.audit.custody.custodian import Custodian
from services.audit.custody.orders import Changed, RetentionRuns
from services.audit.custody.retention import FLOOR_DAYS, Retention, RetentionInvalid, read_retention
from services.audit.settings import AuditSettings

DAY_MS = timedelta(days=1) // timedelta(milliseconds=1)


def written(folder: Path, text: str) -> Path:
    path = folder / "retention.yaml"
    path.write_text(text)
    return path


def test_each_tenant_has_its_class_and_others_the_default(tmp_path) -> None:
    text = "classes: {standard: 180, communications: 1096}\ntenants: {bank: communications}\ndefault: standard\n"
    retention = read_retention(written(tmp_path, text))
    assert retention.kept("bank", 5) == ("communications", 1096, 5 + 1096 * DAY_MS)
    assert retention.kept("fund", 5) == ("standard", 180, 5 + 180 * DAY_MS)


def test_without_a_file_everything_is_kept_for_the_floor() -> None:
    assert Retention().kept("bank", 0).until_ms == FLOOR_DAYS * DAY_MS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("classes: {standard: 179}", "standard is 179: a whole number of days from 180"),
        ("classes: {standard: 0.5}", "whole number"),
        ("classes: {standard: yes}", "whole number"),
        ("classes: {standard: 99999999}", "to 36525"),
        ("classes: [180]", "classes must map"),
        ("classes: {standard: 180}\ntenants: {bank: eternal}", "eternal is not one of classes"),
        ("classes: {short: 180}", "standard is not one of classes"),
        ("{}", "standard is not one of classes"),
        ("period: 3", "members classes and default"),
        ("- 1", "members classes and default"),
        ("a: [", "not YAML"),
    ],
)
def test_what_a_file_may_not_say_is_named_before_audit_starts(tmp_path, text, said) -> None:
    """Fails if the floor is a default that a file may go below."""
    path = written(tmp_path, text)
    with pytest.raises(RetentionInvalid, match=said):
        read_retention(path)
    with pytest.raises(InvalidSettings, match=rf"STRONGROOM_AUDIT_RETENTION_FILE: .*{said}"):
        AuditSettings(home=tmp_path, retention_file=path)


def test_a_file_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(InvalidSettings, match=r"STRONGROOM_AUDIT_RETENTION_FILE: .*No such file"):
        AuditSettings(home=tmp_path, retention_file=tmp_path / "none")


async def test_nothing_is_erased_before_its_time_without_a_stated_basis(audit_log, desk, gateway) -> None:
    """The clock starts with the newest entry of all that the keys seal. Fails if `kept` counts from the first."""
    writer = audit_log.open()
    desk.answered(writer, gateway, "r1", "C")
    audit_log.time.advance(100 * desk.day)
    desk.answered(writer, gateway, "r2", "C")
    for restarted in (False, True):
        if restarted:
            audit_log.crash()
            writer = audit_log.open()
        async with desk.custodian(writer, wall=desk.wall + 279 * desk.day) as custodian:
            with pytest.raises(RetentionRuns, match=r"2027-10-22 08:00 UTC .class standard: 180 days"):
                await desk.erased(custodian, desk.scope(writer, "C"), "")
    async with desk.custodian(writer, wall=desk.wall + 280 * desk.day + 1) as custodian:
        order = await desk.erased(custodian, desk.scope(writer, "C"), "not needed any more")
    assert order.basis == ""
    certificate = desk.acts(writer)[-1][1]
    assert certificate["retention"] == {
        "class": "standard",
        "days": 180,
        "until_ms": int((desk.wall + 280 * desk.day) * 1000),
    }


async def test_a_basis_is_in_the_certificate(audit_log, desk, gateway) -> None:
    writer = audit_log.open()
    desk.answered(writer, gateway, "r1", "C")
    async with desk.custodian(writer) as custodian:
        await desk.erased(custodian, desk.scope(writer, "C"))
    assert desk.acts(writer)[-1][1]["basis"] == desk.basis


async def test_a_request_that_comes_between_the_question_and_the_order_is_not_erased_with_the_old_ones(
    audit_log, desk, gateway
) -> None:
    """Fails if `order_erasure` believes what was looked up before."""
    writer = audit_log.open()
    desk.answered(writer, gateway, "r1", "C")

    def time_of(index: int) -> int:
        desk.answered(writer, gateway, "r2", "C")
        return writer.time_of(index)

    custodian = Custodian(
        desk.line(writer), writer.custody, writer.open_under, time_of, wall=lambda: desk.wall + 200 * desk.day
    )
    with pytest.raises(Changed):
        await custodian.erase(desk.scope(writer, "C"), custodian.asked("officer", "bank", "why"))
    assert writer.records.record("r1").fields and writer.records.record("r2").fields
