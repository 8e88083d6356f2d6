"""Reads the log's entries in order and makes of them what the index is given."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

from services.audit.index.identifiers import BlindKeys
from services.audit.index.rows import ActRow, Row, act_row_of, lacks_answer, row_of
from services.audit.journal.frame import FrameInvalid
from services.audit.log.leaf import Kind
from services.audit.log.merkle import leaf_hash
from services.audit.records import sealer
from services.audit.records.masked import released_texts
from services.audit.records.stored import StoredEntries, StoredEntry
from services.audit.sealing.payload import PayloadInvalid
from services.audit.sealing.provider import KeyUnusable

log = logging.getLogger(__name__)

KEYS_DESTROYED = frozenset({"SUBJECT_ERASED", "TENANT_ERASED"})  # acts that come once the keys are gone
BATCH_BYTES = 16 * 1024 * 1024  # of entries: a batch ends early, so that memory stays bounded

_UNREADABLE = (KeyUnusable, PayloadInvalid, FrameInvalid)


@dataclass
class Batch:
    """What leaves `start` to `end` put into the index; it may end before it was asked to. `gone`: first leaves of
    records that can no longer be read."""

    start: int
    end: int
    rows: dict[int, Row] = field(default_factory=dict)  # by first leaf
    gone: list[int] = field(default_factory=list)
    acts: list[ActRow] = field(default_factory=list)
    last_hash: bytes = b""
    unreadable: int = 0
    keys_destroyed: bool = False  # an act says so


class Projection:
    """Goes through the log once, batch by batch, each beginning where the last one ended."""

    def __init__(
        self, stored: StoredEntries, keys: BlindKeys, opened: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        """`opened`: the first leaf of each record that is open where the first batch begins."""
        self._stored, self._keys, self._opened = stored, keys, dict(opened)

    def batch(self, start: int, end: int) -> Batch:
        made = Batch(start, end)
        young: dict[str, tuple[int, StoredEntry]] = {}  # opened in this batch, and not ended
        size = 0
        for index in range(start, end):
            entry = self._read(index, made)
            if entry is not None:
                self._guarded(index, made, partial(self._take, index, entry, young, made))
                size += len(entry.entry.ciphertext)
            if size > BATCH_BYTES:
                made.end = index + 1
                break
        for record_id, (first_leaf, first) in young.items():
            self._opened[record_id] = first_leaf
            self._guarded(first_leaf, made, partial(self._row, first_leaf, first, first_leaf, first, (), made))
        if made.end > start:
            made.last_hash = leaf_hash(self._stored.leaf_bytes(made.end - 1))
        return made

    def _read(self, index: int, made: Batch) -> StoredEntry | None:
        """None where its key was destroyed, or it is damaged, which the verifier tells of: the index goes on."""
        try:
            return self._stored.leaf(index)
        except _UNREADABLE as problem:
            made.unreadable += 1
            if not isinstance(problem, KeyUnusable):
                log.error("leaf %d cannot be read: it is left out of the index", index)
            return None

    def _guarded(self, index: int, made: Batch, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # what one gateway wrote, or a bug: the other records are found all the same
            made.unreadable += 1
            log.exception("leaf %d is not what it should be: it is left out of the index", index)

    def _take(self, index: int, entry: StoredEntry, young: dict[str, tuple[int, StoredEntry]], made: Batch) -> None:
        record_id = entry.clear.record_id
        match entry.clear.kind:
            case Kind.ACCEPTED:
                young[record_id] = index, entry
            case Kind.END:
                self._end(index, entry, young.pop(record_id, None), made)
            case Kind.REFUSED | Kind.REJECTED:
                self._row(index, entry, index, entry, (), made)
            case Kind.ACT:
                act = act_row_of(index, entry)
                made.acts.append(act)
                made.keys_destroyed |= act.action in KEYS_DESTROYED
            case _:
                pass

    def _end(self, index: int, entry: StoredEntry, young: tuple[int, StoredEntry] | None, made: Batch) -> None:
        opened = young or self._opened_before(entry.clear.record_id, made)
        if opened:
            more = self._released(opened[0], index, entry) if lacks_answer(entry) else ()
            self._row(*opened, index, entry, more, made)

    def _row(
        self, leaf: int, first: StoredEntry, last_leaf: int, last: StoredEntry, more: Iterable[str], made: Batch
    ) -> None:
        made.rows[leaf] = row_of(leaf, first, last_leaf, last, more, self._keys)

    def _opened_before(self, record_id: str, made: Batch) -> tuple[int, StoredEntry] | None:
        leaf = self._opened.pop(record_id, None)
        if leaf is None:
            return None
        first = self._read(leaf, made)
        if first is None:
            made.gone.append(leaf)
            return None
        return leaf, first

    def _released(self, first_leaf: int, last_leaf: int, end: StoredEntry) -> list[str]:
        try:
            releases = self._stored.releases(end.clear.record_id, first_leaf, last_leaf)
            return list(released_texts(release.parts[sealer.BODY] for _, release in releases))
        except _UNREADABLE:
            log.error("a piece of the answer that ends at leaf %d cannot be read: it is not indexed", last_leaf)
            return []
