"""What a log keeps of every leaf for ever lies in scratch files: memory stays, and every root and proof is the same."""

from __future__ import annotations

import json
import os
import shutil
import threading
import tracemalloc
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strongroom.consistency import check_consistency
from strongroom.verify import VERIFIES, verify_home

from services.audit.log.merkle import Tree, TreeDamaged, consistent
from services.audit.log.note import open_checkpoint
from services.audit.log.rows import KEPT, Row, Scratch

WIDTH = 8


def value(number: int) -> bytes:
    return sha256(number.to_bytes(8, "big")).digest()


def tree_of(leaves: int, scratch: Scratch | None = None) -> Tree:
    return Tree([value(number) for number in range(leaves)], scratch)


@pytest.fixture(scope="module")
def small_scratch(tmp_path_factory):
    made = Scratch(tmp_path_factory.mktemp("scratch"), kept=2)
    yield made
    made.close()


@given(st.lists(st.binary(min_size=WIDTH, max_size=WIDTH), max_size=60), st.data())
def test_a_row_is_the_list_of_its_values_wherever_they_are(small_scratch, values, data) -> None:
    row = Row(WIDTH, small_scratch)
    for each in values:
        row.append(each)
        assert (len(row._held[1]) < 2 * 2 * WIDTH, row.pair()[-WIDTH:]) == (True, each)
    assert [row[index] for index in range(len(row))] == values
    first = data.draw(st.integers(0, len(values)))
    count = data.draw(st.integers(0, len(values) - first))
    assert row.values(first, count) == b"".join(values[first : first + count])
    for refused in (lambda: row[len(values)], lambda: row[-1], lambda: row.values(first, len(values) - first + 1)):
        with pytest.raises(IndexError):
            refused()


def test_the_tree_in_scratch_files_has_the_roots_and_proofs_of_that_in_memory(small_scratch) -> None:
    held, written = tree_of(300), tree_of(300, small_scratch)
    for size in range(301):
        assert written.root(size) == written.past_root(size) == held.root(size)
        assert written.consistency(size, 300) == held.consistency(size, 300)
        for index in range(0, size, 17):
            assert written.inclusion(index, size) == held.inclusion(index, size)
    for level in range(8):
        assert written.hashes(level, 1, (300 >> level) - 1) == held.hashes(level, 1, (300 >> level) - 1)


def test_memory_does_not_grow_with_the_leaves(tmp_path) -> None:
    """Fails if a row keeps in memory what it has written: 64 bytes a leaf."""
    scratch = Scratch(tmp_path, kept=16)
    tree = tree_of(2_000, scratch)
    tracemalloc.start()
    try:
        for number in range(2_000, 22_000):
            tree.append(value(number))
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        scratch.close()
    assert grown < 32 * 1024
    assert list(tmp_path.iterdir()) == [], "the files have no names: a crash leaves nothing behind"


def test_a_full_disk_keeps_in_memory_what_it_does_not_take(tmp_path, caplog) -> None:
    """Fails if values are let go of before they are written."""
    folder = tmp_path / "full"
    scratch = Scratch(folder, kept=4)  # a folder that is not there takes no file either
    row = Row(WIDTH, scratch)
    for number in range(40):
        row.append(value(number)[:WIDTH])
    assert [row[index] for index in range(40)] == [value(number)[:WIDTH] for number in range(40)]
    assert len(caplog.records) == 1
    folder.mkdir()
    for number in range(40, 50):
        row.append(value(number)[:WIDTH])
    assert len(row._held[1]) < 2 * 4 * WIDTH
    assert [row[index] for index in range(50)] == [value(number)[:WIDTH] for number in range(50)]
    scratch.close()


def test_a_row_may_be_read_while_it_is_written(tmp_path) -> None:
    """Fails if what was written is cut off the values that a reader holds."""
    scratch = Scratch(tmp_path, kept=4)
    row, wrong, done = Row(32, scratch), [], threading.Event()

    def read() -> None:
        while not done.is_set():
            count = len(row)
            for index in range(max(count - 12, 0), count):
                if row[index] != value(index):
                    wrong.append(index)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(5_000):
            row.append(value(number))
    finally:
        done.set()
        reader.join()
        scratch.close()
    assert wrong == []


@pytest.mark.parametrize("size", [1, 2, 3, 8, 21, 31, 32])
def test_a_consistency_proof_holds_for_its_trees_alone(size) -> None:
    tree = tree_of(size)
    for old in range(1, size + 1):
        proof, before, after = tree.consistency(old, size), (old, tree.root(old)), (size, tree.root())
        assert consistent(before, after, proof)
        assert not consistent((old, value(99)), after, proof)
        assert not consistent(before, (size, value(99)), proof)
        assert not consistent(before, after, [*proof, value(99)])
        assert not (proof and consistent(before, after, proof[:-1]))


def test_an_old_root_is_not_signed_from_what_a_disk_has_altered(tmp_path) -> None:
    """Fails if `past_root` does not compare with the root that is in memory: a log that signs two roots for one size
    has forked."""
    scratch = Scratch(tmp_path, kept=2)
    tree = tree_of(100, scratch)
    assert [tree.past_root(size) for size in (40, 64, 100)] == [tree.root(size) for size in (40, 64, 100)]
    for file in scratch._files:
        written = os.fstat(file.fileno()).st_size
        os.pwrite(file.fileno(), bytes(written), 0)
    assert tree.root() == tree_of(100).root(), "the newest root is not read back"
    for size in (40, 63):
        with pytest.raises(TreeDamaged, match="scratch"):
            tree.past_root(size)
    scratch.close()


def test_a_log_larger_than_its_memory_answers_for_its_first_leaf_as_before(audit_log, gateway, tmp_path) -> None:
    """Its receipts, its checkpoints of old, its consistency, over a restart too; and its folder verifies."""
    writer = audit_log.open()
    [first] = writer.commit([item := gateway.refuse("r0")])
    newest = writer.checkpoint.checkpoint
    for _ in range(3):
        writer.commit([gateway.reject(f"{audit_log.time.wall}-{n}") for n in range(KEPT)])
        audit_log.time.advance(1)
    writer.stop()
    shutil.copytree(audit_log.home, tmp_path / "copy")
    assert verify_home(str(tmp_path / "copy")).exit_code == VERIFIES
    for restarted in (False, True):
        opened = audit_log.open() if restarted else writer
        [again] = opened.commit([item])
        assert _without_proof(again.receipt) == _without_proof(first.receipt)
        sizes = [newest.size, 1_000, 2 * KEPT + 1, opened.tree.size]
        signed = [open_checkpoint(opened.checkpoint_of(size).note, opened.verifier) for size in sizes]
        assert signed[0].root == newest.root
        for old, new in pairwise(signed):
            check_consistency(old, new, opened.consistency(old.size, new.size))
        assert opened.stored.leaf_index(opened.stored.leaf_location(700)) == 700


def _without_proof(receipt: str) -> dict[str, object]:
    return {name: part for name, part in json.loads(receipt).items() if name != "tlog_proof"}
