"""An index file: SQLite with every page encrypted, its log and journal files too, and nothing temporary on a disk."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, LifoQueue

import apsw

# Each page is sealed by AEGIS-256 under a key of its file, so an altered page is an error and never a wrong answer.
CIPHER = "aegis"
PAGE_BYTES = 8192
_FULL_TEXT_PAGE_BYTES = 8000  # has to fit a page less 32 bytes of the cipher's
_HASH_BYTES = 32 * 1024 * 1024  # words gathered in memory before they are written as one segment
_WRITER_CACHE_KIB, _READER_CACHE_KIB = 32 * 1024, 8 * 1024
_READERS = 4
_STEPS_BETWEEN_LOOKS = 20_000  # virtual machine instructions: a fraction of a millisecond

_SCHEMA = f"""
CREATE TABLE about (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE records (
  leaf INTEGER PRIMARY KEY, location INTEGER NOT NULL, last_leaf INTEGER NOT NULL, record_id TEXT NOT NULL,
  key_id TEXT NOT NULL,
  time_ms INTEGER NOT NULL, order_ms INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, tenant TEXT NOT NULL,
  caller TEXT NOT NULL, subject TEXT NOT NULL, model TEXT NOT NULL, trace_id TEXT NOT NULL,
  input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, digest BLOB NOT NULL
);
CREATE INDEX records_by_id ON records (record_id);
CREATE INDEX records_by_key ON records (key_id);
CREATE TABLE tenants (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE acts (
  leaf INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, service TEXT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
  target TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE INDEX acts_by_target ON acts (target, leaf);
CREATE VIRTUAL TABLE texts USING fts5 (words, facets, content='', contentless_delete=1, tokenize='ascii');
INSERT INTO texts (texts, rank) VALUES ('pgsz', {_FULL_TEXT_PAGE_BYTES});
INSERT INTO texts (texts, rank) VALUES ('hashsize', {_HASH_BYTES});
"""


class IndexDamaged(Exception):
    """The file is not one of ours, or a page of it was altered: it is made again from the journal."""


class TooSlow(Exception):
    """A search took longer than one may: fewer records have to be looked at."""


def create(path: Path, key: bytes) -> apsw.Connection:
    # SQLite gives its log files the mode of the file.
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    writer = _opened(path, key, apsw.SQLITE_OPEN_READWRITE, _WRITER_CACHE_KIB)
    writer.execute(f"PRAGMA page_size={PAGE_BYTES}")
    _set_up(writer)
    with writer:
        writer.execute(_SCHEMA)
    return writer


def open_writer(path: Path, key: bytes) -> apsw.Connection:
    writer = _opened(path, key, apsw.SQLITE_OPEN_READWRITE, _WRITER_CACHE_KIB)
    _set_up(writer)
    return writer


def _set_up(writer: apsw.Connection) -> None:
    """NORMAL: a power cut may undo the last transactions, never tear one; the journal has them. Deleted rows are
    overwritten."""
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("PRAGMA synchronous=NORMAL")
    writer.execute("PRAGMA secure_delete=ON")


def _opened(path: Path, key: bytes, flags: int, cache_kib: int) -> apsw.Connection:
    try:
        connection = apsw.Connection(str(path), flags=flags)
        connection.pragma("cipher", CIPHER)
        connection.pragma("key", f"raw:{key.hex()}")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute(f"PRAGMA cache_size=-{cache_kib}")
        connection.execute("SELECT count(*) FROM sqlite_schema")  # reads the first page, and so tries the key
    except apsw.Error:
        raise IndexDamaged(f"{path.name} does not open") from None
    connection.set_busy_timeout(5_000)
    return connection


class Readers:
    """Connections that only read, a few, each used by one thread at a time."""

    def __init__(self, path: Path, key: bytes, longest_seconds: float) -> None:
        self._path, self._key, self._longest = path, key, longest_seconds
        self._idle: LifoQueue[apsw.Connection | None] = LifoQueue()
        for _ in range(_READERS):
            self._idle.put(None)  # opened when it is first needed

    @contextmanager
    def one(self) -> Iterator[apsw.Connection]:
        """Raises TooSlow where none becomes free, or what is asked of it does not end, in time."""
        until = time.monotonic() + self._longest
        try:
            connection = self._idle.get(timeout=self._longest)
        except Empty:
            raise TooSlow from None
        try:
            if connection is None:
                connection = _opened(self._path, self._key, apsw.SQLITE_OPEN_READONLY, _READER_CACHE_KIB)
            connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS_BETWEEN_LOOKS)
            yield connection
        except apsw.InterruptError:
            raise TooSlow from None
        except (apsw.CorruptError, apsw.NotADBError, apsw.IOError):
            raise IndexDamaged(f"a page of {self._path.name} does not open") from None
        finally:
            self._idle.put(connection)

    def close(self) -> None:
        """Those that nobody uses now; the others end with whoever uses them."""
        while True:
            try:
                connection = self._idle.get_nowait()
            except Empty:
                return
            if connection is not None:
                connection.close()
