"""Cosignatures of checkpoints by witnesses (c2sp.org/tlog-cosignature, Ed25519)."""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from services.audit.log.note import NoteInvalid, Verifier, b64, unb64

KIND = b"\x04"  # of a key that cosigns
BLOB_BYTES = 4 + 8 + 64


class Cosigner(NamedTuple):
    """A witness' public key, and the name that it has in notes."""

    verifier: Verifier
    key_hash: bytes

    @property
    def name(self) -> str:
        return self.verifier.name


class Cosignature(NamedTuple):
    """A signature line, and when it was made, in Unix seconds."""

    line: str
    seconds: int


def parse_cosigner(vkey: str) -> Cosigner:
    name, separator, rest = vkey.partition("+")
    hash_hex, other, encoded = rest.partition("+")
    typed = unb64(encoded)
    if not separator or not other or not name or len(typed) != 33 or typed[:1] != KIND:
        raise NoteInvalid("not the key of a witness: NAME+HASH+KEY, of type 0x04")
    key_hash = sha256(name.encode() + b"\n" + typed).digest()[:4]
    if key_hash.hex() != hash_hex:
        raise NoteInvalid("the key's hash does not belong to its name and key")
    return Cosigner(Verifier(name, typed[1:]), key_hash)


def cosignature_in(lines: str, text: str, cosigner: Cosigner) -> Cosignature:
    """The cosigner's own among signature lines for a note of this text; what others signed is passed over."""
    for line in lines.splitlines():
        words = line.split(" ")
        if len(words) != 3 or words[0] != "\u2014":
            raise NoteInvalid("a signature line is malformed")
        blob = unb64(words[2])
        if words[1] != cosigner.name or blob[:4] != cosigner.key_hash:
            continue
        seconds = int.from_bytes(blob[4:12], "big")
        message = f"cosignature/v1\ntime {seconds}\n{text}".encode()
        if len(blob) != BLOB_BYTES or not cosigner.verifier.verify(message, blob[12:]):
            raise NoteInvalid("the cosignature fails")
        return Cosignature(f"\u2014 {cosigner.name} {b64(blob)}\n", seconds)
    raise NoteInvalid("no cosignature by the witness")
