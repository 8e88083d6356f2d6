"""Builds one journal entry: clear part, sealed payload, leaf."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from chassis.canonical import canonical
from services.audit.journal.frame import ClearPart, Entry, sealed_hash
from services.audit.log.leaf import Kind, LeafEntry
from services.audit.records.fields import SEED_BYTES, Content, Salts, header_hash
from services.audit.sealing.payload import NONCE_RANDOM_BYTES, RecordCipher, nonce_for

HEADER, SEED, BODY, TIME, DETAIL = "header", "seed", "body", "time", "detail"
ITEM, REFUSAL = "item", "refusal"
FIELD, LEAF = "field/", "leaf/"
IDEMPOTENCY_KEY, IDEMPOTENCY_REQUEST = "idempotency_key", "idempotency_request"


class Draft(NamedTuple):
    """An entry before it is sealed. `content` is over all fields the leaf commits to."""

    clear: ClearPart
    salts: Salts
    header: Mapping[str, object]
    content: Content
    parts: Mapping[str, bytes]


class Sealer:
    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random

    def new_salts(self) -> Salts:
        return Salts(self._random(SEED_BYTES))

    def release(self, cipher: RecordCipher, clear: ClearPart, parts: Mapping[str, bytes]) -> Entry:
        """A RELEASE has no leaf: END commits to the chain of them."""
        encoded = clear.encode()
        return Entry(Kind.RELEASE, b"", encoded, self._sealed(cipher, clear, encoded, parts))

    def entry(self, cipher: RecordCipher, draft: Draft) -> Entry:
        clear, salts, header, content, more = draft
        metadata = canonical(header)
        encoded = clear.encode()
        ciphertext = self._sealed(cipher, clear, encoded, {HEADER: metadata, SEED: salts.seed, **more})
        leaf = LeafEntry(
            clear.kind,
            header=header_hash(salts, clear.kind.name, metadata),
            sealed=sealed_hash(encoded, ciphertext),
            content=content.root,
        )
        return Entry(clear.kind, leaf.encode(), encoded, ciphertext)

    def _sealed(self, cipher: RecordCipher, clear: ClearPart, encoded: bytes, parts: Mapping[str, bytes]) -> bytes:
        return cipher.seal(nonce_for(clear.kind, clear.n, self._random(NONCE_RANDOM_BYTES)), encoded, parts)


def with_prefix(prefix: str, values: Mapping[str, bytes]) -> dict[str, bytes]:
    return {prefix + name: value for name, value in values.items()}


def without_prefix(prefix: str, parts: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name[len(prefix) :]: value for name, value in parts.items() if name.startswith(prefix)}
