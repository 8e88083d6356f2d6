"""Checks the index against the journal, entry by entry, and the file against itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from services.audit.index.projection import Batch, Projection
from services.audit.index.record_keys import RecordKeys
from services.audit.index.rows import Row
from services.audit.index.store import IndexStore, integrity
from services.audit.journal.reading import JournalReader

MOST_PROBLEMS = 100
_BATCH_LEAVES = 2_000


@dataclass
class Check:
    """What was found so far, of leaves below `total`."""

    total: int
    done: int = 0
    records: int = 0
    problems: list[str] = field(default_factory=list)
    more_problems: int = 0  # that are not listed

    def problem(self, what: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(what)
        else:
            self.more_problems += 1


def checked(store: IndexStore, journal: JournalReader, keys: RecordKeys) -> Iterator[Check]:
    """Makes every row again and compares; yields how far it is, the last one being the result."""
    check = Check(store.standing().leaves)
    projection, open_rows, acts = Projection(journal, keys, store.keys), dict[int, Row](), 0
    while check.done < check.total:
        batch = projection.batch(min(check.done + _BATCH_LEAVES, check.total))
        _compare(store, check, batch, open_rows)
        acts += len(batch.acts)
        check.done = batch.end
        yield check
    for row in open_rows.values():
        _compare_row(store, check, row)
    _compare_counts(store, check, acts)
    with store.readers.one() as reader:
        for said in integrity(reader):
            check.problem(f"SQLite: {said}")
    yield check


def _compare(store: IndexStore, check: Check, batch: Batch, open_rows: dict[int, Row]) -> None:
    for leaf in batch.gone:
        open_rows.pop(leaf, None)
    for leaf, row in batch.rows.items():
        open_rows.pop(leaf, None)
        if row.summary.state == "OPEN":
            open_rows[leaf] = row
        else:
            _compare_row(store, check, row)
    for act in batch.acts:
        if store.act(act.leaf) != act:
            check.problem(f"leaf {act.leaf}: the act is missing or another")


def _compare_row(store: IndexStore, check: Check, row: Row) -> None:
    check.records += 1
    found = store.row(row.leaf)
    if found is None:
        check.problem(f"leaf {row.leaf}: the record is missing")
        return
    key_id, digest, summary = found
    if summary.leaf_index >= check.total:
        return  # it ended since the check began
    if (key_id, digest, summary) != (row.key_id, row.digest, row.summary):
        check.problem(f"leaf {row.leaf}: the record is another")


def _compare_counts(store: IndexStore, check: Check, acts: int) -> None:
    found, found_acts = store.counts(check.total)
    if found != check.records:
        check.problem(f"{found} records, but the journal has {check.records}")
    if found_acts != acts:
        check.problem(f"{found_acts} acts, but the journal has {acts}")
    if (words := store.words_of_texts(check.total)) != check.records:
        check.problem(f"{words} texts, but the journal has {check.records} records")
