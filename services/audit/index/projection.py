"""Reads the log's entries in order and makes of them what the index is given."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

from services.audit.index.identifiers import BlindKeys
from services.audit.index.record_keys import RecordKeys
from services.audit.index.rows import BEGINNING, ActRow, Place, Row, act_row_of, lacks_answer, row_of
from services.audit.journal.frame import ClearPart, Entry, FrameInvalid, decode_clear
from services.audit.journal.reading import JournalReader, LeafFrame
from services.audit.journal.segment import JournalCorrupt
from services.audit.log.leaf import Kind
from services.audit.log.merkle import leaf_hash
from services.audit.records import sealer
from services.audit.records.masked import released_texts
from services.audit.records.stored import StoredEntry, opened
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
    location: int  # of the last leaf
    last_hash: bytes = b""
    rows: dict[int, Row] = field(default_factory=dict)  # by first leaf
    gone: list[int] = field(default_factory=list)
    acts: list[ActRow] = field(default_factory=list)
    unreadable: int = 0
    keys_destroyed: bool = False  # an act says so


class Projection:
    """Goes through the log once, batch by batch, each beginning where the last one ended."""

    def __init__(
        self,
        journal: JournalReader,
        keys: RecordKeys,
        blind: BlindKeys,
        start: Place = BEGINNING,
        opened_before: Mapping[str, Place] = MappingProxyType({}),
    ) -> None:
        """`start`: the next leaf, and where to look for it. `opened_before`: of each record that is open there."""
        self._journal, self._keys, self._blind = journal, keys, blind
        self._opened = dict(opened_before)
        self.leaf, self._following = start

    def batch(self, end: int) -> Batch:
        """Up to leaf `end`, which has to be durable."""
        taken = self._taken(end)
        made = Batch(self.leaf, self.leaf + len(taken), taken[-1].location if taken else 0)
        read = [self._cleared(self.leaf + n, frame, made) for n, frame in enumerate(taken)]
        self._keys.expect({clear.key_id for _, clear in filter(None, read)})
        young: dict[str, tuple[Place, StoredEntry]] = {}  # opened in this batch, and not ended
        for frame, known in zip(taken, read, strict=True):
            place = Place(self.leaf, frame.location)
            entry = self._open(place, *known, made) if known else None
            if entry is not None:
                self._guarded(place, made, partial(self._take, place, entry, young, made))
            self.leaf, self._following = self.leaf + 1, frame.following
        for record_id, (place, first) in young.items():
            self._opened[record_id] = place
            self._guarded(place, made, partial(self._row, place, first, place.leaf, first, (), made))
        if taken and (last := taken[-1].entry):
            made.last_hash = leaf_hash(last.leaf)
        return made

    def _taken(self, end: int) -> list[LeafFrame]:
        taken: list[LeafFrame] = []
        wanted, size, following = end - self.leaf, 0, self._following
        while len(taken) < wanted and size <= BATCH_BYTES:
            before = len(taken), len(self._journal.segments)
            for frame in self._journal.leaves(following):
                taken.append(frame)
                following, size = frame.following, size + (len(frame.entry.ciphertext) if frame.entry else 0)
                if len(taken) == wanted or size > BATCH_BYTES:
                    return taken
            self._journal.look()
            if before == (len(taken), len(self._journal.segments)):
                raise JournalCorrupt(f"the journal ends before leaf {end - 1}, which is published")
        return taken

    def _cleared(self, leaf: int, frame: LeafFrame, made: Batch) -> tuple[Entry, ClearPart] | None:
        if frame.entry is not None:
            try:
                return frame.entry, decode_clear(frame.entry.clear)
            except FrameInvalid:
                pass
        made.unreadable += 1
        log.error("leaf %d is damaged: it is left out of the index", leaf)
        return None

    def _open(self, place: Place, entry: Entry, clear: ClearPart, made: Batch) -> StoredEntry | None:
        """None where its key was destroyed, or it is damaged, which the verifier tells of: the index goes on."""
        try:
            return opened(entry, clear, self._keys.key(clear.key_id))
        except _UNREADABLE as problem:
            made.unreadable += 1
            if not isinstance(problem, KeyUnusable):
                log.error("leaf %d cannot be read: it is left out of the index", place.leaf)
            return None

    def _guarded(self, place: Place, made: Batch, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # what one gateway wrote, or a bug: the other records are found all the same
            made.unreadable += 1
            log.exception("leaf %d is not what it should be: it is left out of the index", place.leaf)

    def _take(self, place: Place, entry: StoredEntry, young: dict[str, tuple[Place, StoredEntry]], made: Batch) -> None:
        record_id = entry.clear.record_id
        match entry.clear.kind:
            case Kind.ACCEPTED:
                young[record_id] = place, entry
            case Kind.END:
                self._end(place, entry, young.pop(record_id, None), made)
            case Kind.REFUSED | Kind.REJECTED:
                self._row(place, entry, place.leaf, entry, (), made)
            case Kind.ACT:
                act = act_row_of(place.leaf, entry)
                made.acts.append(act)
                made.keys_destroyed |= act.action in KEYS_DESTROYED
            case _:
                pass

    def _end(self, place: Place, entry: StoredEntry, young: tuple[Place, StoredEntry] | None, made: Batch) -> None:
        known = young or self._opened_before(entry.clear.record_id, made)
        if known:
            more = self._released(known[0], place, entry) if lacks_answer(entry) else ()
            self._row(*known, place.leaf, entry, more, made)

    def _row(
        self, place: Place, first: StoredEntry, last_leaf: int, last: StoredEntry, more: Iterable[str], made: Batch
    ) -> None:
        made.rows[place.leaf] = row_of(place, first, last_leaf, last, more, self._blind)

    def _opened_before(self, record_id: str, made: Batch) -> tuple[Place, StoredEntry] | None:
        place = self._opened.pop(record_id, None)
        if place is None:
            return None
        frame = LeafFrame(place.location, 0, self._journal.entry(place.location))
        known = self._cleared(place.leaf, frame, made)
        first = self._open(place, *known, made) if known else None
        if first is None:
            made.gone.append(place.leaf)
            return None
        return place, first

    def _released(self, first: Place, last: Place, end: StoredEntry) -> list[str]:
        bodies = []
        try:
            for _, frame in self._journal.frames(first.location, last.location):
                clear = decode_clear(frame.entry.clear)
                if not frame.entry.leaf and clear.record_id == end.clear.record_id:
                    release = opened(frame.entry, clear, self._keys.key(clear.key_id))
                    bodies.append(release.parts[sealer.BODY])
        except _UNREADABLE:
            log.error("a piece of the answer that ends at leaf %d cannot be read: it is not indexed", last.leaf)
            return []
        return list(released_texts(bodies))
