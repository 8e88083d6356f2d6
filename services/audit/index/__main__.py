"""Writes audit's index: `python -m services.audit.index`, started by audit, which is behind its standard input."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

from chassis.logs import log_as_json
from services.audit.index.asking import AskedKeys, AskedProvider, Asking
from services.audit.index.channel import Channel, Gone, Message, Start
from services.audit.index.covered import PublishedLeaves
from services.audit.index.database import IndexDamaged, TooSlow
from services.audit.index.files import IndexFile, IndexFolder
from services.audit.index.follower import Follower
from services.audit.index.priority import GivingWay
from services.audit.journal.reading import JournalReader
from services.audit.journal.room import free_bytes
from services.audit.log.note import parse_vkey
from services.audit.publishing import CHECKPOINT

log = logging.getLogger(__name__)

TELL_SECONDS = 0.5  # between what is said of how far it is
PATIENCE_SECONDS = 2.0  # for what is being written when it has to end: audit itself has 8
READ_SECONDS = 5.0  # until audit reads a new file, before the old one is removed


class Process:
    """Receives on its main thread; every command that takes time has a thread of its own, which tells of it."""

    def __init__(self, channel: Channel, start: Start) -> None:
        self._channel, self._asking, self._workers = channel, Asking(channel), GivingWay()
        self._start, self._read = start, threading.Event()
        self._follower: Follower | None = None
        self._ready = threading.Event()

    def run(self) -> None:
        """Until audit ends, or wants this to end."""
        self._thread(self._open, "index-open")
        try:
            while True:
                if message := self._channel.receive():
                    self._take(message)
        except Gone:
            self._asking.end()

    def close(self) -> None:
        if self._follower:
            self._follower.close()

    def _take(self, message: Message) -> None:
        if "answer" in message:
            self._asking.answered(message)
        elif "hurry" in message:
            self._workers.hurry(message["hurry"])
        elif "reading" in message:
            self._read.set()
        else:
            self._thread(partial(self._answer, message), "index-answer")

    def _thread(self, work: Callable[[], None], name: str) -> None:
        """What fails there ends the process, and audit starts another."""

        def run() -> None:
            try:
                work()
            except Gone:
                pass  # the main thread finds that too
            except Exception:
                log.exception("the index cannot be opened, or told of")
                os._exit(1)

        threading.Thread(target=run, daemon=True, name=name).start()

    def _open(self) -> None:
        """The lock: one process writes the index, also while one that lost its audit has not ended yet."""
        folder = IndexFolder(Path(self._start["index"]), AskedProvider(self._asking))
        lock = os.open(folder.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        vkey = self._start["vkey"]
        self._follower = Follower(
            JournalReader(Path(self._start["journal"]), parse_vkey(vkey).name),
            AskedKeys(self._asking),
            folder,
            PublishedLeaves(Path(self._start["tlog"]) / CHECKPOINT, vkey),
            room=lambda size: free_bytes(folder.path) - size > self._start["kept_free_bytes"],
            workers=self._workers,
            adopted=self._adopted,
        )
        self._follower.start()
        self._ready.set()
        self._thread(self._tell, "index-telling")

    def _adopted(self, file: IndexFile) -> None:
        """Audit reads that file from now on, or at least had time to."""
        self._read.clear()
        self._say(file.path.name)
        self._read.wait(READ_SECONDS)

    def _tell(self) -> None:
        follower, said = self._opened(), None
        while True:
            standing = follower.store.file.path.name, follower.leaves, follower.unreadable
            if standing != said:
                self._say(standing[0])
                said = standing
            time.sleep(TELL_SECONDS)

    def _say(self, file: str) -> None:
        follower = self._opened()
        self._channel.send({"file": file, "leaves": follower.leaves, "unreadable": follower.unreadable})

    def _opened(self) -> Follower:
        self._ready.wait()
        assert self._follower
        return self._follower

    def _answer(self, message: Message) -> None:
        number, work = message["do"], {"rebuild": self._rebuild, "check": self._check, "forget": self._forget}
        failed = ""
        try:
            for state in work[message["what"]](self._opened(), message):
                self._channel.send({"of": number, "state": state})
        except Gone:
            raise
        except (IndexDamaged, TooSlow) as problem:
            failed = type(problem).__name__
        except Exception:
            log.exception("the index could not %s", message["what"])
            failed = "Exception"
        self._channel.send({"of": number, "ended": True, "failed": failed})

    def _rebuild(self, follower: Follower, message: Message) -> Iterator[dict[str, Any]]:
        rebuild = follower.rebuild()
        while not rebuild.finished:
            yield {"total": rebuild.total, "done": rebuild.done}
            rebuild.wait(1.0)
        yield {"total": rebuild.total, "done": rebuild.done, "failed": rebuild.failed}

    def _check(self, follower: Follower, message: Message) -> Iterator[dict[str, Any]]:
        return (vars(check) for check in follower.check())

    def _forget(self, follower: Follower, message: Message) -> Iterator[dict[str, Any]]:
        follower.forget(message["key_ids"]).result()
        return iter(())


def main() -> None:
    log_as_json("audit-index")
    gc.freeze()
    channel = Channel(os.dup(0))
    try:
        start = cast(Start, channel.receive())
    except Gone:
        return
    process = Process(channel, start)
    process.run()
    # Threads that wait for audit, or work when nothing else does, must not keep this alive for long.
    threading.Timer(PATIENCE_SECONDS, partial(os._exit, 1)).start()
    process.close()
    os._exit(0)


if __name__ == "__main__":
    main()
