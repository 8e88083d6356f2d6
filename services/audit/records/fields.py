"""Commitments to a record's fields: salted leaves, their RFC 6962 root, and openings of single fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import rfc8785

from services.audit.log.leaf import NO_HASH
from services.audit.log.merkle import Tree
from services.audit.sealing.hkdf import derive

SEED_BYTES = 32


def salt_of(seed: bytes, name: str) -> bytes:
    return derive(seed, name.encode())


def field_leaf(name: str, salt: bytes, data: bytes) -> bytes:
    return sha256(b"\x00" + name.encode() + b"\x00" + salt + data).digest()


def leaves_of(seed: bytes, fields: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: field_leaf(name, salt_of(seed, name), data) for name, data in fields.items()}


def content_root(leaves: Mapping[str, bytes]) -> bytes:
    """Names in byte order; 32 zero bytes where an entry has no field."""
    return Tree([leaves[name] for name in sorted(leaves)]).root() if leaves else NO_HASH


def header_hash(seed: bytes, kind_name: str, header: bytes) -> bytes:
    """Salted by kind too, so that opening one entry's header does not unsalt another's."""
    name = f"header:{kind_name}"
    return field_leaf(name, salt_of(seed, name), header)


def canonical(value: object) -> bytes:
    """RFC 8785 JSON."""
    return rfc8785.dumps(value)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Opening:
    """Shows one field of a content root, given the field's bytes."""

    index: int
    count: int
    salt: bytes
    siblings: tuple[bytes, ...]


def open_field(seed: bytes, leaves: Mapping[str, bytes], name: str) -> Opening:
    names = sorted(leaves)
    index = names.index(name)
    path = Tree([leaves[each] for each in names]).inclusion(index, len(names))
    return Opening(index, len(names), salt_of(seed, name), tuple(path))
