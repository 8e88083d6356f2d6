"""C2SP signed notes and checkpoints, signed with Ed25519."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519 = b"\x01"


class NoteInvalid(Exception):
    """A note that is malformed or whose signature fails. The text says what, never the note."""


def b64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def unb64(text: str) -> bytes:
    """Standard base64 with padding and zero tail bits, or NoteInvalid: one value, one spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteInvalid("not base64") from None
    if b64(data) != text:
        raise NoteInvalid("base64 is not canonical")
    return data


def key_hash(name: str, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + ED25519 + public).digest()[:4]


@dataclass(frozen=True)
class Verifier:
    """A public key that knows its name: the parsed form of a vkey."""

    name: str
    public: bytes

    @property
    def vkey(self) -> str:
        return f"{self.name}+{key_hash(self.name, self.public).hex()}+{b64(ED25519 + self.public)}"

    def verify(self, message: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True


class Signer:
    """Signs notes under one name."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        if not name or "+" in name or any(c.isspace() for c in name):
            raise ValueError("a signer's name has no space and no '+'")
        self._private = private
        self.verifier = Verifier(name, private.public_key().public_bytes_raw())
        self._key_hash = key_hash(name, self.verifier.public)

    @property
    def name(self) -> str:
        return self.verifier.name

    def sign(self, text: str) -> str:
        if not text.endswith("\n"):
            raise ValueError("the text of a note ends with a newline")
        signature = self._key_hash + self._private.sign(text.encode())
        return f"{text}\n\u2014 {self.name} {b64(signature)}\n"


def parse_vkey(vkey: str) -> Verifier:
    parts = vkey.split("+", 2)
    if len(parts) != 3:
        raise NoteInvalid("a verifier key is NAME+HASH+KEY")
    name, hash_hex, encoded = parts
    key = unb64(encoded)
    if len(key) != 33 or key[:1] != ED25519:
        raise NoteInvalid("the verifier key is not Ed25519")
    if key_hash(name, key[1:]).hex() != hash_hex:
        raise NoteInvalid("the verifier key's hash does not belong to its name and key")
    return Verifier(name, key[1:])


def open_note(note: str, verifier: Verifier) -> str:
    """The note's text, if `verifier` signed it."""
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise NoteInvalid("the note has no signature block")
    text += "\n"
    verified = False
    for line in signatures[:-1].split("\n"):
        words = line.split(" ")
        if len(words) != 3 or words[0] != "\u2014" or not words[1]:
            raise NoteInvalid("a signature line is malformed")
        _, name, encoded = words
        blob = unb64(encoded)
        if name != verifier.name or blob[:4] != key_hash(verifier.name, verifier.public):
            continue
        if not verifier.verify(text.encode(), blob[4:]):
            raise NoteInvalid("the signature fails")
        verified = True
    if not verified:
        raise NoteInvalid("no signature by the log's key")
    return text


@dataclass(frozen=True)
class Checkpoint:
    """A tree head: which log, how many leaves, which root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{b64(self.root)}\n"


@dataclass(frozen=True)
class SignedCheckpoint:
    checkpoint: Checkpoint
    note: str
    cosigned: bool = False  # the note carries what the witness policy asks for

    @property
    def size(self) -> int:
        return self.checkpoint.size


def sign_checkpoint(signer: Signer, size: int, root: bytes) -> SignedCheckpoint:
    checkpoint = Checkpoint(signer.name, size, root)
    return SignedCheckpoint(checkpoint, signer.sign(checkpoint.text))


def open_checkpoint(note: str, verifier: Verifier) -> Checkpoint:
    lines = open_note(note, verifier).split("\n")
    if len(lines) != 4 or lines[3] != "":
        raise NoteInvalid("a checkpoint has three lines")
    origin, size, root = lines[:3]
    if origin != verifier.name:
        raise NoteInvalid("the checkpoint is of another log")
    if not size.isascii() or not size.isdigit() or str(int(size)) != size:
        raise NoteInvalid("the checkpoint's size is not canonical")
    if len(unb64(root)) != 32:
        raise NoteInvalid("the checkpoint's root is not 32 bytes")
    return Checkpoint(origin, int(size), unb64(root))
