"""Invariant 4: every accepted request ends, after its gateway's death too."""

from __future__ import annotations

from services.audit.log.leaf import Kind
from services.audit.records.entries import AppendRefused, Recorded, Refusal
from services.audit.records.planning import Presence, Reap


def ends(writer) -> list[tuple[str, str]]:
    found = []
    for index in range(writer.tree.size):
        if writer.stored.clear(index).kind is Kind.END:
            header = writer.stored.leaf(index).header
            found.append((header["end"], header["reason"]))
    return found


def test_invariant_4_a_boot_without_a_stream_for_10_seconds_loses_its_records(audit_log, gateway) -> None:
    """Fails if `gateway_lost_seconds` is 11."""
    writer = audit_log.open()
    writer.commit([Presence("boot-1", True), gateway.accept("r1"), gateway.release("r1", 0), gateway.accept("r2")])
    audit_log.time.advance(3600)
    writer.commit([Reap()])
    assert ends(writer) == []  # a stream is a sign of life, however quiet
    writer.commit([Presence("boot-1", False)])
    audit_log.time.advance(9.9)
    writer.commit([Reap()])
    assert ends(writer) == []
    audit_log.time.advance(0.1)
    writer.commit([Reap()])
    assert ends(writer) == [("FAILED", "GATEWAY_LOST")] * 2
    for late in (gateway.release("r1", 1), gateway.end("r2")):
        (answer,) = writer.commit([Presence("boot-1", True), late])[1:]
        assert isinstance(answer, AppendRefused)
        assert answer.refusal is Refusal.RECORD_ENDED


def test_invariant_4_the_seconds_count_from_audits_own_start_after_a_restart(audit_log, gateway) -> None:
    """Fails if a boot that audit has not seen since its start counts as lost at once."""
    writer = audit_log.open()
    writer.commit([Presence("boot-1", True), gateway.accept("r1")])
    audit_log.time.advance(1000)
    writer = audit_log.open()
    writer.commit([Reap()])
    audit_log.time.advance(9.9)
    writer.commit([Reap()])
    assert ends(writer) == []
    audit_log.time.advance(0.1)
    writer.commit([Reap()])
    assert ends(writer) == [("FAILED", "GATEWAY_LOST")]


def test_invariant_4_a_gateway_that_comes_back_in_time_keeps_its_records(audit_log, gateway) -> None:
    """Fails if `stream_opened` does not count the stream."""
    writer = audit_log.open()
    writer.commit([gateway.accept("r1")])
    writer = audit_log.open()
    audit_log.time.advance(9)
    writer.commit([Presence("boot-1", True)])
    audit_log.time.advance(100)
    writer.commit([Reap()])
    assert ends(writer) == []
    assert writer.commit([gateway.release("r1", 0)]) == [Recorded()]


def test_a_second_stream_keeps_a_boot_alive_when_the_first_closes(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([Presence("boot-1", True), gateway.accept("r1"), Presence("boot-1", True), Presence("boot-1", False)])
    audit_log.time.advance(60)
    writer.commit([Reap()])
    assert ends(writer) == []


def test_a_reaped_record_commits_to_its_request_and_frees_its_key(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([gateway.accept("r1", idempotency_key="k")])
    audit_log.time.advance(10)
    writer.commit([Reap()])
    end = writer.stored.leaf(writer.tree.size - 1)
    assert sorted(end.leaves) == ["findings", "parameters", "request_received", "request_sent"]
    (answer,) = writer.commit([gateway.accept("r2", idempotency_key="k")])
    assert not isinstance(answer, AppendRefused)
