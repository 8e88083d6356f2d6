"""The newest checkpoint of a log that a caller saw: whatever the log signs later has to continue it."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strongroom.consistency import check_consistency
from strongroom.failures import CallFailed
from strongroom.verify import Checkpoint, LogKey, Malformed, open_checkpoint, parse_vkey

LOG_SHORTER = "LOG_SHORTER"  # reason of a failure: the log holds less than it signed before


class LogRewritten(Exception):
    """The log does not continue what it signed before. Keep both checkpoints: they are the proof."""


@dataclass(frozen=True)
class Link:
    """Two checkpoints of one log: the newer has to begin with the older."""

    old: Checkpoint
    new: Checkpoint

    def check(self, proof: Sequence[bytes]) -> None:
        try:
            check_consistency(self.old, self.new, proof)
        except Malformed as malformed:
            raise self._rewritten(str(malformed)) from None

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Around the call that asks for the proof: a log that is too short to give one was cut back."""
        try:
            yield
        except CallFailed as failure:
            if failure.reason == LOG_SHORTER:
                raise self._rewritten("it holds fewer entries by now than it signed") from None
            raise

    def _rewritten(self, why: str) -> LogRewritten:
        return LogRewritten(
            f"the log {self.new.origin} signed {self.old.size} and {self.new.size} entries, and the second does not "
            f"continue the first: {why}"
        )


class KnownCheckpoints:
    """Of one log, whose key is known; in memory, and in a folder if there is one. For as many threads as like."""

    def __init__(self, log_key: str, folder: Path | None = None) -> None:
        self._key: LogKey = parse_vkey(log_key)
        self._path = folder / hashlib.sha256(self._key.name.encode()).hexdigest() if folder else None
        self._lock = threading.Lock()
        self._note = ""  # kept: whatever came before it has been proved
        self._seen = ""  # in answers since; the newest of them

    def saw(self, receipt: Mapping[str, Any]) -> None:
        """An answer's, which nobody proves now. What is none of this log's is for verify_receipt to refuse."""
        with suppress(Malformed), self._lock:
            note = _note_of(receipt)
            if self._size(note) > self._size(self._seen):
                self._seen = note

    def links(self, receipt: Mapping[str, Any]) -> list[Link]:
        """What has to be proved before this receipt's checkpoint may be kept; each link by itself."""
        new = self._opened(_note_of(receipt))
        with self._lock:
            notes = [note for note in (self._kept(), self._seen) if note]
        ordered = [sorted((self._opened(note), new), key=lambda each: each.size) for note in notes]
        links = [Link(old, newer) for old, newer in ordered if old != newer]
        for link in links:
            if link.old.size == link.new.size:
                link.check([])
        return links

    def keep(self, receipt: Mapping[str, Any]) -> None:
        """The newest of all that was seen: the links of this receipt have been checked."""
        with self._lock:
            newest = max((self._kept(), self._seen, _note_of(receipt)), key=self._size)
            self._note, self._seen = newest, ""
            if self._path:
                _replace(self._path, newest)

    @property
    def newest(self) -> str:
        """The note that is kept; empty before the first."""
        with self._lock:
            return self._kept()

    def _kept(self) -> str:
        if self._path and self._path.exists():
            self._note = self._path.read_text(encoding="utf-8")
        return self._note

    def _size(self, note: str) -> int:
        return self._opened(note).size if note else -1

    def _opened(self, note: str) -> Checkpoint:
        return open_checkpoint(note, self._key)


def _note_of(receipt: Mapping[str, Any]) -> str:
    proof = receipt.get("tlog_proof")
    if not isinstance(proof, str):
        raise Malformed("the receipt has no checkpoint")
    return proof.partition("\n\n")[2]


def _replace(path: Path, note: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    whole = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with open(whole, "w", encoding="utf-8") as file:
        file.write(note)
        file.flush()
        os.fsync(file.fileno())
    whole.replace(path)
