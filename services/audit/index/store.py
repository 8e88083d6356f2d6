"""One index file as it is read: by record, and by what was done to a record; how far it has come."""

from __future__ import annotations

from dataclasses import dataclass

import apsw

from services.audit.index.database import IndexDamaged, Readers, TooSlow
from services.audit.index.files import IndexFile
from services.audit.index.identifiers import BlindKeys
from services.audit.index.rows import ActRow
from services.audit.records.open_records import Span
from services.audit.records.views import Summary

SEARCH_SECONDS = 5.0  # the longest that one look may take
SUMMARY_COLUMNS = (
    "record_id, time_ms, state, reason, tenant, caller, subject, model, trace_id, last_leaf, "
    "input_tokens, output_tokens"
)


@dataclass(frozen=True)
class Standing:
    """How far an index has come: all leaves below `leaves`; the last one's place in the journal, and its hash, which
    tells whether the index is of this log."""

    leaves: int
    location: int
    last_hash: bytes
    order_ms: int = 0  # the latest time of a record so far: never falls, though a clock may
    set_back_ms: int = 0  # the most that a record's own time was behind that
    forgotten: int = 0  # rows that were removed, and whose words the file still has until it is made again


NOTHING_YET = Standing(0, 0, b"")


def standing_of(connection: apsw.Connection) -> Standing:
    about = dict(connection.execute("SELECT name, value FROM about"))
    return Standing(**about) if about else NOTHING_YET


class IndexStore:
    """For any thread, and in another process than the one that writes."""

    def __init__(self, file: IndexFile) -> None:
        """IndexDamaged where it does not open."""
        self.file, self.keys = file, BlindKeys(file.identifiers)
        self.readers = Readers(file.path, file.pages, SEARCH_SECONDS)
        self.standing()

    def standing(self) -> Standing:
        with self.readers.one() as reader:
            return standing_of(reader)

    def close(self) -> None:
        self.readers.close()

    def known_span(self, record_id: str, leaves: int) -> tuple[Span | None, int]:
        """What an index that has come so far knows of a record's leaves, and how far it has come."""
        try:
            return self.span(record_id), leaves
        except (IndexDamaged, TooSlow):
            return None, 0  # the journal is searched instead

    def span(self, record_id: str) -> Span | None:
        with self.readers.one() as reader:
            found = reader.execute(
                "SELECT leaf, last_leaf FROM records WHERE record_id = ? ORDER BY leaf LIMIT 1", (record_id,)
            ).fetchone()
        return Span(*found) if found else None

    def acts_on(self, target: str, count: int, service: str) -> list[ActRow]:
        """The newest first."""
        return self._acts("target = ? AND service = ? ORDER BY leaf DESC LIMIT ?", target, service, count)

    def act_named(self, action: str, target: str) -> ActRow | None:
        """The first."""
        return next(iter(self._acts("target = ? AND action = ? ORDER BY leaf LIMIT 1", target, action)), None)

    def act(self, leaf: int) -> ActRow | None:
        return next(iter(self._acts("leaf = ?", leaf)), None)

    def _acts(self, condition: str, *values: int | str) -> list[ActRow]:
        with self.readers.one() as reader:
            return [ActRow(*row) for row in reader.execute(f"SELECT * FROM acts WHERE {condition}", values)]

    def row(self, leaf: int) -> tuple[str, bytes, Summary] | None:
        """Key id, digest and summary of the record that begins there."""
        with self.readers.one() as reader:
            found = reader.execute(
                f"SELECT key_id, digest, {SUMMARY_COLUMNS} FROM records WHERE leaf = ?", (leaf,)
            ).fetchone()
        return (found[0], found[1], Summary(*found[2:])) if found else None

    def counts(self, end: int) -> tuple[int, int]:
        """Records and acts that begin below leaf `end`."""
        with self.readers.one() as reader:
            return tuple(  # type: ignore[return-value]
                int(reader.execute(f"SELECT count(*) FROM {table} WHERE leaf < ?", (end,)).get)
                for table in ("records", "acts")
            )

    def words_of_texts(self, end: int) -> int:
        with self.readers.one() as reader:
            return int(reader.execute("SELECT count(*) FROM texts WHERE rowid < ?", (end,)).get)


def integrity(reader: apsw.Connection) -> list[str]:
    """What SQLite itself finds wrong with the file, its full text included."""
    return [str(said) for (said,) in reader.execute("PRAGMA integrity_check(8)") if said != "ok"]
