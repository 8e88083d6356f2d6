"""The index follows the log and finds what is asked for."""

from __future__ import annotations

import json
from itertools import count

from services.audit.index.search import MOST_COUNTED, Filter, search
from services.audit.records.entries import Ending
from services.audit.records.planning import Clock
from tests.unit.audit.indexed import CARD, Indexed, answered, asked

FOUND = [
    ({}, ["r5", "r4", "r3", "r2", "r1"]),
    ({"tenant": "fund"}, ["r4"]),
    ({"caller": "desk", "tenant": "bank"}, ["r5", "r3", "r2", "r1"]),
    ({"model": "small"}, ["r1"]),
    ({"states": ("OPEN", "REFUSED")}, ["r4", "r3"]),
    ({"verdict": "FLAG"}, ["r2"]),
    ({"verdict": "REFUSE"}, ["r3"]),
    ({"verdict": "ALLOW"}, ["r4", "r1"]),
    ({"rule": "violence/1"}, ["r3"]),
    ({"rule": "pii/1"}, ["r2"]),
    ({"classes": ("BANK_CARD", "OTHER")}, ["r4", "r3", "r2", "r1"]),
    ({"classes": ("OTHER",)}, []),
    ({"trace_id": "ab" * 16}, ["r2"]),
    ({"text": "loan"}, ["r4", "r1"]),
    ({"text": "利率"}, ["r1"]),
    ({"text": "个人", "tenant": "bank"}, ["r2"]),
    ({"text": "house"}, []),  # of our own system message, which every record has
    ({"text": "zanzibar"}, ["r3"]),  # as the findings of the refused prompt left it
    ({"text": CARD}, []),
    ({"identifier": "6222 0200 1122 3344 556"}, ["r4", "r3", "r2", "r1"]),
    ({"identifier": CARD, "tenant": "fund"}, ["r4"]),
    ({"identifier": CARD[:-1]}, []),
    ({"start_ms": 1_800_000_000_000 + 86_400_000}, ["r5", "r4", "r3", "r2"]),
    ({"end_ms": 1_800_000_000_000 + 86_400_000}, ["r1"]),
    ({"start_ms": 1, "end_ms": 1_800_000_000_000 + 86_400_001, "text": "个人"}, ["r2"]),
]


def test_records_are_found_newest_first(some) -> None:
    assert {str(wanted): some.ids(**wanted) for wanted, _ in FOUND} == {str(wanted): found for wanted, found in FOUND}


def test_a_subject_is_found_by_its_pseudonym(some) -> None:
    [(_, summary)] = search(some.level().store, Filter(trace_id="ab" * 16), None, 1).found
    assert summary.subject not in ("", "ann") and some.ids(subject=summary.subject) == ["r2"]


def test_what_was_done_to_a_record_is_found(some) -> None:
    [act] = some.level().store.acts_on("r1", 10, "audit")
    assert (act.actor, act.action, act.reason) == ("ann", "RECORD_VIEWED", "why")


def test_pages_go_on_where_they_ended_whatever_is_added(indexed, gateway) -> None:
    indexed.commit(*[gateway.refuse(f"r{n}", fields={}) for n in range(7)])
    pages, before = [], None
    while True:
        page = search(indexed.level().store, Filter(rule="violence/1"), before, 3)
        pages.append([summary.record_id for _, summary in page.found])
        assert (page.total is None) == (before is not None)
        indexed.commit(gateway.refuse(f"new{len(pages)}", fields={}))
        before = page.following
        if before is None:
            break
    assert pages == [["r6", "r5", "r4"], ["r3", "r2", "r1"], ["r0"]]


def test_counts_are_exact_to_a_bound(indexed, gateway) -> None:
    indexed.commit(*[gateway.reject(f"r{n}") for n in range(MOST_COUNTED + 5)])
    assert search(indexed.level().store, Filter(tenant="bank"), None, 1).total == MOST_COUNTED + 1


def test_a_clock_that_was_set_back_hides_nothing(indexed, gateway) -> None:
    """Fails if the leaves of a time are looked for by the records' own times."""
    times = [0, 100, 200, 50, 60, 300, 250]
    start = indexed.log.time.wall
    for n, seconds in enumerate(times):
        indexed.log.time.wall = start + seconds
        indexed.commit(gateway.reject(f"r{n}"))
    base = int(start * 1000)
    for low in (0, 50, 51, 200, 201, 250, 301):
        for high in (1, 50, 60, 101, 250, 300, 1000):
            expected = [f"r{n}" for n, seconds in enumerate(times) if low <= seconds < high][::-1]
            assert indexed.ids(start_ms=base + low * 1000, end_ms=base + high * 1000) == expected


def test_an_open_record_is_one_record_when_it_has_ended(indexed, gateway) -> None:
    indexed.commit(gateway.accept("r1", fields=asked("hello")))
    assert indexed.ids(text="hello") == ["r1"] and indexed.ids(states=("OPEN",)) == ["r1"]
    indexed.close()
    indexed.open()  # what was open is known to the next start too
    indexed.commit(gateway.end("r1", Ending.CANCELLED, fields=answered("world")))
    assert indexed.ids(text="hello world", states=("CANCELLED",)) == ["r1"] == indexed.ids()
    assert indexed.ids(states=("OPEN",)) == [] == indexed.problems()


class Ticking:
    """A millisecond goes by each time the clock is read."""

    def clock(self) -> Clock:
        ticks = count(1_800_000_000_000)
        return Clock(lambda: next(ticks) / 1000, lambda: 1_000.0)


def test_a_record_whose_entries_tell_its_time_a_moment_apart_is_the_same_in_any_batches(audit_log, gateway) -> None:
    """Fails if what ENDs later keeps the time of its ACCEPTED."""
    audit_log.time = Ticking()
    made = Indexed(audit_log)
    made.open(batch_leaves=1)
    try:
        for n in range(3):
            made.commit(gateway.accept(f"r{n}", fields=asked("x")))
            made.level()
            made.commit(gateway.end(f"r{n}", fields=answered("y")))
        assert made.problems() == []
        times = [summary.time_ms for _, summary in search(made.level().store, Filter(), None, 10).found]
        assert [made.ids(start_ms=time) for time in times] == [["r2"], ["r2", "r1"], ["r2", "r1", "r0"]]
    finally:
        made.close()


def test_of_a_lost_gateway_what_was_released_is_found(indexed, gateway) -> None:
    body = json.dumps([{"channel": "content", "choice": 0, "text": "half an answer"}]).encode()
    indexed.commit(
        gateway.accept("r1", fields=asked("x")), gateway.release("r1", 0, body), gateway.release("r1", 1, b"")
    )
    indexed.commit(gateway.end("r1", Ending.FAILED, fields={}))
    assert indexed.ids(text="half", states=("FAILED",)) == ["r1"]


def test_an_old_record_is_found_without_reading_the_whole_journal(some) -> None:
    some.level()
    some.writer.recorder.recent._spans.clear()  # what a hundred thousand later records would do
    read = []
    frames = some.writer.journal.frames
    some.writer.journal.frames = lambda *places: read.append(places) or frames(*places)
    view = some.writer.records.record("r2")
    assert view.summary.reason == "pii/1" and len(read) == 1  # for the RELEASE entries of r2 alone
    assert some.writer.records.record("nobody") is None and len(read) == 1


def test_a_record_that_ended_after_the_index_is_whole(some, gateway) -> None:
    some.level()
    some.close()
    gateway.boot, gateway.sequence = "boot-2", 0
    some.commit(gateway.end("r4", fields=answered("done")))
    some.writer.recorder.recent._spans.clear()
    assert some.writer.records.record("r4").summary.state == "COMPLETED"


def test_what_is_not_as_it_should_be_is_left_out_and_the_rest_goes_on(indexed, gateway) -> None:
    odd = {**asked("x"), "findings": b'[{"type":"A","side":"prompt","message_index":0,"start":"one","end":"two"}]'}
    del odd["request_sent"]
    indexed.commit(gateway.refuse("r1", fields=odd), gateway.accept("r2", fields=odd), gateway.reject("r3"))
    assert indexed.ids() == ["r3"] and indexed.level().unreadable == 2 and indexed.problems() == []
