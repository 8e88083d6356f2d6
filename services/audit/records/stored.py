"""Reads entries back from the journal and opens them; knows where every leaf is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import orjson

from services.audit.journal.frame import ClearPart, Entry, FrameInvalid, decode_clear
from services.audit.journal.journal import Journal
from services.audit.log.rows import Row, Scratch
from services.audit.records import sealer
from services.audit.records.sealer import without_prefix
from services.audit.sealing.keytree import KeyErased, KeyTree
from services.audit.sealing.payload import RecordCipher


@dataclass(frozen=True)
class StoredEntry:
    """An entry as it is in the journal, opened."""

    entry: Entry
    clear: ClearPart
    parts: Mapping[str, bytes]

    @property
    def header(self) -> dict[str, object]:
        data = orjson.loads(self.parts[sealer.HEADER])
        assert isinstance(data, dict)
        return data

    @property
    def time_ms(self) -> int:
        time = self.header["time_ms"]
        assert isinstance(time, int)
        return time

    @property
    def fields(self) -> dict[str, bytes]:
        return without_prefix(sealer.FIELD, self.parts)

    @property
    def leaves(self) -> dict[str, bytes]:
        """END only: all fields its leaf commits to."""
        return without_prefix(sealer.LEAF, self.parts)


def opened(entry: Entry, clear: ClearPart, subject_key: bytes) -> StoredEntry:
    """Raises PayloadInvalid where it is not the key of what is sealed."""
    cipher = RecordCipher(subject_key, clear.record_id)
    return StoredEntry(entry, clear, cipher.unseal(entry.clear, entry.ciphertext))


LOCATION_BYTES = 8
RECENT_LEAVES = 4096  # kept in memory for the publisher, which soon asks for each of them; 98 bytes each


class StoredEntries:
    def __init__(self, journal: Journal, keys: KeyTree, scratch: Scratch | None = None) -> None:
        self._journal, self._keys = journal, keys
        self._leaf_locations = Row(LOCATION_BYTES, scratch)
        self._recent: list[tuple[int, bytes]] = [(-1, b"")] * RECENT_LEAVES  # at index modulo their number

    def newest_ms(self) -> int | None:
        """When the last leaf that is not erased was written down; None in a log without any."""
        readable = (self.readable(index) for index in range(self.leaf_count - 1, -1, -1))
        return next((entry.time_ms for entry in readable if entry), None)

    def add_leaf(self, location: int, leaf: bytes) -> None:
        index = len(self._leaf_locations)
        self._recent[index % RECENT_LEAVES] = (index, leaf)
        self._leaf_locations.append(location.to_bytes(LOCATION_BYTES, "big"))

    @property
    def leaf_count(self) -> int:
        return len(self._leaf_locations)

    def leaf_location(self, index: int) -> int:
        return int.from_bytes(self._leaf_locations[index], "big")

    def leaf_index(self, location: int) -> int:
        return bisect_left(range(self.leaf_count), location, key=self.leaf_location)

    def entry(self, index: int) -> Entry:
        """A leaf's, as it is in the journal."""
        return self._journal.read(self.leaf_location(index)).entry

    def clear(self, leaf_index: int) -> ClearPart:
        return decode_clear(self.entry(leaf_index).clear)

    def leaf_bytes(self, first: int, count: int) -> list[bytes]:
        """From any thread: one look at each, as a later leaf may take its place at any time."""
        held = [self._recent[index % RECENT_LEAVES] for index in range(first, first + count)]
        if [index for index, _ in held] == list(range(first, first + count)):
            return [leaf for _, leaf in held]
        frames = list(islice(self._journal.leaves(self.leaf_location(first)), count))
        if len(frames) < count or not all(frame.entry for frame in frames):
            raise FrameInvalid(f"leaves {first} to {first + count} cannot all be read back from the journal")
        return [frame.entry.leaf for frame in frames if frame.entry]

    def leaf(self, index: int) -> StoredEntry:
        return self.at(self.leaf_location(index))

    def readable(self, index: int) -> StoredEntry | None:
        """None if it was erased."""
        return self.opened(self.entry(index))

    def opened(self, entry: Entry) -> StoredEntry | None:
        """None if it was erased."""
        try:
            return self._opened(entry)
        except KeyErased:
            return None

    def at(self, location: int) -> StoredEntry:
        return self._opened(self._journal.read(location).entry)

    def releases(self, record_id: str, first_leaf: int, last_leaf: int) -> Iterator[tuple[int, StoredEntry]]:
        """The RELEASE entries of a record, whose first and last leaves are given, with their locations."""
        for location, entry in self.release_entries(record_id, first_leaf, last_leaf):
            yield location, self._opened(entry)

    def release_entries(self, record_id: str, first_leaf: int, last_leaf: int) -> Iterator[tuple[int, Entry]]:
        """The same, as they are in the journal."""
        last = self.leaf_location(last_leaf) if last_leaf > first_leaf else None
        for location, frame in self._journal.frames(self.leaf_location(first_leaf), last):
            if not frame.entry.leaf and decode_clear(frame.entry.clear).record_id == record_id:
                yield location, frame.entry

    def key_in_use(self, tenant: str, key_id: str) -> bool:
        """It seals what is new of its subject."""
        return self._keys.in_use(tenant, key_id) is not None

    def cipher_of(self, stored: StoredEntry) -> RecordCipher:
        """Of the record that the entry belongs to."""
        return RecordCipher(self._keys.by_id(stored.clear.key_id).key, stored.clear.record_id)

    def _opened(self, entry: Entry) -> StoredEntry:
        clear = decode_clear(entry.clear)
        return opened(entry, clear, self._keys.by_id(clear.key_id).key)
