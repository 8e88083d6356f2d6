"""The key that a witness cosigns with (c2sp.org/tlog-cosignature, Ed25519), and where it lies."""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from strongroom.verify import COSIGNS, LogKey, Malformed, parse_vkey

from chassis.disk import refusal_of_secret
from chassis.start import CannotStart
from services.witness.durable import create_durably, make_folder

KEY, VKEY = "witness-key", "witness.vkey"
SEED_BYTES = 32


class CosigningKey:
    """Says of a checkpoint that, at a time, it was the newest of a log that had only ever grown."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        typed = bytes((COSIGNS,)) + self._private.public_key().public_bytes_raw()
        self.name = name
        self.key_id = sha256(name.encode() + b"\n" + typed).digest()[:4]
        self.vkey = f"{name}+{self.key_id.hex()}+{base64.b64encode(typed).decode()}"

    @property
    def public(self) -> LogKey:
        return parse_vkey(self.vkey, COSIGNS)

    def cosignature(self, text: str, seconds: int) -> str:
        """A signature line for the note of this text."""
        signature = self._private.sign(f"cosignature/v1\ntime {seconds}\n{text}".encode())
        blob = self.key_id + seconds.to_bytes(8, "big") + signature
        return f"— {self.name} {base64.b64encode(blob).decode()}\n"


def open_key(folder: Path, name: str, random: Callable[[int], bytes] = os.urandom) -> CosigningKey:
    """The key in the folder; where there is none and the witness has a name, a new one. Or CannotStart."""
    if not (folder / KEY).exists() and not (folder / VKEY).exists():
        _create(folder, name, random(SEED_BYTES))
    seed = _read_seed(folder / KEY)
    try:
        stored = (folder / VKEY).read_text(encoding="utf-8").removesuffix("\n")
        key = CosigningKey(parse_vkey(stored, COSIGNS).name, seed)
    except (OSError, UnicodeDecodeError, Malformed):
        raise CannotStart(f"{folder / VKEY} is not the public key of a witness: restore it from your backup") from None
    if key.vkey != stored:
        raise CannotStart(f"{folder / VKEY} is not the public key of {folder / KEY}: restore both from one backup")
    if name and name != key.name:
        raise CannotStart(f"{folder} is the folder of the witness {key.name}, not of {name}: name another folder")
    return key


def _create(folder: Path, name: str, seed: bytes) -> None:
    if not re.fullmatch(r"[!-*,-~]{1,255}", name):
        raise CannotStart(
            f"{folder} holds no witness yet. To make one, name it (--name, STRONGROOM_WITNESS_NAME) as a URL without "
            "its scheme, such as witness.example/w1: printable ASCII without a space or a plus sign"
        )
    make_folder(folder)
    create_durably(folder / KEY, seed)
    create_durably(folder / VKEY, f"{CosigningKey(name, seed).vkey}\n".encode())


def _read_seed(path: Path) -> bytes:
    try:
        mode, seed = stat.S_IMODE(path.stat().st_mode), path.read_bytes()
    except OSError as error:
        raise CannotStart(refusal_of_secret(error, path)) from None
    if mode & 0o077:
        raise CannotStart(f"{path} has mode {mode:04o}: run chmod 600 {path}")
    if len(seed) != SEED_BYTES:
        raise CannotStart(f"{path} has {len(seed)} bytes instead of {SEED_BYTES}: restore it from your backup")
    return seed
