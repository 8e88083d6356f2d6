"""Commitments to a record's fields: salted leaves, their RFC 6962 root, and openings of single fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from services.audit.log.leaf import NO_HASH
from services.audit.log.merkle import path_in, rows_of
from services.audit.sealing.hkdf import Derivation

SEED_BYTES = 32


class Salts:
    """A record's seed, and the salts that come of it by name."""

    __slots__ = ("_derivation", "seed")

    def __init__(self, seed: bytes) -> None:
        self.seed, self._derivation = seed, Derivation(seed)

    def of(self, name: str) -> bytes:
        return self._derivation.key(name.encode())


def field_leaf(name: str, salt: bytes, data: bytes) -> bytes:
    return sha256(b"\x00" + name.encode() + b"\x00" + salt + data).digest()


def leaves_of(salts: Salts, fields: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: field_leaf(name, salts.of(name), data) for name, data in fields.items()}


def header_hash(salts: Salts, kind_name: str, header: bytes) -> bytes:
    """Salted by kind too, so that opening one entry's header does not unsalt another's."""
    name = f"header:{kind_name}"
    return field_leaf(name, salts.of(name), header)


@dataclass(frozen=True)
class Opening:
    """Shows one field of a content root, given the field's bytes."""

    index: int
    count: int
    salt: bytes
    siblings: tuple[bytes, ...]


class Content:
    """The tree over the leaves of named fields, names in byte order."""

    __slots__ = ("_names", "_rows")

    def __init__(self, leaves: Mapping[str, bytes]) -> None:
        self._names = sorted(leaves)
        self._rows = rows_of([leaves[name] for name in self._names])

    def __contains__(self, name: str) -> bool:
        return name in self._names

    @property
    def root(self) -> bytes:
        """32 zero bytes where an entry has no field."""
        return self._rows[-1][0] if self._names else NO_HASH

    def opening(self, name: str, salts: Salts) -> Opening:
        index = self._names.index(name)
        return Opening(index, len(self._names), salts.of(name), tuple(path_in(self._rows, index)))
