"""One index file: rows in, and back by record, by key, and by what was done to a record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import apsw

from services.audit.index.database import Readers, create, open_writer
from services.audit.index.files import IndexFile
from services.audit.index.identifiers import BlindKeys
from services.audit.index.rows import STATE, ActRow, Row, facet
from services.audit.records.open_records import Span
from services.audit.records.views import Summary

SEARCH_SECONDS = 5.0  # the longest that one look may take
SUMMARY_COLUMNS = (
    "record_id, time_ms, state, reason, tenant, caller, subject, model, trace_id, last_leaf, "
    "input_tokens, output_tokens"
)
# A record that was open keeps its place in the order of times.
_PUT = (
    f"INSERT INTO records (leaf, key_id, order_ms, digest, {SUMMARY_COLUMNS}) VALUES ({'?,' * 15}?) "
    "ON CONFLICT (leaf) DO UPDATE SET "
    "digest = excluded.digest, time_ms = excluded.time_ms, last_leaf = excluded.last_leaf, state = excluded.state, "
    "reason = excluded.reason, input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens"
)


@dataclass(frozen=True)
class Standing:
    """How far an index has come: all leaves below `leaves`; the last one's hash tells whether it is of this log."""

    leaves: int
    last_hash: bytes
    order_ms: int = 0  # the latest time of a record so far: never falls, though a clock may
    set_back_ms: int = 0  # the most that a record's own time was behind that


NOTHING_YET = Standing(0, b"")


class IndexStore:
    """`write` and `forget` are for one thread; all else is for any."""

    def __init__(self, file: IndexFile, *, new: bool = False) -> None:
        self.file, self.keys = file, BlindKeys(file.identifiers)
        self._writer = create(file.path, file.pages) if new else open_writer(file.path, file.pages)
        self.readers = Readers(file.path, file.pages, SEARCH_SECONDS)
        self.standing = self._standing()

    def _standing(self) -> Standing:
        about = dict(self._writer.execute("SELECT name, value FROM about"))
        return Standing(**about) if about else NOTHING_YET

    # --- the writing thread's ---------------------------------------------------------------------------------------

    def write(self, rows: Sequence[Row], gone: Iterable[int], acts: Sequence[ActRow], leaves: int, last: bytes) -> None:
        """One transaction: the rows, those `gone` by their first leaf, and how far the index has come with them."""
        order, set_back = self.standing.order_ms, self.standing.set_back_ms
        tenants = {row.summary.tenant for row in rows}
        run = self._writer.execute
        with self._writer:
            for row in sorted(rows, key=lambda row: row.leaf):
                order = max(order, row.summary.time_ms)
                set_back = max(set_back, order - row.summary.time_ms)
                self._put(row, order)
            for leaf in gone:
                self._delete(leaf)
            self._writer.executemany("INSERT OR IGNORE INTO tenants VALUES (?)", [(tenant,) for tenant in tenants])
            self._writer.executemany("INSERT OR REPLACE INTO acts VALUES (?,?,?,?,?,?,?)", acts)
            standing = Standing(leaves, last, order, set_back)
            for name, value in vars(standing).items():
                run("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))
        self.standing = standing

    def _put(self, row: Row, order_ms: int) -> None:
        one = row.summary
        values = (
            one.record_id, one.time_ms, one.state, one.reason, one.tenant, one.caller, one.subject, one.model,
            one.trace_id, one.leaf_index, one.input_tokens, one.output_tokens,
        )  # fmt: skip
        self._writer.execute(_PUT, (row.leaf, row.key_id, order_ms, row.digest, *values))
        self._writer.execute(
            "INSERT OR REPLACE INTO texts (rowid, words, facets) VALUES (?, ?, ?)", (row.leaf, row.words, row.facets)
        )

    def _delete(self, leaf: int) -> None:
        self._writer.execute("DELETE FROM texts WHERE rowid = ?", (leaf,))
        self._writer.execute("DELETE FROM records WHERE leaf = ?", (leaf,))

    def forget(self, key_id: str) -> int:
        """The rows of every record under a key that was destroyed; how many there were."""
        with self._writer:
            leaves = [leaf for (leaf,) in self._writer.execute("SELECT leaf FROM records WHERE key_id = ?", (key_id,))]
            for leaf in leaves:
                self._delete(leaf)
        return len(leaves)

    def key_ids(self) -> list[str]:
        """Of the records."""
        return [key_id for (key_id,) in self._writer.execute("SELECT DISTINCT key_id FROM records")]

    def settle(self) -> None:
        """Moves what was written from SQLite's log into the file, and empties the log."""
        self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def open_records(self) -> dict[str, int]:
        """The first leaf of each record that has not ended."""
        return dict(
            self._writer.execute(
                "SELECT record_id, leaf FROM texts CROSS JOIN records ON leaf = texts.rowid "
                "WHERE texts MATCH ? AND state = 'OPEN'",
                (f"facets : {facet(STATE, 'OPEN')}",),
            )
        )

    def close(self) -> None:
        self.readers.close()
        self._writer.close()

    # --- any thread's -----------------------------------------------------------------------------------------------

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
