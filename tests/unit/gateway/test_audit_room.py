"""What the gateway learns of audit's full disk, and how seldom it asks again."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from services.gateway.audit_room import AuditRoom
from services.gateway.requests.neighbours import AuditFull


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def read(reply: object) -> object:
    if isinstance(reply, Exception):
        raise reply
    return reply


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def room(clock) -> AuditRoom:
    return AuditRoom(clock)


def refused(room: AuditRoom) -> AuditFull:
    with pytest.raises(AuditFull) as caught:
        room.require()
    return caught.value


def hear_full(room: AuditRoom) -> None:
    with pytest.raises(AuditFull):
        room.hearing(read)(AuditFull("free some space", reason="JOURNAL_FULL", retry_after_seconds=10.0))


def test_until_audit_refuses_nobody_is_turned_away(room) -> None:
    room.require()
    assert room.hearing(read)("accepted") == "accepted"
    room.require()


def test_after_a_refusal_all_are_turned_away_for_as_long_as_audit_said(room, clock) -> None:
    hear_full(room)
    clock.now = 4.0
    full = refused(room)
    assert (full.reason, str(full), full.retry_after_seconds) == ("JOURNAL_FULL", "free some space", 6.0)


def test_then_one_tries_it_and_the_others_wait_for_what_it_hears(room, clock) -> None:
    """Each refusal costs audit an entry. Fails if `require` lets all through that come after the time."""
    hear_full(room)
    clock.now = 10.0
    room.require()
    refused(room)
    clock.now = 11.0
    hear_full(room)
    clock.now = 20.5
    refused(room)
    clock.now = 21.0
    room.require()
    room.hearing(read)("accepted")
    room.require()
    room.require()


def test_one_that_tried_and_was_never_answered_keeps_nobody_out_for_good(room, clock) -> None:
    hear_full(room)
    clock.now = 10.0
    room.require()
    clock.now = 20.0
    room.require()


def test_another_refusal_says_nothing_of_room(room, clock) -> None:
    hear_full(room)
    clock.now = 10.0
    room.require()
    with pytest.raises(KeyError):
        room.hearing(read)(KeyError("held"))
    refused(room)
