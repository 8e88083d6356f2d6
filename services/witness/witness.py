"""Decides what is cosigned (c2sp.org/tlog-witness, add-checkpoint): only what continues what was cosigned before."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable

from strongroom.consistency import check_consistency
from strongroom.verify import Checkpoint, LogKey, Malformed, open_note, parts_of, tree_root

from services.witness.key import CosigningKey
from services.witness.memory import Memory
from services.witness.submission import Submission, parse_submission

NOTHING = tree_root([])
MALFORMED, UNTRUSTED, UNKNOWN, CONFLICT, INCONSISTENT = 400, 403, 404, 409, 422


class Refused(Exception):
    """A checkpoint is not cosigned. `status` is HTTP's; `size` of what was cosigned last goes with a conflict."""

    def __init__(self, status: int, why: str, size: int = 0) -> None:
        super().__init__(why)
        self.status, self.size = status, size


class Witness:
    def __init__(self, key: CosigningKey, memory: Memory, clock: Callable[[], float]) -> None:
        self._key, self._memory, self._clock = key, memory, clock
        self._lock = threading.Lock()

    def add_checkpoint(self, body: bytes) -> str:
        """The cosignature, once it can no longer be forgotten. Or Refused. From any thread."""
        submitted = _parsed(body)
        key = self._memory.logs.get(submitted.checkpoint.origin)
        if key is None:
            raise Refused(UNKNOWN, "this witness does not know the log")
        try:
            text = open_note(submitted.note, key)
        except Malformed as malformed:
            raise Refused(UNTRUSTED, str(malformed)) from None
        if submitted.old > submitted.checkpoint.size:
            raise Refused(MALFORMED, "the old size is larger than the checkpoint's")
        with self._lock:  # what is compared with is what is replaced
            self._check(submitted)
            cosignature = self._key.cosignature(text, int(self._clock()))
            note = f"{text}\n{_signatures_by(key, submitted.note)}{cosignature}"
            self._memory.replace(submitted.checkpoint, note)
            return cosignature

    def _check(self, submitted: Submission) -> None:
        checkpoint = submitted.checkpoint
        newest = self._memory.newest(checkpoint.origin) or Checkpoint(checkpoint.origin, 0, NOTHING)
        if submitted.old != newest.size:
            raise Refused(CONFLICT, "the old size is not that of what was cosigned last", newest.size)
        try:
            if checkpoint.size == 0 and checkpoint.root != NOTHING:
                raise Malformed("a log of no entries has the root of no entries")
            check_consistency(newest, checkpoint, submitted.proof)
        except Malformed as malformed:
            self._memory.keep_refused(checkpoint, submitted.note)
            raise Refused(INCONSISTENT, str(malformed)) from None


def _parsed(body: bytes) -> Submission:
    try:
        return parse_submission(body)
    except Malformed as malformed:
        raise Refused(MALFORMED, str(malformed)) from None


def _signatures_by(key: LogKey, note: str) -> str:
    """What others put under the note is theirs to answer for."""
    return "".join(
        f"— {name} {base64.b64encode(key_id + signature).decode()}\n"
        for name, key_id, signature in parts_of(note)[1]
        if (name, key_id) == (key.name, key.key_id)
    )
