"""The index's folder: one file that counts, and its keys, wrapped. A file whose keys are gone can never be read."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from services.audit.journal.journal import open_directory
from services.audit.journal.segment import fsync_directory
from services.audit.publishing import write_atomically
from services.audit.sealing.provider import KEY_BYTES, KeyProvider, KeyUnusable

FORMAT = 2  # of rows, words and facets; another one is made again from the journal
CURRENT, SUFFIX = "current.json", ".db"
PURPOSES_BEGIN = "index/"
_PURPOSES = ("pages", "identifiers")


@dataclass(frozen=True)
class IndexFile:
    """`pages` encrypts the file; `identifiers` is the secret of the keyed hashes in it."""

    path: Path
    pages: bytes
    identifiers: bytes


class IndexFolder:
    def __init__(self, folder: Path, provider: KeyProvider, random: Callable[[int], bytes] = os.urandom) -> None:
        self.path, self._provider, self._random = folder, provider, random
        open_directory(folder)

    def current(self) -> IndexFile | None:
        """None where there is none of this format that these keys open."""
        try:
            told = json.loads((self.path / CURRENT).read_bytes())
            if told["format"] != FORMAT:
                return None
            path = self.path / str(told["file"])
            keys = [self._provider.unwrap(base64.b64decode(told[what]), _purpose(path, what)) for what in _PURPOSES]
        except (OSError, ValueError, KeyError, TypeError, KeyUnusable):
            return None
        return IndexFile(path, *keys) if path.parent == self.path and path.is_file() else None

    def new(self) -> IndexFile:
        """Another file, with keys of its own; it counts once it is `adopted`."""
        path = self.path / (self._random(8).hex() + SUFFIX)
        return IndexFile(path, self._random(KEY_BYTES), self._random(KEY_BYTES))

    def adopt(self, file: IndexFile) -> None:
        """From here on this file counts; the keys of the one before are gone with its name."""
        wrapped = {
            what: base64.b64encode(self._provider.wrap(key, _purpose(file.path, what))).decode()
            for what, key in zip(_PURPOSES, (file.pages, file.identifiers), strict=True)
        }
        told = {"format": FORMAT, "file": file.path.name, **wrapped}
        write_atomically(self.path / CURRENT, json.dumps(told, indent=1).encode() + b"\n")

    def clear(self, kept: IndexFile | None) -> None:
        """Removes every index file but one: what a rebuild left, also one that was killed."""
        for path in self.path.iterdir():
            name = path.name.split(SUFFIX)[0] + SUFFIX
            if SUFFIX in path.name and (kept is None or name != kept.path.name):
                with suppress(FileNotFoundError):
                    path.unlink()
        fsync_directory(self.path)


def _purpose(path: Path, what: str) -> str:
    return f"{PURPOSES_BEGIN}{path.name}/{what}"
