"""The index follows the log, finds what is asked for, can be made again, and its files alone show nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from services.audit.index.database import PAGE_BYTES, IndexDamaged
from services.audit.index.files import IndexFolder
from services.audit.index.follower import Follower
from services.audit.index.record_keys import TreeKeys
from services.audit.index.search import MOST_COUNTED, Filter, search
from services.audit.journal.reading import JournalReader
from services.audit.records.entries import Act, Ending
from services.audit.records.planning import Clock
from services.audit.writer import Writer

CARD = "6222020011223344556"
RAW = f'{{"messages":[{{"content":"pay {CARD} zanzibar","role":"user"}}],"parameters":{{}}}}'.encode()


def asked(text: str) -> dict[str, bytes]:
    sent = [{"role": "system", "content": "house rules"}, {"role": "user", "content": text}]
    findings = [{"type": "BANK_CARD", "start": 4, "end": 23, "level": "C2", "message_index": 0, "side": "prompt"}]
    return {
        "request_received": RAW,
        "request_sent": json.dumps({"messages": sent}).encode(),
        "parameters": b"{}",
        "findings": json.dumps([{**found, "rule": "x"} for found in findings]).encode(),
    }


def answered(text: str) -> dict[str, bytes]:
    return {name: json.dumps([{"content": text}]).encode() for name in ("answer_generated", "answer_released")}


class Indexed:
    """A log and its index, opened and closed as audit does."""

    def __init__(self, log: object) -> None:
        self.log = log
        self.folder = log.folders.index
        self.followers: list[Follower] = []
        self.writer: Writer = log.open()

    def open(self, batch_leaves: int = 3, room: Callable[[int], bool] = lambda size: True) -> Follower:
        folder = IndexFolder(self.folder, self.writer.provider)
        self.follower = Follower(
            JournalReader(self.log.folders.journal, self.writer.origin),
            TreeKeys(self.writer.custody.keys),
            folder,
            lambda: self.writer.publisher.published,
            room=room,
            batch_leaves=batch_leaves,
            look_seconds=0.01,
        )
        self.writer.records.known_span = self.follower.span
        self.followers.append(self.follower)
        self.follower.start()
        return self.follower

    def close(self) -> None:
        while self.followers:
            self.followers.pop().close()

    def commit(self, *items: object) -> None:
        self.writer.commit(items)
        self.writer.publish()

    def level(self) -> Follower:
        """Once the index has everything."""
        wait_for(lambda: self.follower.leaves == self.writer.tree.size)
        return self.follower

    def ids(self, **wanted: object) -> list[str]:
        page = search(self.level().store, Filter(**wanted), None, 100)
        assert page.total == len(page.found)
        return [summary.record_id for _, summary in page.found]

    def problems(self) -> list[str]:
        *_, result = self.level().check()
        return result.problems


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def indexed(audit_log) -> Iterator[Indexed]:
    made = Indexed(audit_log)
    made.open()
    yield made
    made.close()


@pytest.fixture
def some(indexed, gateway, new_gateway) -> Indexed:
    """Five records of two tenants, and an act."""
    fund = new_gateway("boot-2")
    fund.tenant = "fund"
    day = 86_400
    indexed.commit(gateway.accept("r1", fields=asked("the interest of my loan"), model="small"))
    indexed.commit(gateway.end("r1", fields=answered("贷款利率是五")))
    indexed.log.time.advance(day)
    indexed.commit(gateway.accept("r2", fields=asked("个人信息"), subject="ann", trace_id="ab" * 16))
    indexed.commit(gateway.end("r2", reason="pii/1", fields=answered("no")))
    indexed.log.time.advance(day)
    refused = {name: asked("")[name] for name in ("request_received", "findings")}
    indexed.commit(gateway.refuse("r3", fields={**refused, "answer_released": answered("cannot")["answer_released"]}))
    indexed.commit(fund.accept("r4", fields=asked("loan to 个人")), gateway.reject("r5"))
    indexed.commit(Act(service="audit", actor="ann", action="RECORD_VIEWED", target="r1", detail=b'{"reason":"why"}'))
    return indexed


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


def test_rebuilt_the_index_is_the_same_under_other_keys(some) -> None:
    follower, old = some.level(), some.follower.store.file
    rebuild = follower.rebuild()
    assert follower.rebuild() is rebuild  # who asks meanwhile joins it
    rebuild.wait(60)
    assert (rebuild.finished, rebuild.failed, rebuild.done) == (True, False, rebuild.total)
    assert follower.store.file.path != old.path and follower.store.file.pages != old.pages
    assert not list(some.folder.glob(f"{old.path.name}*"))
    assert some.problems() == [] and some.ids(text="loan") == ["r4", "r1"]
    assert some.ids(identifier=CARD, tenant="fund") == ["r4"]


@pytest.mark.parametrize(
    ("altered", "told"),
    [
        ("UPDATE records SET tenant = 'other' WHERE record_id = 'r1'", "the record is another"),
        ("UPDATE records SET digest = zeroblob(16) WHERE record_id = 'r2'", "the record is another"),
        ("DELETE FROM records WHERE record_id = 'r4'", "the record is missing"),
        ("DELETE FROM texts WHERE rowid = (SELECT leaf FROM records WHERE record_id = 'r1')", "4 texts"),
        ("UPDATE acts SET actor = 'nobody'", "the act is missing or another"),
        ("INSERT INTO acts VALUES (9999, 1, 'a', 'b', 'c', 'd', '')", ""),
    ],
)
def test_a_check_finds_what_is_not_as_the_journal_has_it(some, altered, told) -> None:
    assert some.problems() == []
    some.level()._writer._database.execute(altered)
    assert told in "; ".join(some.problems()) and bool(some.problems()) == bool(told)


def test_where_the_disk_is_the_journals_the_index_waits(some) -> None:
    """Fails if a rebuild begins a second file where there is room for one only."""
    leaves, path = some.level().leaves, some.follower.store.file.path
    some.close()
    some.commit(Act(service="audit", actor="ann", action="RECORD_VIEWED", target="r2"))
    enough = []
    some.open(room=lambda size: bool(enough))
    rebuild = some.follower.rebuild()
    rebuild.wait(60)
    assert (rebuild.failed, some.follower.leaves, some.follower.store.file.path) == (True, leaves, path)
    enough.append(True)
    assert some.problems() == []


def test_a_restart_goes_on_with_the_same_file(some) -> None:
    some.level()
    some.close()
    path = some.follower.store.file.path
    some.open()
    assert some.follower.store.file.path == path and some.ids(text="loan") == ["r4", "r1"]


def _another_logs(indexed: Indexed) -> None:
    indexed.follower._writer._database.execute("UPDATE about SET value = zeroblob(32) WHERE name = 'last_hash'")


def _flipped(indexed: Indexed) -> None:
    indexed.close()
    path = indexed.follower.store.file.path
    data = bytearray(path.read_bytes())
    data[3000] ^= 1
    path.write_bytes(data)


def _without_keys(indexed: Indexed) -> None:
    (indexed.folder / "current.json").write_text("{}")


@pytest.mark.parametrize("spoiled", [_another_logs, _flipped, _without_keys])
def test_an_index_that_cannot_be_used_is_made_again(some, spoiled) -> None:
    path = some.level().store.file.path
    spoiled(some)
    some.close()
    some.open()
    assert some.follower.store.file.path != path and not path.exists()
    assert some.ids(text="loan") == ["r4", "r1"] and some.problems() == []


def test_a_page_that_was_altered_under_a_running_audit_is_an_error_and_the_index_is_made_again(some, gateway) -> None:
    some.commit(*[gateway.reject(f"x{n}") for n in range(98)])
    store = some.level().store
    some.follower._writer.settle()
    data = bytearray(store.file.path.read_bytes())
    for page in range(2 * PAGE_BYTES, len(data), PAGE_BYTES):
        data[page + 100] ^= 1
    store.file.path.write_bytes(data)
    with pytest.raises(IndexDamaged):
        search(store, Filter(tenant="bank"), None, 100)
    some.follower.rebuild().wait(60)
    assert len(some.ids(tenant="bank", states=("REJECTED",))) == 99 and some.problems() == []


def test_what_was_destroyed_is_left_out_and_the_rest_goes_on(some) -> None:
    [(_, summary)] = search(some.level().store, Filter(trace_id="ab" * 16), None, 1).found
    key_id = some.writer.stored.clear(summary.leaf_index).key_id
    del some.writer._keytree._by_id[key_id]
    some.follower.forget([key_id]).result(60)
    assert some.ids(text="个人") == ["r4"]
    some.follower.rebuild().wait(60)
    assert some.ids(text="个人") == ["r4"] and some.ids(identifier=CARD) == ["r4", "r3", "r1"]
    assert some.problems() == []


def test_after_an_erasure_nothing_of_it_is_found_and_the_old_file_is_gone(some) -> None:
    """Fails if the rows are only left out of a rebuild that somebody asks for."""
    store = some.level().store
    [(leaf, summary)] = search(store, Filter(trace_id="ab" * 16), None, 1).found
    del some.writer._keytree._by_id[some.writer.stored.clear(leaf).key_id]
    some.commit(Act(service="audit", actor="ann", action="SUBJECT_ERASED", target="x"))
    wait_for(lambda: some.follower.store is not store)
    assert not store.file.path.exists() and summary.record_id == "r2"
    assert some.ids() == ["r5", "r4", "r3", "r1"] and some.ids(identifier=CARD) == ["r4", "r3", "r1"]
    assert some.problems() == []


def test_what_is_not_as_it_should_be_is_left_out_and_the_rest_goes_on(indexed, gateway) -> None:
    odd = {**asked("x"), "findings": b'[{"type":"A","side":"prompt","message_index":0,"start":"one","end":"two"}]'}
    del odd["request_sent"]
    indexed.commit(gateway.refuse("r1", fields=odd), gateway.accept("r2", fields=odd), gateway.reject("r3"))
    assert indexed.ids() == ["r3"] and indexed.level().unreadable == 2 and indexed.problems() == []


def test_nothing_of_a_record_lies_in_clear(some) -> None:
    some.level()
    files = [path for path in some.folder.rglob("*") if path.is_file()]
    assert any(path.name.endswith("-wal") for path in files)
    for secret in (CARD, "loan", "利率", "zanzibar", "desk", "BANK_CARD", "ab" * 16, "RECORD_VIEWED", "SQLite"):
        assert not [path for path in files if secret.encode() in path.read_bytes()], secret
    assert {path.stat().st_mode & 0o077 for path in files} == {0}


def test_the_index_writes_nowhere_else(some, tmp_path: Path) -> None:
    some.follower.rebuild().wait(60)
    inside = set(some.folder.rglob("*"))
    assert {path.suffix.split("-")[0] for path in inside} == {".db", ".json"}
