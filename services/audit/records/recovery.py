"""Rebuilds the recorder's state from the journal when audit starts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from services.audit.completeness.recount import LOOKED_THROUGH, jobs_of, recount
from services.audit.journal.frame import Frame, decode_clear
from services.audit.log.leaf import Kind
from services.audit.log.merkle import Tree, leaf_hash
from services.audit.records import sealer
from services.audit.records.acts import REMEMBERED_ACTS
from services.audit.records.entries import BINDING_ENDS
from services.audit.records.fields import Salts, leaves_of
from services.audit.records.idempotency import WINDOW_MS, Claim
from services.audit.records.open_records import OpenRecord, chained
from services.audit.records.planning import STOPPED
from services.audit.records.recorder import Recorder
from services.audit.records.stored import StoredEntries, StoredEntry
from services.audit.sealing.payload import RecordCipher

_ABOUT = ("tenant", "caller", "subject", "model", "trace_id")


@dataclass
class _Opened:
    leaf_index: int
    releases: int
    head: bytes


class Replay:
    """Takes every frame in order; `finish` then decrypts only what is open or young."""

    def __init__(self, recorder: Recorder, stored: StoredEntries, tree: Tree) -> None:
        self._recorder, self._stored, self._tree = recorder, stored, tree
        self._open: dict[str, _Opened] = {}
        self._acts: deque[int] = deque(maxlen=REMEMBERED_ACTS)  # leaf indexes
        self._controls: deque[int] = deque(maxlen=LOOKED_THROUGH)  # leaf indexes
        self._last: Kind | None = None  # of the last frame

    def visit(self, location: int, frame: Frame) -> None:
        entry = frame.entry
        self._last = entry.kind
        clear = decode_clear(entry.clear)
        if clear.boot:
            if missing := clear.sequence - self._recorder.boots.next(clear.boot):
                self._recorder.ledger.missing(clear.boot, missing)
            self._recorder.boots.advance(clear.boot, clear.sequence)
            self._recorder.boots.located(clear.boot, clear.sequence, location)
        if entry.leaf:
            if clear.record_id and clear.kind is not Kind.CONTROL:
                self._recorder.recent.add(clear.record_id, self._tree.size)
            if clear.kind is Kind.ACCEPTED:
                self._open[clear.record_id] = _Opened(self._tree.size, 0, leaf_hash(entry.leaf))
            elif clear.kind is Kind.END:
                self._open.pop(clear.record_id, None)
            elif clear.kind is Kind.ACT:
                self._acts.append(self._tree.size)
            elif clear.kind is Kind.CONTROL and not clear.boot:
                self._controls.append(self._tree.size)
            self._recorder.scribe.last_leaf[clear.key_id] = self._tree.size
            self._tree.append(leaf_hash(entry.leaf))
            self._stored.add_leaf(location, entry.leaf)
        elif clear.record_id in self._open:
            opened = self._open[clear.record_id]
            opened.releases, opened.head = clear.n + 1, chained(opened.head, entry.sealed_hash)

    @property
    def stopped_cleanly(self) -> bool:
        """The last entry is that of a stop, or there is none."""
        if self._last is not Kind.CONTROL:
            return self._last is None
        last = self._stored.readable(self._tree.size - 1)
        return last is not None and last.header["event"] == STOPPED

    def finish(self, now_ms: int) -> None:
        self._recorder.scribe.next_leaf = self._tree.size
        for opened in self._open.values():
            durable = self._stored.leaf(opened.leaf_index)
            self._recorder.open[durable.clear.record_id] = _open_record(
                durable, opened, self._stored.cipher_of(durable)
            )
        self._recorder.boots.forget_oldest({record.boot for record in self._recorder.open.values()})
        for index in self._acts:
            header = self._stored.leaf(index).header
            self._recorder.acts.add(str(header["service"]), str(header["action"]), str(header["target"]))
        recorder = self._recorder
        recount(recorder.ledger, self._stored, recorder.recent, self._controls, recorder.open.values())
        self._restore_idempotency(now_ms)

    def _restore_idempotency(self, now_ms: int) -> None:
        """Backwards through the last 24 hours: an END is met before the claim that it frees or binds."""
        freed: set[str] = set()
        claims: list[tuple[StoredEntry, Claim]] = []
        for index in range(self._stored.leaf_count - 1, -1, -1):
            entry = self._stored.entry(index)
            if entry.kind not in (Kind.ACCEPTED, Kind.REFUSED, Kind.END):
                continue
            durable = self._stored.opened(entry)
            if durable is None:  # its key's claim was freed with it
                continue
            if durable.time_ms <= now_ms - WINDOW_MS:
                break
            if entry.kind is Kind.END:
                if durable.header["end"] not in BINDING_ENDS and durable.clear.release_count == 0:
                    freed.add(durable.clear.record_id)
            elif sealer.IDEMPOTENCY_KEY in durable.parts and durable.clear.record_id not in freed:
                parts = durable.parts
                claims.append((durable, Claim(parts[sealer.IDEMPOTENCY_KEY], parts[sealer.IDEMPOTENCY_REQUEST])))
        for durable, claim in reversed(claims):
            tenant = str(durable.header["tenant"])
            clear, since_ms = durable.clear, durable.time_ms
            self._recorder.idempotency.claim(tenant, claim, clear.record_id, since_ms, clear.key_id)


def _open_record(durable: StoredEntry, opened: _Opened, cipher: RecordCipher) -> OpenRecord:
    salts = Salts(durable.parts[sealer.SEED])
    return OpenRecord(
        record_id=durable.clear.record_id,
        boot=durable.clear.boot,
        key_id=durable.clear.key_id,
        accepted_leaf=leaf_hash(durable.entry.leaf),
        accepted_ms=durable.time_ms,
        cipher=cipher,
        salts=salts,
        leaves=leaves_of(salts, durable.fields),
        about={name: durable.header[name] for name in _ABOUT},
        idempotency_key=durable.parts.get(sealer.IDEMPOTENCY_KEY, b""),
        jobs=jobs_of(durable),
        releases=opened.releases,
        head=opened.head,
    )
