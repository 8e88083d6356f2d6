"""The log's own secrets and name: signing key, provider key, ticket key, origin."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.log.note import NoteInvalid, Signer, parse_vkey
from services.audit.publishing import write_atomically
from services.audit.sealing.file_provider import PROVIDER, FileProvider
from services.audit.sealing.provider import KEY_BYTES, KeyUnusable, ProviderKeys, create_key, read_key

SIGNING, TICKET = "log-signing", "ticket"
VKEY = "log.vkey"
DEVELOPMENT_ORIGIN = "dev.strongroom"


KeySource = Callable[[bool], ProviderKeys]  # told whether the log is new


@dataclass(frozen=True)
class LogKeys:
    signer: Signer
    provider: ProviderKeys
    ticket: bytes


def ticket_key(folder: Path, random: Callable[[int], bytes] = os.urandom) -> bytes:
    """The exact bytes of keys/ticket. Workers read the same file; whoever comes first makes it."""
    path = folder / TICKET
    if not path.exists():
        with contextlib.suppress(FileExistsError):
            create_key(path, random(KEY_BYTES))
    key = read_key(path, exactly=None)
    if len(key) < KEY_BYTES:
        raise KeyUnusable(f"{path} has {len(key)} bytes, fewer than {KEY_BYTES}: remove it and restart all services")
    return key


def open_keys(
    folder: Path,
    tlog: Path,
    *,
    new: bool,
    random: Callable[[int], bytes] = os.urandom,
    key_source: KeySource | None = None,
) -> LogKeys:
    """Makes the keys of a new log; of an existing one it takes exactly what is there, or refuses. Without a source the
    provider's keys are files of the same folder."""
    for name in (SIGNING, *(() if key_source else (PROVIDER,))) if new else ():
        if not any(folder.glob(f"{name}*")):
            create_key(folder / name, random(KEY_BYTES))
    signing = Ed25519PrivateKey.from_private_bytes(read_key(folder / SIGNING))
    provider = key_source(new) if key_source else FileProvider(folder, random)
    signer = Signer(_origin(tlog, new, random), signing)
    _check_vkey(tlog / VKEY, signer, new)
    return LogKeys(signer, provider, ticket_key(folder, random))


def _origin(tlog: Path, new: bool, random: Callable[[int], bytes]) -> str:
    """The name a log was given at its first start; log.vkey keeps it."""
    path = tlog / VKEY
    if path.exists():
        return _read_vkey(path).split("+", 1)[0]
    if not new:
        raise KeyUnusable(f"{path} is missing but the log exists: restore it from your backup")
    return f"{DEVELOPMENT_ORIGIN}/{random(4).hex()}"


def _check_vkey(path: Path, signer: Signer, new: bool) -> None:
    if new and not path.exists():
        write_atomically(path, f"{signer.verifier.vkey}\n".encode())
    try:
        matches = parse_vkey(_read_vkey(path)) == signer.verifier
    except NoteInvalid:
        matches = False
    if not matches:
        raise KeyUnusable(f"{path} is not the public key of {SIGNING}: restore both from the same backup")


def _read_vkey(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").removesuffix("\n")
    except UnicodeDecodeError:
        raise KeyUnusable(f"{path} is not a verifier key: restore it from your backup") from None
