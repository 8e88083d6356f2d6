"""The provider of development: keys of 32 bytes in files, which whoever copies the folder has."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.audit.journal.segment import fsync_directory
from services.audit.sealing.provider import KEY_BYTES, KeyUnusable, create_key, read_key, unwrap, wrap

PROVIDER = "audit-provider"


class FileProvider:
    """`audit-provider` is the key in use; `audit-provider.ID` are others: retired, or made and not in use yet."""

    def __init__(self, folder: Path, random: Callable[[int], bytes] = os.urandom) -> None:
        self.kind, self._folder, self._random = "file", folder, random
        self._paths: dict[str, Path] = {}
        self._ciphers: dict[str, AESGCM] = {}
        for path in self._files():
            self._add(path, read_key(path))
        if not self._paths:
            raise KeyUnusable(f"{folder / PROVIDER} is missing but the log exists: restore it from your backup")

    def _files(self) -> list[Path]:
        """That without an id first: a log that never had a second key has it alone."""
        others = sorted(self._folder.glob(f"{PROVIDER}.*"), key=lambda path: path.stat().st_mtime_ns)
        return [self._folder / PROVIDER, *others] if (self._folder / PROVIDER).exists() else others

    def _add(self, path: Path, key: bytes) -> str:
        key_id = _id_of(key)
        self._paths[key_id], self._ciphers[key_id] = path, AESGCM(key)
        return key_id

    def held(self) -> list[str]:
        return list(self._paths)

    def create(self) -> str:
        key = self._random(KEY_BYTES)
        key_id = self._add(self._folder / PROVIDER, key)
        self._paths[key_id] = self._named(key_id)
        try:
            create_key(self._paths[key_id], key)
        except OSError as error:
            del self._paths[key_id], self._ciphers[key_id]
            raise KeyUnusable(
                f"no key can be made in {self._folder} ({error.strerror}): the file provider writes its keys there"
            ) from None
        return key_id

    def _named(self, key_id: str) -> Path:
        return self._folder / f"{PROVIDER}.{key_id}"

    def wrap(self, key_id: str, key: bytes, purpose: str) -> bytes:
        return wrap(self._cipher(key_id), key, purpose)

    def unwrap(self, key_id: str, wrapped: bytes, purpose: str) -> bytes:
        return unwrap(self._cipher(key_id), wrapped, purpose)

    def _cipher(self, key_id: str) -> AESGCM:
        try:
            return self._ciphers[key_id]
        except KeyError:
            raise KeyUnusable(
                f"the provider key {key_id} is not in {self._folder}: restore {PROVIDER} or {PROVIDER}.{key_id}; if it "
                "was destroyed after a rotation, so is what only it opened"
            ) from None

    def settle(self, current: str) -> None:
        """Two renames; a crash between them is mended at the next start, as each file's content tells its id."""
        in_use = self._folder / PROVIDER
        if self._paths[current] == in_use:
            return
        for key_id, path in self._paths.items():
            if path == in_use:
                self._move(key_id, self._named(key_id))
        self._move(current, in_use)

    def _move(self, key_id: str, path: Path) -> None:
        os.rename(self._paths[key_id], path)
        fsync_directory(self._folder)
        self._paths[key_id] = path

    def destroy(self, key_id: str) -> None:
        """Unlinks the key whatever its file is called by now. Where a disk keeps old blocks, its bytes may outlive
        that: hence only for development."""
        for path in self._files():
            if _id_of(read_key(path)) == key_id:
                path.unlink()
        fsync_directory(self._folder)
        del self._paths[key_id], self._ciphers[key_id]


def _id_of(key: bytes) -> str:
    return sha256(b"strongroom provider key id\0" + key).hexdigest()[:16]
