"""Where the key tree's root lives. In development, a file; the tree sees only wrap and unwrap."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chassis.disk import refusal_of_secret
from services.audit.journal.segment import fsync_directory

KEY_BYTES = 32


class KeyUnusable(Exception):
    """A key file that is missing, too open or wrong. Names the file and the remedy; audit refuses to start."""


class KeyProvider(Protocol):
    def wrap(self, key: bytes, purpose: str) -> bytes: ...

    def unwrap(self, wrapped: bytes, purpose: str) -> bytes: ...


class FileProvider:
    """A 32-byte key in a file: for development, and marked so."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def wrap(self, key: bytes, purpose: str) -> bytes:
        return wrap(self._cipher, key, purpose)

    def unwrap(self, wrapped: bytes, purpose: str) -> bytes:
        return unwrap(self._cipher, wrapped, purpose)


def wrap(cipher: AESGCM, key: bytes, purpose: str) -> bytes:
    nonce = os.urandom(12)
    return nonce + cipher.encrypt(nonce, key, purpose.encode())


def unwrap(cipher: AESGCM, wrapped: bytes, purpose: str) -> bytes:
    try:
        return cipher.decrypt(wrapped[:12], wrapped[12:], purpose.encode())
    except InvalidTag:
        raise KeyUnusable(f"the wrapped key of {purpose} does not open: is it the provider key of this log?") from None


def read_key(path: Path, *, exactly: int | None = KEY_BYTES) -> bytes:
    """A key file's bytes, if nobody but its owner may read it."""
    try:
        mode, data = stat.S_IMODE(path.stat().st_mode), path.read_bytes()
    except FileNotFoundError:
        raise KeyUnusable(f"{path} is missing but the log exists: restore it from your backup") from None
    except OSError as error:
        raise KeyUnusable(refusal_of_secret(error, path)) from None
    if mode & 0o077:
        raise KeyUnusable(f"{path} has mode {mode:04o}: run chmod 600 {path}")
    if exactly is not None and len(data) != exactly:
        raise KeyUnusable(f"{path} has {len(data)} bytes instead of {exactly}: restore it from your backup")
    return data


def create_key(path: Path, data: bytes) -> None:
    """Writes a new key file durably; never overwrites one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fsync_directory(path.parent)
