"""The records that were accepted and have not ended, and a bounded memory of the recent ones that have."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from services.audit.records.fields import Salts
from services.audit.sealing.payload import RecordCipher


@dataclass(slots=True)
class OpenRecord:
    """What RELEASE and END need to know of a record: its key, the salts and leaves of its request, and the head of its
    RELEASE chain."""

    record_id: str
    boot: str
    key_id: str
    accepted_leaf: bytes
    accepted_ms: int
    cipher: RecordCipher
    salts: Salts
    leaves: Mapping[str, bytes]
    about: Mapping[str, object]  # the part of the header that every entry of the record repeats
    idempotency_key: bytes
    jobs: int  # that its tickets are for
    releases: int
    head: bytes

    @property
    def tenant(self) -> str:
        return str(self.about["tenant"])


def chained(head: bytes, sealed_hash: bytes) -> bytes:
    """The head of a RELEASE chain after one more RELEASE."""
    return sha256(b"\x02" + head + sealed_hash).digest()


class Span(NamedTuple):
    """The leaf indexes of a record's first and last leaf."""

    first: int
    last: int

    def durable(self, leaves: int) -> Span | None:
        """What of it lies below that number of leaves: a leaf is known here before it is durable."""
        if self.first >= leaves:
            return None
        return self if self.last < leaves else Span(self.first, self.first)


class RecentRecords:
    """Record id → its leaves, for the most recent records."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._spans: OrderedDict[str, Span] = OrderedDict()

    def add(self, record_id: str, leaf_index: int) -> None:
        if record_id in self._spans:
            self._spans[record_id] = Span(self._spans[record_id].first, leaf_index)
            return
        self._spans[record_id] = Span(leaf_index, leaf_index)
        if len(self._spans) > self._limit:
            self._spans.popitem(last=False)

    def span(self, record_id: str) -> Span | None:
        return self._spans.get(record_id)

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._spans
