"""How far the log is published, as whoever only reads its folder sees it."""

from __future__ import annotations

import logging
from pathlib import Path

from services.audit.log.note import NoteInvalid, open_checkpoint, parse_vkey

log = logging.getLogger(__name__)


class PublishedLeaves:
    """Of the checkpoint file, its signature checked when it is another than before."""

    def __init__(self, checkpoint: Path, vkey: str) -> None:
        self._path, self._verifier = checkpoint, parse_vkey(vkey)
        self._note, self._size = "", 0

    def __call__(self) -> int:
        try:
            note = self._path.read_text(encoding="utf-8")
        except OSError:  # none was published yet
            return self._size
        if note != self._note:
            self._note, self._size = note, self._checked(note)
        return self._size

    def _checked(self, note: str) -> int:
        try:
            return max(self._size, open_checkpoint(note, self._verifier).size)
        except NoteInvalid:
            log.error("the published checkpoint is not signed by the log: the index stays where it is")
            return self._size
