"""One index file as it is written, by one thread of one process: rows in and out, and how far it has come with them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from services.audit.index.database import create, open_writer
from services.audit.index.files import IndexFile
from services.audit.index.projection import Batch
from services.audit.index.rows import STATE, Place, Row, facet
from services.audit.index.store import SUMMARY_COLUMNS, Standing, standing_of

# A record that was open keeps its place in the order of times.
_PUT = (
    f"INSERT INTO records (leaf, location, key_id, order_ms, digest, {SUMMARY_COLUMNS}) VALUES ({'?,' * 16}?) "
    "ON CONFLICT (leaf) DO UPDATE SET "
    "digest = excluded.digest, time_ms = excluded.time_ms, last_leaf = excluded.last_leaf, state = excluded.state, "
    "reason = excluded.reason, input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens"
)
_PUT_TEXT = "INSERT OR REPLACE INTO texts (rowid, words, facets) VALUES (?, ?, ?)"
_PUT_ABOUT = "INSERT OR REPLACE INTO about VALUES (?, ?)"


class IndexWriter:
    def __init__(self, file: IndexFile, *, new: bool = False) -> None:
        self.file = file
        self._database = create(file.path, file.pages) if new else open_writer(file.path, file.pages)
        self.standing = standing_of(self._database)

    def write(self, batch: Batch) -> None:
        """One transaction: the rows, those that are gone, and how far the index has come with them."""
        rows = sorted(batch.rows.values())
        tenants = {row.summary.tenant for row in rows}
        run = self._database.executemany
        with self._database:
            standing = self._put(rows, batch)
            self._delete(batch.gone)
            run("INSERT OR IGNORE INTO tenants VALUES (?)", [(tenant,) for tenant in tenants])
            run("INSERT OR REPLACE INTO acts VALUES (?,?,?,?,?,?,?)", batch.acts)
            run(_PUT_ABOUT, vars(standing).items())
        self.standing = standing

    def _put(self, rows: Sequence[Row], batch: Batch) -> Standing:
        order, set_back = self.standing.order_ms, self.standing.set_back_ms
        values = []
        for row in rows:
            order = max(order, row.summary.time_ms)
            set_back = max(set_back, order - row.summary.time_ms)
            values.append(_values(row, order))
        self._database.executemany(_PUT, values)
        self._database.executemany(_PUT_TEXT, [(row.leaf, row.words, row.facets) for row in rows])
        return Standing(batch.end, batch.location, batch.last_hash, order, set_back, self.standing.forgotten)

    def _delete(self, leaves: Collection[int]) -> None:
        for table, key in (("texts", "rowid"), ("records", "leaf")):
            self._database.executemany(f"DELETE FROM {table} WHERE {key} = ?", [(leaf,) for leaf in leaves])

    def forget(self, key_ids: Collection[str]) -> int:
        """The rows of every record under keys that were destroyed; how many there were. Durable when it returns."""
        find = "SELECT leaf FROM records WHERE key_id = ?"
        leaves = [leaf for key_id in key_ids for (leaf,) in self._database.execute(find, (key_id,))]
        if leaves:
            standing = replace(self.standing, forgotten=self.standing.forgotten + len(leaves))
            with self._database:
                self._delete(leaves)
                self._database.executemany(_PUT_ABOUT, vars(standing).items())
            self.standing = standing
            self.settle()
        return len(leaves)

    def key_ids(self, most: int) -> Iterator[list[str]]:
        """Of the records, a part at a time."""
        after = ""
        find = "SELECT DISTINCT key_id FROM records WHERE key_id > ? ORDER BY key_id LIMIT ?"
        while found := [key_id for (key_id,) in self._database.execute(find, (after, most))]:
            yield found
            after = found[-1]

    def settle(self) -> None:
        """Moves what was written from SQLite's log into the file, and empties the log."""
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def open_records(self) -> dict[str, Place]:
        """Where each record begins that has not ended."""
        found = self._database.execute(
            "SELECT record_id, leaf, location FROM texts CROSS JOIN records ON leaf = texts.rowid "
            "WHERE texts MATCH ? AND state = 'OPEN'",
            (f"facets : {facet(STATE, 'OPEN')}",),
        )
        return {record_id: Place(leaf, location) for record_id, leaf, location in found}

    def close(self) -> None:
        self._database.close()


def _values(row: Row, order_ms: int) -> tuple[object, ...]:
    one = row.summary
    return (
        row.leaf, row.location, row.key_id, order_ms, row.digest,
        one.record_id, one.time_ms, one.state, one.reason, one.tenant, one.caller, one.subject, one.model,
        one.trace_id, one.leaf_index, one.input_tokens, one.output_tokens,
    )  # fmt: skip
