"""Records as a stranger can check them: what is shown, openings of exactly that, proofs under one checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.audit.custody.orders import SUBJECT_ERASED, TENANT_ERASED
from services.audit.index.rows import ActRow
from services.audit.index.search import Filter, all_of
from services.audit.index.store import IndexStore
from services.audit.journal.frame import FrameInvalid
from services.audit.log.leaf import Kind
from services.audit.log.merkle import Tree
from services.audit.log.note import SignedCheckpoint, b64
from services.audit.records import sealer
from services.audit.records.fields import Content, Opening, Salts, leaves_of
from services.audit.records.stored import StoredEntries, StoredEntry
from services.audit.records.views import field_views, summary_of, verdict_of
from services.audit.sealing.keytree import KeyErased
from services.audit.sealing.payload import PayloadInvalid
from services.audit.sealing.provider import KeyUnusable

CERTIFICATES = (SUBJECT_ERASED, TENANT_ERASED)
PAGE = 200  # records looked up at once
MOST_ACTS = 1_000  # of one record


@dataclass(frozen=True)
class Exported:
    """One record: a line of records.jsonl, and lines of trail.jsonl. `place`: where the rest begins."""

    record: bytes
    trail: bytes
    place: int


@dataclass
class LeftOut:
    """How many records match and cannot be shown: no longer, or for want of a key or of whole bytes."""

    erased: int = 0
    unreadable: int = 0


class Export:
    """`signed`: every proof is under it, and nothing behind it is shown. `left_out` counts as `records` goes on."""

    def __init__(self, store: IndexStore, stored: StoredEntries, tree: Tree, signed: SignedCheckpoint) -> None:
        self._store, self._stored, self._tree, self._signed = store, stored, tree, signed
        self.left_out = LeftOut()

    def records(self, wanted: Filter, before: int | None) -> Iterator[Exported]:
        """Newest first, from below leaf `before` on."""
        start = self._signed.size if before is None else min(before, self._signed.size)
        for page in all_of(self._store, wanted, start, PAGE):
            for first_leaf, summary in page:
                last_leaf = summary.leaf_index if summary.leaf_index < self._signed.size else first_leaf
                try:
                    line = self._record(first_leaf, last_leaf)
                except KeyErased:
                    self.left_out.erased += 1
                    continue
                except (KeyUnusable, PayloadInvalid, FrameInvalid):
                    self.left_out.unreadable += 1
                    continue
                yield Exported(line, self._trail(summary.record_id), first_leaf)

    def _record(self, first_leaf: int, last_leaf: int) -> bytes:
        first = self._stored.leaf(first_leaf)
        last = self._stored.leaf(last_leaf) if last_leaf != first_leaf else first
        fields = {**first.fields, **last.fields} if last is not first else first.fields
        shown = {view.name: view.masked for view in field_views(fields) if view.masked}
        opened = [name for name, text in shown.items() if text.encode() == fields[name]]  # nothing of it is masked here
        entries = [self._entry(first_leaf, first)] if last is not first else []
        entries.append({**self._entry(last_leaf, last), "openings": _openings(last, opened)})
        summary = summary_of(last, last_leaf)
        return _line(
            {"record_id": summary.record_id, "verdict": verdict_of(summary), "fields": shown, "entries": entries}
        )

    def _trail(self, record_id: str) -> bytes:
        acts = self._store.acts_on(record_id, MOST_ACTS, "audit")
        return b"".join(self._act(act) for act in acts if act.leaf < self._signed.size)

    def _act(self, act: ActRow) -> bytes:
        entry = self._entry(act.leaf, self._stored.leaf(act.leaf))
        return _line({**entry, "record_id": act.target, "reason": act.reason})

    def certificate(self, erasure_id: str) -> bytes | None:
        """The act that ends the erasure, as a line of trail.jsonl; None while it is not carried out."""
        found = (self._store.act_named(action, erasure_id) for action in CERTIFICATES)
        act = next(filter(None, found), None)
        return self._act(act) if act and act.leaf < self._signed.size else None

    def _entry(self, leaf_index: int, entry: StoredEntry) -> dict[str, object]:
        """With the salt of its header, which is shown whole."""
        kind = entry.clear.kind.name
        return {
            "kind": kind,
            "leaf_index": leaf_index,
            "leaf": b64(entry.entry.leaf),
            "proof": [b64(each) for each in self._tree.inclusion(leaf_index, self._signed.size)],
            "header": entry.parts[sealer.HEADER].decode(),
            "header_salt": b64(Salts(entry.parts[sealer.SEED]).of(f"header:{kind}")),
        }


def _openings(last: StoredEntry, names: list[str]) -> dict[str, object]:
    salts = Salts(last.parts[sealer.SEED])
    leaves: Mapping[str, bytes] = last.leaves if last.clear.kind is Kind.END else leaves_of(salts, last.fields)
    content = Content(leaves)
    return {name: _opening(content.opening(name, salts)) for name in sorted(names) if name in content}


def _opening(opening: Opening) -> dict[str, object]:
    return {
        "index": opening.index,
        "count": opening.count,
        "salt": b64(opening.salt),
        "siblings": [b64(each) for each in opening.siblings],
    }


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
