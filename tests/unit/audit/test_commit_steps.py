"""The steps of a commit: preparing, making durable, settling; and what each of them leaves to the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from strongroom.verify import VERIFIES, verify_home

from services.audit.log.merkle import leaf_hash
from services.audit.records.entries import Accepted, Refused
from services.audit.records.stored import RECENT_LEAVES
from services.audit.writer import FaultPoints


def test_preparing_a_group_touches_no_file(audit_log, gateway) -> None:
    """It runs on the event loop. A new tenant's keys are durable before the first frame that needs them, later."""
    writer = audit_log.open()
    before = files_of(audit_log.home)
    gateway.tenant = "another"
    group = writer.prepare([gateway.accept("r1"), gateway.refuse("r2")])
    assert files_of(audit_log.home) == before
    answers = writer.settle(group, writer.make_durable(group))
    assert [type(answer) for answer in answers] == [Accepted, Refused]
    audit_log.crash()
    assert audit_log.open().stored.leaf(2).header["tenant"] == "another"


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_crash_between_a_new_tenants_keys_and_its_first_frame_is_nothing(audit_log, gateway) -> None:
    class Crash(Exception):
        """The process dies here."""

    def appending() -> None:
        if armed:
            raise Crash

    armed = False
    writer = audit_log.open(FaultPoints(appending=appending))
    gateway.tenant, armed = "another", True
    item = gateway.accept("r1")
    with pytest.raises(Crash):
        writer.commit([item])
    audit_log.crash()
    [answer] = audit_log.open().commit([item])
    assert isinstance(answer, Accepted)


@pytest.mark.parametrize("entry", ["accept", "release", "reject"])
def test_a_checkpoint_covers_all_that_is_durable_whatever_was_written_last(audit_log, gateway, entry) -> None:
    """It is signed when it is asked for, or when a receipt needs it. Fails if `checkpoint` returns the last signed."""
    writer = audit_log.open()
    writer.commit([gateway.accept("r1"), gateway.refuse("r2")])
    last = {
        "accept": lambda: gateway.accept("r3"),
        "release": lambda: gateway.release("r1", 0),
        "reject": lambda: gateway.reject("r3"),
    }[entry]
    writer.commit([last()])
    assert writer.checkpoint.size == writer.tree.size
    writer.publish()
    assert writer.publisher.published == writer.tree.size
    assert verify_home(audit_log.home).exit_code == VERIFIES


def test_leaves_long_past_are_read_back_from_the_journal(audit_log, gateway) -> None:
    writer = audit_log.open()
    for _ in range(5):
        writer.commit([gateway.reject(f"r{gateway.sequence}") for _ in range(RECENT_LEAVES // 4)])
    for index in (0, 1, writer.tree.size - RECENT_LEAVES - 1, writer.tree.size - RECENT_LEAVES, writer.tree.size - 1):
        assert leaf_hash(writer.stored.entry(index).leaf) == writer.tree.hashes(0, index, 1)
    for first, count in ((0, writer.tree.size), (700, 256), (writer.tree.size - 9, 9)):  # over segments; in memory
        hashes = b"".join(map(leaf_hash, writer.stored.leaf_bytes(first, count)))
        assert hashes == writer.tree.hashes(0, first, count)
    writer.stop()
    assert verify_home(audit_log.home).exit_code == VERIFIES
