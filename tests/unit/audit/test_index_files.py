"""An index is made again where it cannot be used, keeps nothing that was destroyed, and its files show nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.audit.index.database import PAGE_BYTES, IndexDamaged
from services.audit.index.search import Filter, search
from services.audit.records.entries import Act
from tests.unit.audit.indexed import CARD, Indexed, wait_for


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
