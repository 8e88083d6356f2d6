"""The process that writes the index, as audit has it: started, given keys, asked; and what it wrote, read.

It belongs to audit, and ends when the socket between them closes, so also when audit is killed.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any

import apsw

from services.audit.index.channel import Channel, Gone, Message, Start, bytes_of, text_of
from services.audit.index.checking import Check
from services.audit.index.database import IndexDamaged, TooSlow
from services.audit.index.files import PURPOSES_BEGIN, IndexFolder
from services.audit.index.lag import Lag
from services.audit.index.rebuild import Rebuild
from services.audit.index.store import IndexStore
from services.audit.records.open_records import Span
from services.audit.sealing.keytree import KeyTree
from services.audit.sealing.provider import KeyUnusable

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "services.audit.index")
GIVES_WAY_SECONDS = 300.0
_LOOK_SECONDS = 1.0  # between looks at how far behind it is
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0  # before another one is started
_LIVED_SECONDS = 60.0  # after which the pauses begin anew
_END_SECONDS = 3.0  # to write what it has in hand; then it is killed, which harms no more than a power cut
THERE_SECONDS = 5.0  # how long who comes early waits for the first file, or for the process
_FORGET_SECONDS = 60.0


class IndexAway(Exception):
    """There is no index yet, or the process that writes it does not answer."""


class IndexProcess:
    """`published`: how many leaves of the log are. Behind by more than `gives_way_seconds`, it no longer gives way."""

    def __init__(
        self,
        start: Start,
        folder: IndexFolder,
        keys: KeyTree,
        published: Callable[[], int],
        *,
        gives_way_seconds: float = GIVES_WAY_SECONDS,
        there_seconds: float = THERE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start, self._folder, self._keys, self._published = start, folder, keys, published
        self._gives_way, self._wait_there, self._lag = gives_way_seconds, there_seconds, Lag(monotonic)
        self._store: IndexStore | None = None
        self.leaves, self.unreadable, self.lag_seconds, self.restarts = 0, 0, 0.0, 0
        self._there = threading.Event()  # a first file is read
        self._channel: Channel | None = None
        self._connected = threading.Condition()  # of `_channel` and `_running`
        self._running: dict[int, SimpleQueue[Message]] = {}
        self._numbers, self._hurried = count(), False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-index")
        self._read_current()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends with what is being written; the rest is caught up with at the next start."""
        self._stopping.set()
        with self._connected:
            if self._channel:
                self._channel.hang_up()
        if self._thread.is_alive():
            self._thread.join()
        if self._store:
            self._store.close()

    # --- any thread's -----------------------------------------------------------------------------------------------

    @property
    def store(self) -> IndexStore:
        """Raises IndexAway where the first file is not there yet."""
        if not self._there.wait(self._wait_there):
            raise IndexAway
        assert self._store
        return self._store

    def span(self, record_id: str) -> tuple[Span | None, int]:
        """The record's leaves as far as the index knows them, and how far it has come."""
        store, leaves = self._store, self.leaves
        return store.known_span(record_id, leaves) if store else (None, 0)

    def rebuild(self) -> Rebuild:
        """Asks for one, or joins the one that runs."""
        rebuild = Rebuild(self._published())
        threading.Thread(target=self._follow, args=(rebuild,), daemon=True, name="audit-index-rebuild").start()
        return rebuild

    def _follow(self, rebuild: Rebuild) -> None:
        rebuild.failed = True
        try:
            for state in self._do("rebuild"):
                rebuild.total, rebuild.done = state["total"], state["done"]
                rebuild.failed = state.get("failed", True)
        except (IndexAway, IndexDamaged, TooSlow):
            log.error("the process that writes the index ended before it had made it again")
        finally:
            rebuild.finish()

    def check(self) -> Iterator[Check]:
        """Compares every row with the journal; yields how far it is, the last one being the result."""
        return (Check(**state) for state in self._do("check"))

    def forget(self, key_ids: Collection[str]) -> None:
        """Returns once no row of a record under these keys, which were destroyed, is in the index or comes into it."""
        for _ in self._do("forget", _FORGET_SECONDS, key_ids=list(key_ids)):
            pass

    def _do(self, what: str, seconds: float | None = None, **more: Any) -> Iterator[Any]:
        """What the process says while it does that. Each state within so many seconds, else IndexAway."""
        number, said = next(self._numbers), SimpleQueue[Message]()
        with self._connected:
            if not self._connected.wait_for(lambda: self._channel, self._wait_there):
                raise IndexAway
            assert self._channel
            self._running[number] = said
            self._send(self._channel, {"do": number, "what": what, **more})
        try:
            while not (message := said.get(timeout=seconds)).get("ended"):
                yield message["state"]
        except Empty:
            raise IndexAway from None
        finally:
            self._running.pop(number, None)
        if message["failed"]:
            raise {"IndexDamaged": IndexDamaged, "TooSlow": TooSlow}.get(message["failed"], IndexAway)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._one_process()
            except Exception:  # no memory for another process, or a bug: tried again, and the lag shows meanwhile
                log.exception("the process that writes the index cannot be started")
            if time.monotonic() - began > _LIVED_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            if not self._stopping.is_set():
                log.error("the process that writes the index ended: another one is started in %.0f s", pause)
                self.restarts += 1
                self._wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping.wait(min(left, _LOOK_SECONDS)):
            self._look()

    def _one_process(self) -> None:
        """A session of its own: the kernel then weighs it by itself, and what a terminal sends audit passes it by."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(COMMAND, stdin=theirs.fileno(), start_new_session=True)
        channel = Channel(ours.detach())
        try:
            self._serve(channel)
        except Gone:
            pass
        finally:
            with self._connected:
                self._channel = None
                running = list(self._running.values())
            for said in running:
                said.put({"ended": True, "failed": "Gone"})
            channel.close()
            _ended(process)

    def _serve(self, channel: Channel) -> None:
        channel.send(self._start)
        with self._connected:
            self._channel, self._hurried = channel, False
            self._connected.notify_all()
        looked = 0.0
        while not self._stopping.is_set():
            if message := channel.receive(_LOOK_SECONDS):
                self._take(channel, message)
            if time.monotonic() - looked >= _LOOK_SECONDS:
                looked = time.monotonic()
                self._look()
                self._hurry(channel)

    def _look(self) -> None:
        self.lag_seconds = self._lag.seconds(self._published(), self.leaves)

    def _hurry(self, channel: Channel) -> None:
        """Somebody waits, or it has given way for too long, and then until it has caught up."""
        least = 0.0 if self._hurried else self._gives_way
        hurried = bool(self._running) or self.lag_seconds > least
        if hurried != self._hurried:
            channel.send({"hurry": hurried})
            self._hurried = hurried

    def _take(self, channel: Channel, message: Message) -> None:
        if "ask" in message:
            channel.send({"answer": message["ask"], **self._answer(message)})
        elif "file" in message:
            if self._store is None or self._store.file.path.name != message["file"]:
                self._read_current()
            self.leaves, self.unreadable = message["leaves"], message["unreadable"]
            channel.send({"reading": message["file"]})
        elif said := self._running.get(message["of"]):
            said.put(message)

    def _answer(self, question: Message) -> Message:
        if "keys" in question:
            return {"keys": {key_id: text_of(key) for key_id in question["keys"] if (key := self._key(key_id))}}
        purpose, root = str(question["purpose"]), self._keys.root
        try:
            if not purpose.startswith(PURPOSES_BEGIN):
                raise KeyUnusable(f"{purpose} is no purpose of the index")
            if "wrap" in question:
                return {"key": text_of(root.wrap(bytes_of(question["wrap"]), purpose))}
            return {"key": text_of(root.unwrap(bytes_of(question["unwrap"]), purpose))}
        except KeyUnusable:
            log.error("the key of %s was asked for and cannot be given", purpose)
            return {"key": None}

    def _key(self, key_id: str) -> bytes | None:
        try:
            return self._keys.by_id(key_id).key
        except KeyUnusable:
            return None

    def _read_current(self) -> None:
        file = self._folder.current()
        if file is None:
            return
        try:
            store = IndexStore(file)
            self.leaves = store.standing().leaves
        except (IndexDamaged, TooSlow, apsw.Error, TypeError):
            return  # the process finds that too, and makes another
        old, self._store = self._store, store
        self._there.set()
        if old:
            old.close()

    def _send(self, channel: Channel, message: Message) -> None:
        try:
            channel.send(message)
        except Gone:
            raise IndexAway from None


def _ended(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
