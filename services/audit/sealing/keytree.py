"""The key tree: provider, tenant, subject. Only wrapped keys touch the disk."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.audit.journal.journal import open_directory
from services.audit.journal.segment import fsync_directory
from services.audit.sealing.mac import Mac
from services.audit.sealing.provider import KEY_BYTES, KeyProvider, KeyUnusable, unwrap, wrap

TABLE = "subjects.jsonl"
# Subjects whose key is found without an HMAC over their names; longer names are not kept. Erasing one clears this.
REMEMBERED_SUBJECTS, REMEMBERED_LENGTH = 1024, 512


@dataclass(frozen=True)
class SubjectKey:
    key_id: str  # random; the clear part names it, and it says nothing about the subject
    key: bytes
    pseudonym: str


@dataclass
class _Tenant:
    folder: Path
    cipher: AESGCM
    key_unsaved: dict[str, object] | None = None  # the content of tenant.json, until it is written
    unsaved: list[str] = field(default_factory=list)


class KeyTree:
    """Owned by whoever commits, one group at a time. A new key is durable once `flush` returns, before any frame that
    uses it."""

    def __init__(
        self, directory: Path, provider: KeyProvider, *, new: bool, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._directory, self._provider, self._random = directory, provider, random
        self._tenants: dict[str, _Tenant] = {}
        self._by_subject: dict[tuple[str, str], SubjectKey] = {}
        self._by_id: dict[str, SubjectKey] = {}
        self._unsaved: list[_Tenant] = []
        open_directory(directory)
        secrets = self._log_secrets(new)
        self._pseudonyms, self.idempotency_key = Mac(secrets["pseudonym"]), secrets["idempotency"]
        self._remembered = lru_cache(maxsize=REMEMBERED_SUBJECTS)(self._found_subject)
        for folder in sorted(path for path in directory.iterdir() if path.is_dir()):
            self._load_tenant(folder)

    def _log_secrets(self, new: bool) -> dict[str, bytes]:
        """Keys of the log itself: for pseudonyms and for idempotency keys."""
        path = self._directory / "log.json"
        names = ("pseudonym", "idempotency")
        if path.exists():
            wrapped = json.loads(path.read_text())
            return {name: self._provider.unwrap(_unb64(wrapped[name]), f"log/{name}") for name in names}
        if not new:
            raise KeyUnusable(f"{path} is missing but the log exists: restore it from your backup")
        keys = {name: self._random(KEY_BYTES) for name in names}
        _write_new(path, {name: _b64(self._provider.wrap(key, f"log/{name}")) for name, key in keys.items()})
        return keys

    def _keyed_name(self, *words: str) -> str:
        message = b"".join(len(word.encode()).to_bytes(4, "big") + word.encode() for word in words)
        return self._pseudonyms.of(message).hex()[:32]

    def pseudonym(self, tenant: str, subject: str) -> str:
        """Also of one that has no key."""
        return self._keyed_name("subject", tenant, subject)

    def subject(self, tenant: str, subject: str) -> SubjectKey:
        """Its pseudonym is keyed, so that the journal's reader cannot guess a subject; per tenant, so that tenants
        cannot be joined."""
        short = len(tenant) + len(subject) <= REMEMBERED_LENGTH
        return self._remembered(tenant, subject) if short else self._found_subject(tenant, subject)

    def _found_subject(self, tenant: str, subject: str) -> SubjectKey:
        tenant_id, pseudonym = self._keyed_name("tenant", tenant), self.pseudonym(tenant, subject)
        return self._by_subject.get((tenant_id, pseudonym)) or self._new_subject(tenant_id, pseudonym)

    def by_id(self, key_id: str) -> SubjectKey:
        try:
            return self._by_id[key_id]
        except KeyError:
            raise KeyUnusable(f"no key {key_id} in {self._directory}: the subject was erased, or restore it") from None

    def _new_subject(self, tenant_id: str, pseudonym: str) -> SubjectKey:
        tenant = self._tenants.get(tenant_id) or self._new_tenant(tenant_id)
        made = SubjectKey(self._random(8).hex(), self._random(KEY_BYTES), pseudonym)
        wrapped = wrap(tenant.cipher, made.key, f"subject/{tenant_id}/{made.key_id}")
        row = {"key_id": made.key_id, "subject": pseudonym, "wrapped": _b64(wrapped)}
        if not tenant.unsaved:
            self._unsaved.append(tenant)
        tenant.unsaved.append(json.dumps(row, sort_keys=True) + "\n")
        self._remember(tenant_id, made)
        return made

    def _remember(self, tenant_id: str, subject: SubjectKey) -> None:
        self._by_subject[tenant_id, subject.pseudonym] = subject
        self._by_id[subject.key_id] = subject

    def _new_tenant(self, tenant_id: str) -> _Tenant:
        folder, key = self._directory / tenant_id, self._random(KEY_BYTES)
        wrapped = self._provider.wrap(key, f"tenant/{tenant_id}/1")
        made = _Tenant(folder, AESGCM(key), key_unsaved={"version": 1, "wrapped": _b64(wrapped)})
        self._tenants[tenant_id] = made
        return made

    def _load_tenant(self, folder: Path) -> None:
        path = folder / "tenant.json"
        if not path.exists():  # a crash between the folder and its key: no subject can be in it
            for leftover in folder.glob("*.partial"):
                leftover.unlink()
            folder.rmdir()
            return
        stored = json.loads(path.read_text())
        key = self._provider.unwrap(_unb64(stored["wrapped"]), f"tenant/{folder.name}/{stored['version']}")
        self._tenants[folder.name] = _Tenant(folder, AESGCM(key))
        self._load_subjects(folder)

    def _load_subjects(self, folder: Path) -> None:
        table = folder / TABLE
        if not table.exists():
            return
        data = table.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:  # a torn row was never durable, so no frame uses its key
            with open(table, "r+b") as file:
                file.truncate(len(whole))
                os.fsync(file.fileno())
        for line in whole.splitlines():
            row = json.loads(line)
            purpose = f"subject/{folder.name}/{row['key_id']}"
            key = unwrap(self._tenants[folder.name].cipher, _unb64(row["wrapped"]), purpose)
            self._remember(folder.name, SubjectKey(row["key_id"], key, row["subject"]))

    def flush(self) -> None:
        """Makes new keys durable, a tenant's before those of its subjects."""
        while self._unsaved:
            tenant = self._unsaved[-1]
            if tenant.key_unsaved is not None:
                open_directory(tenant.folder)
                _write_new(tenant.folder / "tenant.json", tenant.key_unsaved)
                tenant.key_unsaved = None
            path = tenant.folder / TABLE
            created = not path.exists()
            _append(path, "".join(tenant.unsaved).encode())
            if created:
                fsync_directory(tenant.folder)
            tenant.unsaved.clear()
            self._unsaved.pop()


def _append(path: Path, rows: bytes) -> None:
    """All of it durable, or nothing there: half a row would spoil the next one."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    before = os.fstat(file).st_size
    try:
        while rows:
            rows = rows[os.write(file, rows) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, before)
        raise
    finally:
        os.close(file)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _write_new(path: Path, value: object) -> None:
    partial = path.with_suffix(".partial")
    with open(partial, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(json.dumps(value, indent=1, sort_keys=True).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(partial, path)
    fsync_directory(path.parent)
