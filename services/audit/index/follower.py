"""Writes the index behind the log, and alone writes it: no append waits for it. A lost index is made again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress

import apsw

from services.audit.index.checking import Check, checked
from services.audit.index.database import IndexDamaged
from services.audit.index.files import IndexFile, IndexFolder
from services.audit.index.identifiers import BlindKeys
from services.audit.index.priority import Workers
from services.audit.index.projection import Projection
from services.audit.index.rebuild import Rebuild
from services.audit.index.record_keys import RecordKeys, lost
from services.audit.index.rows import BEGINNING, Place
from services.audit.index.store import IndexStore
from services.audit.index.writing import IndexWriter
from services.audit.journal.reading import JournalReader
from services.audit.log.merkle import leaf_hash
from services.audit.records.open_records import Span
from services.audit.sealing.payload import forget_keys

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2  # between looks for what is new
BATCH_ROOM_BYTES = 64 * 1024 * 1024  # more than a batch takes, SQLite's log included
RETRY_SECONDS = 5.0  # after a failure, such as a full disk
_DAMAGED = (IndexDamaged, apsw.CorruptError, apsw.NotADBError)
BATCH_LEAVES = 2_000  # a transaction's: about what a second brings at a thousand requests
_KEYS_AT_ONCE = 2_000


class _Stopping(Exception):
    """The rebuild is given up."""


class _NoRoom(Exception):
    """The disk has no room for a second index beside the first."""


class Follower:
    """`covered` says how many leaves are published: what is signed and on the disk is followed, nothing else."""

    def __init__(
        self,
        journal: JournalReader,
        keys: RecordKeys,
        folder: IndexFolder,
        covered: Callable[[], int],
        *,
        room: Callable[[int], bool] = lambda size: True,
        workers: Workers | None = None,
        adopted: Callable[[IndexFile], None] = lambda file: None,
        batch_leaves: int = BATCH_LEAVES,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """`room`: whether the index may take so many bytes more of the disk, which is the journal's first. `adopted`
        is told of the file that counts from now on; the one before is removed when it returns."""
        self._journal, self._keys, self._folder, self._covered = journal, keys, folder, covered
        self._room, self._adopted = room, adopted
        self._workers = workers or ThreadPoolExecutor(2, "audit-index-worker")
        self._batch, self._look = batch_leaves, look_seconds
        journal.look()
        self._writer = self._open()
        self.store = IndexStore(self._writer.file)
        self._projection: Projection | None = None
        self._asked: Rebuild | None = None
        self._to_forget: list[tuple[Collection[str], Future[None]]] = []
        self._lock = threading.Lock()  # of `_asked` and `_to_forget`
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="audit-index")
        self.unreadable = 0
        if self._writer.standing.forgotten:
            self.rebuild()

    def _open(self) -> IndexWriter:
        """The file that is there, if it is a part of this log's index; else a new one, which counts at once."""
        file = self._folder.current()
        try:
            if file and self._belongs(writer := IndexWriter(file)):
                self._folder.clear(file)
                return writer
        except (IndexDamaged, apsw.Error, TypeError):
            log.error("the index cannot be used: it is made again")
        writer = IndexWriter(self._folder.new(), new=True)
        self._folder.adopt(writer.file)
        self._folder.clear(writer.file)
        return writer

    def _belongs(self, writer: IndexWriter) -> bool:
        standing = writer.standing
        try:
            last = self._journal.entry(standing.location) if standing.leaves else None
        except IndexError:
            last = None
        if not standing.leaves or (last and leaf_hash(last.leaf) == standing.last_hash):
            return True
        writer.close()
        log.error("the index is another log's: it is made again")
        return False

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends after what is being written; the rest is caught up with at the next start."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        if isinstance(self._workers, ThreadPoolExecutor):
            self._workers.shutdown()
        self.store.close()
        self._writer.close()

    # --- any thread's -----------------------------------------------------------------------------------------------

    @property
    def leaves(self) -> int:
        """How many leaves of the log are in the index."""
        return self._writer.standing.leaves

    def span(self, record_id: str) -> tuple[Span | None, int]:
        """The record's leaves as far as the index knows them, and how far it has come."""
        return self.store.known_span(record_id, self.leaves)

    def rebuild(self) -> Rebuild:
        """Asks for one, or joins the one that runs."""
        with self._lock:
            if self._asked is None or self._asked.finished:
                self._asked = Rebuild(self._covered())
                self._wake.set()
            return self._asked

    def check(self) -> Iterator[Check]:
        """Compares every row with the journal; yields how far it is, the last one being the result."""
        journal = JournalReader(self._journal.directory, self._journal.origin)
        return checked(self.store, journal, self._keys)

    def forget(self, key_ids: Collection[str]) -> Future[None]:
        """Done once no row of a record under these keys, which were destroyed, is in the index or comes into it."""
        done: Future[None] = Future()
        with self._lock:
            self._to_forget.append((key_ids, done))
        self._wake.set()
        return done

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            pause = RETRY_SECONDS
            try:
                self._forget_erased()
                self._catch_up()
                pause = self._look
            except _DAMAGED:
                log.error("a page of the index does not open: it is made again")
                self.rebuild()
            except Exception:  # a full disk, or a bug: tried again, and the lag shows meanwhile
                log.exception("the index cannot be written")
            if self._asked and not self._asked.finished:
                self._rebuild(self._asked)
                if self._writer.standing.forgotten and not self._asked.failed:
                    self.rebuild()  # of what was erased while that one ran
            self._wake.wait(pause)
            self._wake.clear()

    def _catch_up(self) -> None:
        if self._projection is None:
            self._projection = self._resumed(self._writer)
        erased = False
        try:
            while self.leaves < (covered := self._covered()) and self._may_write:
                with closing(self._filled(self._writer, self._projection, covered)) as filling:
                    for erased in filling:
                        if erased or self._to_forget or not self._may_write:
                            break
                if erased:  # an act says so: whoever destroyed the keys may have ended before it could tell
                    self._forget(self._writer, self._lost_keys())
                if self._to_forget:
                    return
        except BaseException:
            self._projection = None  # what it knows of open records has gone on without the file
            raise

    def _resumed(self, writer: IndexWriter) -> Projection:
        standing, blind = writer.standing, BlindKeys(writer.file.identifiers)
        start = BEGINNING
        if standing.leaves:
            start = Place(standing.leaves, standing.location + self._journal.read(standing.location).size)
        return Projection(self._journal, self._keys, blind, start, writer.open_records())

    def _filled(self, writer: IndexWriter, projection: Projection, end: int) -> Generator[bool]:
        """Puts the leaves up to `end` into a file, one thread making a batch while another writes the one before.
        Yields, for each batch, whether it tells of keys that were destroyed. Whoever stops there, and closes this,
        leaves nothing half done: all that was read is written."""
        last: Future[None] | None = None
        try:
            while projection.leaf < end:
                batch = self._workers.submit(projection.batch, min(projection.leaf + self._batch, end)).result()
                self.unreadable += batch.unreadable
                if last:
                    last.result()
                last = self._workers.submit(writer.write, batch)
                yield batch.keys_destroyed
        finally:
            if last:
                last.result()

    def _lost_keys(self) -> list[str]:
        return [key_id for some in self._writer.key_ids(_KEYS_AT_ONCE) for key_id in lost(self._keys, some)]

    def _forget_erased(self, coming: IndexWriter | None = None) -> None:
        """What others asked for, also of the file that is `coming`. Nothing is read or written meanwhile, so none of it
        comes in behind this."""
        while self._to_forget:
            key_ids, done = self._to_forget[0]
            self._keys.forget(key_ids)
            forget_keys()
            if coming:
                coming.forget(key_ids)
            with suppress(*(_DAMAGED if coming else ())):  # the other takes its place
                self._forget(self._writer, key_ids)
            with self._lock:
                self._to_forget.pop(0)
            done.set_result(None)

    def _forget(self, writer: IndexWriter, key_ids: Collection[str]) -> None:
        """The rows at once; what is left of their words in the file goes with its keys, when it has been made again."""
        if rows := writer.forget(key_ids):
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
        if not self._room(self._writer.file.path.stat().st_size * 5 // 4):
            raise _NoRoom
        writer = IndexWriter(self._folder.new(), new=True)
        store = IndexStore(writer.file)
        try:
            projection = Projection(self._journal, self._keys, store.keys)
            while projection.leaf < asked.total:
                self._fill_anew(writer, projection, asked)
            writer.settle()
            self._folder.adopt(writer.file)
        except BaseException:
            store.close()
            writer.close()
            self._folder.clear(self._writer.file)
            raise
        old, old_store = self._writer, self.store
        self._writer, self.store, self._projection = writer, store, projection
        self._adopted(writer.file)
        self._folder.clear(writer.file)
        old_store.close()
        old.close()

    def _fill_anew(self, writer: IndexWriter, projection: Projection, asked: Rebuild) -> None:
        """As far as nobody asks for something to be forgotten: that is forgotten in both files, and this goes on."""
        with closing(self._filled(writer, projection, asked.total)) as filling:
            for _ in filling:
                asked.done = writer.standing.leaves
                if self._stopping:
                    raise _Stopping
                if self._to_forget:
                    break
        asked.done = writer.standing.leaves
        self._forget_erased(writer)
