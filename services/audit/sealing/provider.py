"""Where the key tree's root lives. The tree sees only wrap and unwrap, and knows the provider's keys by their ids."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chassis.disk import refusal_of_secret
from services.audit.journal.segment import fsync_directory
from services.audit.sealing.key_files import b64, unb64

KEY_BYTES = 32


class KeyUnusable(Exception):
    """A key that is missing, too open or wrong. Names the place and the remedy; audit refuses to start."""


class KeyProvider(Protocol):
    """Wraps keys. `purpose` is bound to what is wrapped: it opens for no other."""

    def wrap(self, key: bytes, purpose: str) -> bytes: ...

    def unwrap(self, wrapped: bytes, purpose: str) -> bytes: ...


class ProviderKeys(Protocol):
    """A provider's keys, which wrap others and are known by their ids."""

    kind: str

    def held(self) -> Sequence[str]:
        """Ids of its keys, the oldest first."""

    def create(self) -> str:
        """Makes a key and returns its id. It is durable, and nothing is wrapped by it yet."""

    def wrap(self, key_id: str, key: bytes, purpose: str) -> bytes: ...

    def unwrap(self, key_id: str, wrapped: bytes, purpose: str) -> bytes: ...

    def settle(self, current: str) -> None:
        """Told which key is in use, after each change and at each start."""

    def destroy(self, key_id: str) -> None:
        """For good: what only this key wraps is never read again."""


@dataclass
class Root:
    """A KeyProvider: the keys of one, and which of them wraps what is new. Another may have wrapped what is there."""

    keys: ProviderKeys
    key_id: str

    def wrap(self, key: bytes, purpose: str) -> bytes:
        """For what lives no longer than the provider's key: a rotation does not wrap it again."""
        used = self.key_id
        return bytes((len(used),)) + used.encode() + self.keys.wrap(used, key, purpose)

    def unwrap(self, wrapped: bytes, purpose: str) -> bytes:
        if not wrapped:
            raise does_not_open(purpose)
        start = 1 + wrapped[0]
        return self.keys.unwrap(wrapped[1:start].decode("ascii", "replace"), wrapped[start:], purpose)

    def wrapped(self, key: bytes, purpose: str) -> dict[str, object]:
        used = self.key_id
        return {"provider": used, "wrapped": b64(self.keys.wrap(used, key, purpose))}

    def unwrapped(self, stored: Mapping[str, Any], purpose: str) -> bytes:
        return self.keys.unwrap(wrapped_by(stored, self.keys), unb64(stored["wrapped"]), purpose)


def wrapped_by(stored: Mapping[str, Any], keys: ProviderKeys) -> str:
    """The id of the provider's key. What says nothing is from before there could be a second one."""
    return str(stored.get("provider") or keys.held()[0])


def wrap(cipher: AESGCM, key: bytes, purpose: str) -> bytes:
    nonce = os.urandom(12)
    return nonce + cipher.encrypt(nonce, key, purpose.encode())


def unwrap(cipher: AESGCM, wrapped: bytes, purpose: str) -> bytes:
    try:
        return cipher.decrypt(wrapped[:12], wrapped[12:], purpose.encode())
    except InvalidTag:
        raise does_not_open(purpose) from None


def does_not_open(purpose: str) -> KeyUnusable:
    return KeyUnusable(f"the wrapped key of {purpose} does not open: is it the provider key of this log?")


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
