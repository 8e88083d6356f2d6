"""Keeps the index behind the log, on a thread of its own: no append waits for it. A lost index is made again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import apsw

from services.audit.index.database import IndexDamaged, TooSlow
from services.audit.index.files import IndexFile, IndexFolder
from services.audit.index.projection import Batch, Projection
from services.audit.index.store import IndexStore
from services.audit.log.merkle import leaf_hash
from services.audit.records.open_records import Span
from services.audit.records.stored import StoredEntries

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2  # between looks for what is new
BATCH_ROOM_BYTES = 64 * 1024 * 1024  # more than a batch takes, SQLite's log included
RETRY_SECONDS = 5.0  # after a failure, such as a full disk
_DAMAGED = (IndexDamaged, apsw.CorruptError, apsw.NotADBError)
BATCH_LEAVES = 2_000  # a transaction's; about a second of work for two threads


class _Stopping(Exception):
    """Audit stops: the rebuild is given up."""


class _NoRoom(Exception):
    """The disk has no room for a second index beside the first."""


@dataclass
class Rebuild:
    """One that runs or has run: how many of the leaves that were there when it began are in it."""

    total: int
    done: int = 0
    failed: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def finished(self) -> bool:
        return self._ended.is_set()

    def finish(self) -> None:
        self._ended.set()

    def wait(self, seconds: float) -> None:
        """Returns earlier if it finishes."""
        self._ended.wait(seconds)


class Follower:
    """`covered` says how many leaves are published: what is signed and on the disk is followed, nothing else."""

    def __init__(
        self,
        stored: StoredEntries,
        folder: IndexFolder,
        covered: Callable[[], int],
        *,
        room: Callable[[int], bool] = lambda size: True,
        batch_leaves: int = BATCH_LEAVES,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """`room`: whether the index may take so many bytes more of the disk, which is the journal's first."""
        self._stored, self._folder, self._covered, self._room = stored, folder, covered, room
        self._batch, self._look = batch_leaves, look_seconds
        self.store = self._open()
        self._projection: Projection | None = None
        self._asked: Rebuild | None = None
        self._lock = threading.Lock()  # of `_asked`
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="audit-index")
        self.unreadable = 0

    def _open(self) -> IndexStore:
        """The file that is there, if it is a part of this log's index; else a new one, which counts at once."""
        file = self._folder.current()
        try:
            if file and self._belongs(store := IndexStore(file)):
                self._folder.clear(file)
                return store
        except (IndexDamaged, apsw.Error, TypeError):
            log.error("the index cannot be used: it is made again")
        file = self._folder.new()
        store = IndexStore(file, new=True)
        self._adopt(file)
        return store

    def _belongs(self, store: IndexStore) -> bool:
        leaves, last = store.standing.leaves, store.standing.last_hash
        here = leaves <= self._stored.leaf_count
        if here and (not leaves or leaf_hash(self._stored.leaf_bytes(leaves - 1)) == last):
            return True
        store.close()
        log.error("the index is another log's: it is made again")
        return False

    def _adopt(self, file: IndexFile) -> None:
        self._folder.adopt(file)
        self._folder.clear(file)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends after what is being written; the rest is caught up with at the next start."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self.store.close()

    # --- any thread's -----------------------------------------------------------------------------------------------

    @property
    def leaves(self) -> int:
        """How many leaves of the log are in the index."""
        return self.store.standing.leaves

    def span(self, record_id: str) -> tuple[Span | None, int]:
        """The record's leaves as far as the index knows them, and how far it has come."""
        store = self.store
        leaves = store.standing.leaves
        try:
            return store.span(record_id), leaves
        except (IndexDamaged, TooSlow):
            return None, 0  # the journal is searched instead

    def rebuild(self) -> Rebuild:
        """Asks for one, or joins the one that runs."""
        with self._lock:
            if self._asked is None or self._asked.finished:
                self._asked = Rebuild(self._covered())
                self._wake.set()
            return self._asked

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            pause = RETRY_SECONDS
            try:
                self._catch_up()
                pause = self._look
            except _DAMAGED:
                log.error("a page of the index does not open: it is made again")
                self.rebuild()
            except Exception:  # a full disk, or a bug: tried again, and the lag shows meanwhile
                log.exception("the index cannot be written")
            if self._asked and not self._asked.finished:
                self._rebuild(self._asked)
            self._wake.wait(pause)
            self._wake.clear()

    def _catch_up(self) -> None:
        store = self.store
        if self._projection is None:
            self._projection = Projection(self._stored, store.keys, store.open_records())
        try:
            while store.standing.leaves < self._covered() and self._may_write:
                start = store.standing.leaves
                batch = self._projection.batch(start, min(start + self._batch, self._covered()))
                self.unreadable += batch.unreadable
                if batch.keys_destroyed:
                    self._forget_erased(store)
                _write(store, batch)
        except BaseException:
            self._projection = None  # what it knows of open records has gone on without the file
            raise

    def _forget_erased(self, store: IndexStore) -> None:
        """The rows at once; what is left of their words in the file goes with its keys, when it has been made again."""
        gone = [key_id for key_id in store.key_ids() if not self._stored.key_known(key_id)]
        rows = sum(map(store.forget, gone))
        if rows:
            log.info("%d records whose keys were destroyed are gone from the index, which is made again", rows)
            self.rebuild()

    @property
    def _may_write(self) -> bool:
        return not self._stopping and not self._rebuilding and self._room(BATCH_ROOM_BYTES)

    @property
    def _rebuilding(self) -> bool:
        return self._asked is not None and not self._asked.finished

    def _rebuild(self, asked: Rebuild) -> None:
        began = time.monotonic()
        try:
            self._replace(asked)
        except (_Stopping, _NoRoom):
            log.error("the index is not made again: audit stops, or its disk has too little room for a second one")
            asked.failed = True
        except Exception:
            log.exception("the index cannot be made again; the old one stays")
            asked.failed = True
        asked.finish()
        if not asked.failed:
            log.info("the index was made again: %d entries in %.1f s", asked.done, time.monotonic() - began)

    def _replace(self, asked: Rebuild) -> None:
        if not self._room(self.store.file.path.stat().st_size * 5 // 4):
            raise _NoRoom
        file = self._folder.new()
        store = IndexStore(file, new=True)
        try:
            projection = Projection(self._stored, store.keys)
            for leaves in filled(store, projection, asked.total, self._batch):
                asked.done = leaves
                if self._stopping:
                    raise _Stopping
            store.settle()
        except BaseException:
            store.close()
            self._folder.clear(self.store.file)
            raise
        self._adopt(file)
        old, self.store, self._projection = self.store, store, projection
        old.close()


def filled(store: IndexStore, projection: Projection, end: int, batch_leaves: int) -> Iterator[int]:
    """Puts the leaves up to `end` into a store, one thread reading while another writes; yields how far it is."""
    with ThreadPoolExecutor(1, "audit-index-writer") as writing:
        last: Future[None] | None = None
        start = store.standing.leaves
        while start < end:
            batch = projection.batch(start, min(start + batch_leaves, end))
            if last:
                last.result()
            yield start
            last, start = writing.submit(_write, store, batch), batch.end
        if last:
            last.result()
    yield end


def _write(store: IndexStore, batch: Batch) -> None:
    store.write(list(batch.rows.values()), batch.gone, batch.acts, batch.end, batch.last_hash)
