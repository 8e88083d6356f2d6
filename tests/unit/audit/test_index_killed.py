"""kill -9 between an erasure's removal of rows and the index that is made again: no word of them is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from services.audit.index.files import IndexFile
from services.audit.index.search import Filter, search
from services.audit.index.store import IndexStore
from services.audit.index.writing import IndexWriter
from tests.unit.audit.indexed import Indexed, answered, asked, wait_for

WORD = "quartziferous"  # of one record alone


def holds(file: IndexFile) -> bool:
    """In the blocks of its full text, which leave out the letters that a word shares with the one before."""
    store = IndexStore(file)
    try:
        with store.readers.one() as reader:
            blocks = reader.execute("SELECT block FROM texts_data")
            return any(WORD[3:].encode() in block for (block,) in blocks)
    finally:
        store.close()


@pytest.fixture
def many(audit_log, gateway) -> Iterator[Indexed]:
    """So many records that one less does not make SQLite write their words anew."""
    made = Indexed(audit_log)
    for n in range(40):
        made.commit(gateway.accept(f"r{n}", fields=asked("a loan")), gateway.end(f"r{n}", fields=answered("no")))
    made.commit(gateway.accept("gone", fields=asked(WORD), subject="ann"), gateway.end("gone", fields=answered("no")))
    made.open(batch_leaves=1_000)
    yield made
    made.close()


def test_no_word_of_what_was_erased_outlives_a_kill_9_before_the_index_was_made_again(many) -> None:
    """SQLite keeps the words of a row that it removed. Fails if only a process' memory knows that they have to go."""
    [(leaf, _)] = search(many.level().store, Filter(text=WORD), None, 1).found
    before, key_id = many.follower.store.file, many.writer.stored.clear(leaf).key_id
    many.close()
    child = os.fork()
    if not child:
        try:
            IndexWriter(before).forget([key_id])
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert holds(before)
    del many.writer._keytree._by_id[key_id]
    many.open()
    wait_for(lambda: many.follower.store.file.path != before.path)
    assert not before.path.exists() and not holds(many.level().store.file)
    assert len(many.ids()) == 40 and many.problems() == []
