"""The key tree: provider, tenant, subject. Only wrapped keys touch the disk."""

from __future__ import annotations

import base64
import hmac
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.audit.journal.journal import open_directory
from services.audit.journal.segment import fsync_directory
from services.audit.sealing.provider import KEY_BYTES, KeyProvider, KeyUnusable, unwrap, wrap

TABLE = "subjects.jsonl"


@dataclass(frozen=True)
class SubjectKey:
    key_id: str  # random; the clear part names it, and it says nothing about the subject
    key: bytes
    pseudonym: str


@dataclass
class _Tenant:
    folder: Path
    cipher: AESGCM
    unsaved: list[str] = field(default_factory=list)


class KeyTree:
    """Owned by the writer's thread. A new key is durable once `flush` returns, before any frame that uses it."""

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
        self._pseudonym_key, self.idempotency_key = secrets["pseudonym"], secrets["idempotency"]
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

    def pseudonym(self, tenant: str, subject: str) -> str:
        """Keyed, so that the journal's reader cannot guess a subject; per tenant, so that tenants cannot be joined."""
        return self._keyed_name("subject", tenant, subject)

    def _keyed_name(self, *words: str) -> str:
        message = b"".join(len(word.encode()).to_bytes(4, "big") + word.encode() for word in words)
        return hmac.digest(self._pseudonym_key, message, "sha256").hex()[:32]

    def subject(self, tenant: str, subject: str) -> SubjectKey:
        pseudonym = self.pseudonym(tenant, subject)
        found = self._by_subject.get((tenant_id := self._keyed_name("tenant", tenant), pseudonym))
        return found or self._new_subject(tenant_id, pseudonym)

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
        open_directory(folder)
        wrapped = self._provider.wrap(key, f"tenant/{tenant_id}/1")
        _write_new(folder / "tenant.json", {"version": 1, "wrapped": _b64(wrapped)})
        self._tenants[tenant_id] = _Tenant(folder, AESGCM(key))
        return self._tenants[tenant_id]

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
        """Makes new subject keys durable."""
        while self._unsaved:
            tenant = self._unsaved[-1]
            path = tenant.folder / TABLE
            created = not path.exists()
            with open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write("".join(tenant.unsaved).encode())
                file.flush()
                os.fsync(file.fileno())
            if created:
                fsync_directory(tenant.folder)
            tenant.unsaved.clear()
            self._unsaved.pop()


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
