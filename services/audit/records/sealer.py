"""Builds one journal entry: clear part, sealed payload, leaf."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.audit.journal.frame import ClearPart, Entry, sealed_hash
from services.audit.log.leaf import Kind, LeafEntry
from services.audit.records.fields import SEED_BYTES, canonical, content_root, header_hash
from services.audit.sealing.keytree import SubjectKey
from services.audit.sealing.payload import NONCE_RANDOM_BYTES, seal

HEADER, SEED, BODY, TIME, DETAIL = "header", "seed", "body", "time", "detail"
ITEM, REFUSAL = "item", "refusal"
FIELD, LEAF = "field/", "leaf/"
IDEMPOTENCY_KEY, IDEMPOTENCY_REQUEST = "idempotency_key", "idempotency_request"


@dataclass(frozen=True, kw_only=True)
class Draft:
    """An entry before it is sealed. `leaves` are all fields the leaf commits to."""

    clear: ClearPart
    seed: bytes = b""
    header: Mapping[str, object]
    leaves: Mapping[str, bytes]
    parts: Mapping[str, bytes]


class Sealer:
    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random

    def new_seed(self) -> bytes:
        return self._random(SEED_BYTES)

    def release(self, key: SubjectKey, clear: ClearPart, parts: Mapping[str, bytes]) -> Entry:
        """A RELEASE has no leaf: END commits to the chain of them."""
        ciphertext = seal(key.key, clear, parts, self._random(NONCE_RANDOM_BYTES))
        return Entry(Kind.RELEASE, b"", clear.encode(), ciphertext)

    def entry(self, key: SubjectKey, draft: Draft) -> Entry:
        kind = draft.clear.kind
        seed = draft.seed or self.new_seed()
        header = canonical(draft.header)
        parts = {HEADER: header, SEED: seed, **draft.parts}
        ciphertext = seal(key.key, draft.clear, parts, self._random(NONCE_RANDOM_BYTES))
        clear = draft.clear.encode()
        leaf = LeafEntry(
            kind,
            header=header_hash(seed, kind.name, header),
            sealed=sealed_hash(clear, ciphertext),
            content=content_root(draft.leaves),
        )
        return Entry(kind, leaf.encode(), clear, ciphertext)


def with_prefix(prefix: str, values: Mapping[str, bytes]) -> dict[str, bytes]:
    return {prefix + name: value for name, value in values.items()}


def without_prefix(prefix: str, parts: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name[len(prefix) :]: value for name, value in parts.items() if name.startswith(prefix)}
