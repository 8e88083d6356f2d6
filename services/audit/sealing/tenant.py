"""One tenant's keys: its own, wrapped by the provider, and those of its subjects, wrapped by its own."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.audit.journal.journal import open_directory
from services.audit.journal.segment import fsync_directory
from services.audit.sealing.key_files import (
    append_rows,
    b64,
    read_object,
    row,
    unb64,
    whole_rows,
    write_object,
    write_whole,
)
from services.audit.sealing.provider import KEY_BYTES, Root, unwrap, wrap, wrapped_by

TABLE, KEY_FILE = "subjects.jsonl", "tenant.json"
# What replaces them both. Once the second is there, whole, the change is done, and the next start finishes it.
NEXT_TABLE, NEXT_KEY_FILE = "subjects.next", "tenant.next"


@dataclass(frozen=True)
class SubjectKey:
    key_id: str  # random; the clear part names it, and it says nothing about the subject
    key: bytes
    pseudonym: str


class NewTable(NamedTuple):
    """A table under a new tenant key, on the disk and not in use."""

    version: int
    cipher: AESGCM
    key_file: dict[str, object]
    key_ids: frozenset[str]  # of its rows


class TenantKeys:
    """Changed by whoever commits; `flush` makes the changes durable. `new_table` and `rewrap` may run meanwhile."""

    def __init__(self, folder: Path, version: int, key: bytes) -> None:
        self.folder, self.version = folder, version
        self.subjects: dict[str, SubjectKey] = {}  # by key id, the oldest first
        self._cipher = AESGCM(key)
        self._key_unsaved: dict[str, object] | None = None  # the content of tenant.json, until it is written
        self._rows_unsaved: list[str] = []
        self._table_unsaved: NewTable | None = None

    @classmethod
    def new(cls, folder: Path, root: Root, key: bytes) -> TenantKeys:
        made = cls(folder, 1, key)
        made._key_unsaved = _key_file(root, folder.name, 1, key)
        return made

    @classmethod
    def load(cls, folder: Path, root: Root) -> TenantKeys | None:
        """None where a crash came between the folder and its key: no subject can be in it."""
        _finish(folder)
        if not (folder / KEY_FILE).exists():
            folder.rmdir()
            return None
        stored = read_object(folder / KEY_FILE)
        version = int(stored["version"])
        loaded = cls(folder, version, root.unwrapped(stored, _purpose(folder.name, version)))
        for each in whole_rows(folder / TABLE):
            key = unwrap(loaded._cipher, unb64(each["wrapped"]), loaded._subject_purpose(each["key_id"]))
            loaded.subjects[each["key_id"]] = SubjectKey(each["key_id"], key, each["subject"])
        return loaded

    @property
    def unsaved(self) -> bool:
        return bool(self._key_unsaved or self._rows_unsaved or self._table_unsaved)

    def add(self, subject: SubjectKey) -> None:
        self.subjects[subject.key_id] = subject
        self._rows_unsaved.append(self._row(self._cipher, subject))

    def _row(self, cipher: AESGCM, subject: SubjectKey) -> str:
        wrapped = wrap(cipher, subject.key, self._subject_purpose(subject.key_id))
        return row({"key_id": subject.key_id, "subject": subject.pseudonym, "wrapped": b64(wrapped)})

    def _subject_purpose(self, key_id: str) -> str:
        return f"subject/{self.folder.name}/{key_id}"

    # --- erasure ---------------------------------------------------------------------------------------------------

    def new_table(self, without: Collection[str], root: Root, random: Callable[[int], bytes]) -> NewTable:
        """As long as the table is, so not while anything waits to be committed; `replace` adds what has come since."""
        key, version = random(KEY_BYTES), self.version + 1
        cipher = AESGCM(key)
        kept = [subject for subject in list(self.subjects.values()) if subject.key_id not in without]
        write_whole(self.folder / NEXT_TABLE, "".join([self._row(cipher, each) for each in kept]).encode())
        key_file = _key_file(root, self.folder.name, version, key)
        return NewTable(version, cipher, key_file, frozenset(subject.key_id for subject in kept))

    def replace(self, table: NewTable, without: Collection[str]) -> None:
        for key_id in without:
            self.subjects.pop(key_id, None)
        self.version, self._cipher, self._table_unsaved = table.version, table.cipher, table

    def flush(self) -> None:
        """A tenant's key before those of its subjects; of a new table everything, and the old key is gone with it."""
        if self._key_unsaved is not None:
            open_directory(self.folder)
            write_object(self.folder / KEY_FILE, self._key_unsaved)
            self._key_unsaved = None
        if self._table_unsaved is not None:
            self._put_in_use(self._table_unsaved)
            self._table_unsaved = None
        elif self._rows_unsaved:
            append_rows(self.folder / TABLE, self._rows_unsaved)
        self._rows_unsaved.clear()

    def _put_in_use(self, table: NewTable) -> None:
        """May be called once more where the disk was full: what is done stays."""
        if read_object(self.folder / KEY_FILE)["version"] == table.version:
            return
        if not (self.folder / NEXT_KEY_FILE).exists():
            kept = self.subjects.values()
            if since := [self._row(table.cipher, each) for each in kept if each.key_id not in table.key_ids]:
                append_rows(self.folder / NEXT_TABLE, since)
            write_object(self.folder / NEXT_KEY_FILE, table.key_file)
        _finish(self.folder)

    # --- rotation of the provider's key ----------------------------------------------------------------------------

    def rewrap(self, root: Root) -> bool:
        """Whether the tenant's key had to be wrapped again, to be under the key that `root` now uses."""
        stored = read_object(self.folder / KEY_FILE)
        if stored.get("provider") == root.key_id:
            return False
        purpose = _purpose(self.folder.name, int(stored["version"]))
        key = root.unwrapped(stored, purpose)
        write_object(self.folder / KEY_FILE, {**stored, **root.wrapped(key, purpose)})
        return True

    def provider_key(self, root: Root) -> str:
        return wrapped_by(read_object(self.folder / KEY_FILE), root.keys)


def _purpose(tenant: str, version: int) -> str:
    return f"tenant/{tenant}/{version}"


def _key_file(root: Root, tenant: str, version: int, key: bytes) -> dict[str, object]:
    return {"version": version, **root.wrapped(key, _purpose(tenant, version))}


def _finish(folder: Path) -> None:
    """Carries a change of tables out, or forgets it where it was never complete."""
    for leftover in folder.glob("*.partial"):
        leftover.unlink()
    table, key_file = folder / NEXT_TABLE, folder / NEXT_KEY_FILE
    if key_file.exists():
        if table.exists():
            table.rename(folder / TABLE)
            fsync_directory(folder)
        key_file.rename(folder / KEY_FILE)
        fsync_directory(folder)
    elif table.exists():
        table.unlink()
