"""What a witness remembers of each log, on disk: its key, the newest checkpoint that was cosigned, what was refused."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from strongroom.verify import Checkpoint, LogKey, Malformed, open_note, parse_vkey

from chassis.start import CannotStart
from services.witness.durable import create_durably, make_folder, replace_durably
from services.witness.submission import checkpoint_in

LOGS, COSIGNED, REFUSED, LOCK = "logs", "cosigned", "refused", "lock"
MAX_NOTE_BYTES = 128 * 1024
MAX_REFUSED = 256  # files; more evidence of the same says nothing new


def origin_hash(origin: str) -> str:
    return sha256(origin.encode()).hexdigest()


def add_logs(folder: Path, vkeys: Iterable[str]) -> None:
    """Beside those that the folder's witness knows already."""
    known = _lines(folder / LOGS)
    new = [vkey for vkey in dict.fromkeys(vkeys) if vkey not in known]
    _parsed([*known, *new], folder / LOGS)
    if new:
        replace_durably(folder / LOGS, "".join(f"{line}\n" for line in [*known, *new]).encode())


class Memory:
    """Owned by one process, by a lock on its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for each in (folder, folder / COSIGNED, folder / REFUSED):
            make_folder(each)
        self._lock = _locked(folder / LOCK)
        self.logs = _parsed(_lines(folder / LOGS), folder / LOGS)
        self._origins = {origin_hash(origin): origin for origin in self.logs}
        self._newest = {origin: newest for origin, key in self.logs.items() if (newest := self._read(key))}

    def newest(self, origin: str) -> Checkpoint | None:
        """None if no checkpoint of this log was ever cosigned."""
        return self._newest.get(origin)

    def note(self, hashed_origin: str) -> str | None:
        """The newest checkpoint with its cosignature."""
        if self._origins.get(hashed_origin) not in self._newest:
            return None
        return (self._folder / COSIGNED / hashed_origin).read_text(encoding="utf-8")

    def replace(self, checkpoint: Checkpoint, note: str) -> None:
        """Durable when it returns: only then may the cosignature leave."""
        replace_durably(self._folder / COSIGNED / origin_hash(checkpoint.origin), note.encode())
        self._newest[checkpoint.origin] = checkpoint

    def keep_refused(self, checkpoint: Checkpoint, note: str) -> None:
        """What the log signed and does not continue what it signed before: two such notes convict it."""
        kept = self._folder / REFUSED
        if len(os.listdir(kept)) < MAX_REFUSED:
            name = f"{origin_hash(checkpoint.origin)[:16]}-{checkpoint.size}-{checkpoint.root.hex()[:16]}"
            with suppress(FileExistsError):
                create_durably(kept / name, note.encode())

    def close(self) -> None:
        os.close(self._lock)

    def _read(self, key: LogKey) -> Checkpoint | None:
        path = self._folder / COSIGNED / origin_hash(key.name)
        try:
            with open(path, "rb") as file:
                return checkpoint_in(open_note(file.read(MAX_NOTE_BYTES).decode(), key))
        except FileNotFoundError:
            return None
        except (Malformed, UnicodeDecodeError):
            raise CannotStart(
                f"{path} is no checkpoint of {key.name}, though this witness cosigned one: without it, or with an "
                "older one, it would cosign a log that was rewritten. Begin a new witness, with a new key, elsewhere"
            ) from None


def _parsed(lines: Iterable[str], path: Path) -> dict[str, LogKey]:
    """By origin."""
    logs: dict[str, LogKey] = {}
    for line in lines:
        if not line or line.startswith("#"):
            continue
        try:
            key = parse_vkey(line)
        except Malformed as malformed:
            raise CannotStart(f"{path}: {line[:80]!r} is not a log's public key: {malformed}") from None
        if logs.setdefault(key.name, key) != key:
            raise CannotStart(f"{path} has two keys of {key.name}: a log is one key's for life")
    return logs


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        raise CannotStart(f"{path} is not UTF-8: one public key of a log a line") from None


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise CannotStart(f"a witness runs on {path.parent} already: stop it, or name another folder") from None
    return descriptor
