"""The rules: turns each append item into journal entries and an answer, and keeps the state they are judged by.

Owned by the writer's thread. `plan` changes the state at once; that is sound because nothing is answered before the
group is durable, and a group that fails to become durable ends the process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from services.audit.journal.frame import ClearPart, Entry
from services.audit.log.leaf import Kind, decode_leaf
from services.audit.log.merkle import Tree, leaf_hash
from services.audit.log.note import SignedCheckpoint
from services.audit.receipts import receipt_of, tlog_proof
from services.audit.records import sealer as sealing
from services.audit.records.acts import RememberedActs
from services.audit.records.boots import Boots
from services.audit.records.entries import (
    ANSWER_RELEASED,
    BINDING_ENDS,
    GATEWAY_LOST,
    REQUEST_RECEIVED,
    Accept,
    Accepted,
    Act,
    AppendRefused,
    End,
    Ended,
    Ending,
    Outcome,
    Recorded,
    Refusal,
    Refuse,
    Refused,
    Reject,
    Release,
    RequestItem,
    Ticket,
    Unreadable,
    item_digest,
)
from services.audit.records.fields import canonical, leaves_of, open_field
from services.audit.records.idempotency import Claim, IdempotencyKeys, claim_of
from services.audit.records.open_records import OpenRecord, RecentRecords, chained
from services.audit.records.sealer import Draft, Sealer, with_prefix
from services.audit.records.ticket import ticket_mac
from services.audit.records.validity import check, check_place, is_id
from services.audit.sealing.keytree import KeyTree, SubjectKey
from services.audit.sealing.provider import KeyUnusable

log = logging.getLogger(__name__)

# The log's own entries (ACT, CONTROL) are sealed under a tenant that no caller can have: its name is empty.
LOG_TENANT, LOG_SUBJECT = "", "log"


@dataclass(frozen=True)
class Reap:
    """Ends the records of every gateway boot that has been without a stream for too long."""


@dataclass(frozen=True)
class Presence:
    """An append stream of a gateway boot opened or closed."""

    boot: str
    opened: bool


@dataclass(frozen=True)
class Control:
    """Something that happened to the log itself."""

    event: str
    detail: Mapping[str, object] = field(default_factory=dict)


Item = RequestItem | Act | Reap | Presence | Control
Answer = Callable[[SignedCheckpoint], Outcome]


@dataclass(frozen=True)
class Plan:
    """Entries to make durable, and the answer once they are. `place` is the boot and sequence they account for."""

    entries: Sequence[Entry]
    answer: Answer
    place: tuple[str, int] | None = None


@dataclass(frozen=True)
class RecordLimits:
    item_bytes: int = 8 * 1024 * 1024
    open_records: int = 10_000
    recent_records: int = 100_000
    idempotency_keys_per_tenant: int = 100_000
    gateway_lost_seconds: float = 10.0


@dataclass(frozen=True)
class Clock:
    """wall: Unix seconds, for what is written down. monotonic: for how long a gateway has been away."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]

    def now_ms(self) -> int:
        return int(self.wall() * 1000)


def recorded(_: SignedCheckpoint) -> Outcome:
    return Recorded()


def refusing(refused: AppendRefused) -> Answer:
    def answer(_: SignedCheckpoint) -> Outcome:
        raise refused

    return answer


class Recorder:
    def __init__(
        self,
        origin: str,
        keys: KeyTree,
        tree: Tree,
        sealer: Sealer,
        ticket_key: bytes,
        clock: Clock,
        limits: RecordLimits,
        answer_again: Callable[[RequestItem, SignedCheckpoint], Outcome],
    ) -> None:
        self._origin, self._keys, self._tree, self._sealer = origin, keys, tree, sealer
        self._ticket_key, self._clock, self._limits = ticket_key, clock, limits
        self._answer_again = answer_again
        self.boots = Boots(clock.monotonic())
        self.open: dict[str, OpenRecord] = {}
        self.recent = RecentRecords(limits.recent_records)
        self.idempotency = IdempotencyKeys(limits.idempotency_keys_per_tenant)
        self.acts = RememberedActs()
        self.next_leaf = 0  # the index that the next leaf will have

    def plan(self, item: Item) -> Plan:
        match item:
            case Reap():
                return Plan(self._reap(), recorded)
            case Presence():
                return self._presence(item)
            case Control():
                return Plan([self._control(item.event, item.detail)], recorded)
            case Act():
                return Plan([] if item.once and self.acts.known(item) else [self._act(item)], recorded)
            case _:
                return self._plan_request(item)

    def _plan_request(self, item: RequestItem) -> Plan:
        check_place(item.boot, item.sequence)
        expected = self.boots.next(item.boot)
        if item.sequence < expected:
            return Plan([], partial(self._answer_again, item))
        if item.sequence != expected:
            raise AppendRefused(Refusal.SEQUENCE_GAP, detail=f"expected {expected}", expected=expected)
        try:
            check(item, self._limits.item_bytes)
            entry, answer = self._judge(item)
        except AppendRefused as refused:
            entry, answer = self._refused_append(item, refused), refusing(refused)
        except (ValueError, KeyUnusable):  # ValueError: text or numbers that canonical JSON cannot hold
            log.exception("sequence %d of boot %s cannot be recorded", item.sequence, item.boot)
            unsound = AppendRefused(Refusal.INVALID_ITEM, detail="audit cannot record it")
            entry, answer = self._refused_append(item, unsound), refusing(unsound)
        self.boots.advance(item.boot, item.sequence)
        return Plan([entry], answer, (item.boot, item.sequence))

    def _judge(self, item: RequestItem) -> tuple[Entry, Answer]:
        match item:
            case Accept():
                return self._accept(item)
            case Refuse():
                return self._refuse(item)
            case Reject():
                self._must_be_new(item.record_id)
                return self._reject(item, item.reason, {"field": item.field, "count": item.count}, {}), recorded
            case Release():
                return self._release(item), recorded
            case End():
                return self._end(item)
            case Unreadable():
                raise AppendRefused(Refusal.INVALID_ITEM, detail=item.problem)

    # --- entries that open a record ------------------------------------------------------------------------------

    def _accept(self, item: Accept) -> tuple[Entry, Answer]:
        self._must_be_new(item.record_id)
        claim = self._claimed(item)
        if len(self.open) >= self._limits.open_records:
            raise AppendRefused(Refusal.OPEN_RECORDS_FULL, detail=f"at most {self._limits.open_records}")
        key, about = self._subject(item), self._about(item)
        header = {"deadline_ms": item.deadline_ms, "job_digests": [digest.hex() for digest in item.job_digests]}
        entry, seed, leaves = self._opening_entry(item, Kind.ACCEPTED, key, {**about, **header}, claim)
        accepted = leaf_hash(entry.leaf)
        self.open[item.record_id] = OpenRecord(
            record_id=item.record_id,
            boot=item.boot,
            key_id=key.key_id,
            accepted_leaf=accepted,
            accepted_ms=self._clock.now_ms(),
            seed=seed,
            leaves=leaves,
            about=about,
            idempotency_key=claim.key if claim else b"",
            releases=0,
            head=accepted,
        )
        return entry, partial(self.accepted, item, accepted)

    def accepted(self, item: Accept, accepted_leaf: bytes, _: SignedCheckpoint) -> Outcome:
        return Accepted(accepted_leaf, tuple(self._ticket(item, digest) for digest in item.job_digests), self._origin)

    def _ticket(self, item: Accept, digest: bytes) -> Ticket:
        mac = ticket_mac(self._ticket_key, self._origin, item.record_id, item.deadline_ms, digest)
        return Ticket(digest, item.deadline_ms, mac)

    def _refuse(self, item: Refuse) -> tuple[Entry, Answer]:
        self._must_be_new(item.record_id)
        claim = self._claimed(item)
        index = self.next_leaf
        header = {**self._about(item), "rule": item.rule}
        entry, seed, leaves = self._opening_entry(item, Kind.REFUSED, self._subject(item), header, claim)
        return entry, partial(self.receipt, item.record_id, index, entry.leaf, seed, leaves)

    def _opening_entry(
        self, item: Accept | Refuse, kind: Kind, key: SubjectKey, header: Mapping[str, object], claim: Claim | None
    ) -> tuple[Entry, bytes, dict[str, bytes]]:
        seed = self._sealer.new_seed()
        leaves = leaves_of(seed, item.fields)
        parts = {**with_prefix(sealing.FIELD, item.fields), sealing.ITEM: item_digest(item)}
        if claim:
            parts |= {sealing.IDEMPOTENCY_KEY: claim.key, sealing.IDEMPOTENCY_REQUEST: claim.request}
        clear = ClearPart(kind, item.record_id, 0, item.boot, item.sequence, key.key_id)
        draft = Draft(clear=clear, seed=seed, header=self._timed(header), leaves=leaves, parts=parts)
        entry = self._leaf(key, draft)
        if claim:
            self.idempotency.claim(item.tenant, claim, item.record_id, self._clock.now_ms())
        return entry, seed, leaves

    def _must_be_new(self, record_id: str) -> None:
        if record_id in self.recent:
            raise AppendRefused(Refusal.RECORD_EXISTS)

    def _claimed(self, item: Accept | Refuse) -> Claim | None:
        """The item's claim on its idempotency key, if it has a key that nobody else holds."""
        if not item.idempotency_key:
            return None
        request = item.fields.get(REQUEST_RECEIVED, b"")
        claim = claim_of(self._keys.idempotency_key, item.tenant, item.caller, item.idempotency_key, request)
        now = self._clock.now_ms()
        if holder := self.idempotency.holder(item.tenant, claim, now):
            raise AppendRefused(Refusal.IDEMPOTENCY_CONFLICT, holder=holder)
        if self.idempotency.full(item.tenant, now):
            raise AppendRefused(Refusal.IDEMPOTENCY_KEYS_FULL)
        return claim

    # --- entries of an open record -------------------------------------------------------------------------------

    def _opened_by(self, item: Release | End) -> OpenRecord:
        record = self.open.get(item.record_id)
        if record is None:
            known = item.record_id in self.recent
            raise AppendRefused(Refusal.RECORD_ENDED if known else Refusal.RECORD_UNKNOWN)
        if record.boot != item.boot:
            raise AppendRefused(Refusal.NOT_THIS_BOOT)
        return record

    def _release(self, item: Release) -> Entry:
        record = self._opened_by(item)
        if item.n != record.releases:
            raise AppendRefused(Refusal.RELEASE_OUT_OF_ORDER, detail=f"expected n {record.releases}")
        place = (item.boot, item.sequence)
        clear = ClearPart(Kind.RELEASE, item.record_id, item.n, *place, record.key_id, record.accepted_leaf)
        time = self._clock.now_ms().to_bytes(8, "big")
        parts = {sealing.BODY: item.body, sealing.TIME: time, sealing.ITEM: item_digest(item)}
        entry = self._sealer.release(self._keys.by_id(record.key_id), clear, parts)
        record.releases, record.head = item.n + 1, chained(record.head, entry.sealed_hash)
        return entry

    def _end(self, item: End) -> tuple[Entry, Answer]:
        record = self._opened_by(item)
        index = self.next_leaf
        header = {"end": item.end, "reason": item.reason, "finish_reason": item.finish_reason, "usage": item.usage}
        leaves = {**record.leaves, **leaves_of(record.seed, item.fields)}
        parts = {**with_prefix(sealing.FIELD, item.fields), sealing.ITEM: item_digest(item)}
        entry = self._end_entry(record, item.end, header, leaves, parts, (item.boot, item.sequence))
        return entry, partial(self.receipt, item.record_id, index, entry.leaf, record.seed, leaves)

    def _end_entry(
        self,
        record: OpenRecord,
        end: Ending,
        header: Mapping[str, object],
        leaves: Mapping[str, bytes],
        parts: Mapping[str, bytes],
        place: tuple[str, int],
    ) -> Entry:
        clear = ClearPart(
            Kind.END,
            record.record_id,
            record.releases,
            *place,
            record.key_id,
            record.accepted_leaf,
            record.head,
            record.releases,
        )
        draft = Draft(
            clear=clear,
            seed=record.seed,
            header=self._timed({"accepted_ms": record.accepted_ms, **record.about, **header}),
            leaves=leaves,
            parts={**parts, **with_prefix(sealing.LEAF, leaves)},
        )
        entry = self._leaf(self._keys.by_id(record.key_id), draft)
        del self.open[record.record_id]
        if record.idempotency_key and end not in BINDING_ENDS and record.releases == 0:
            self.idempotency.free(record.tenant, record.idempotency_key, record.record_id)
        return entry

    def receipt(
        self,
        record_id: str,
        index: int,
        leaf: bytes,
        seed: bytes,
        leaves: Mapping[str, bytes],
        signed: SignedCheckpoint,
    ) -> Outcome:
        shown = [name for name in (REQUEST_RECEIVED, ANSWER_RELEASED) if name in leaves]
        openings = {name: open_field(seed, leaves, name) for name in shown}
        entry = decode_leaf(leaf)
        receipt = receipt_of(record_id, entry, openings, tlog_proof(self._tree, index, signed), self._origin)
        return Refused(receipt) if entry.kind is Kind.REFUSED else Ended(receipt)

    # --- entries of audit itself ---------------------------------------------------------------------------------

    def _presence(self, item: Presence) -> Plan:
        if item.opened:
            self.boots.stream_opened(item.boot)
        else:
            self.boots.stream_closed(item.boot, self._clock.monotonic())
        return Plan([], recorded)

    def _reap(self) -> list[Entry]:
        """Invariant 4: every accepted request ends, after its gateway's death too."""
        now = self._clock.monotonic()
        boots = {record.boot for record in self.open.values()}
        self.boots.forget_oldest(boots)
        lost = {boot for boot in boots if self.boots.absent_for(boot, now) >= self._limits.gateway_lost_seconds}
        header = {"end": Ending.FAILED, "reason": GATEWAY_LOST, "finish_reason": "", "usage": {}}
        return [
            self._end_entry(record, Ending.FAILED, header, record.leaves, {}, ("", 0))
            for record in [record for record in self.open.values() if record.boot in lost]
        ]

    def _control(self, event: str, detail: Mapping[str, object]) -> Entry:
        key = self._keys.subject(LOG_TENANT, LOG_SUBJECT)
        clear = ClearPart(Kind.CONTROL, "", self.next_leaf, "", 0, key.key_id)
        return self._leaf(key, Draft(clear=clear, header=self._timed({"event": event, **detail}), leaves={}, parts={}))

    def _act(self, item: Act) -> Entry:
        key = self._keys.subject(LOG_TENANT, LOG_SUBJECT)
        clear = ClearPart(Kind.ACT, "", self.next_leaf, "", 0, key.key_id)
        header = {
            "service": item.service,
            "actor": item.actor,
            "action": item.action,
            "target": item.target,
        }
        draft = Draft(clear=clear, header=self._timed(header), leaves={}, parts={sealing.DETAIL: item.detail})
        entry = self._leaf(key, draft)
        self.acts.add(item.service, item.action, item.target)
        return entry

    def _refused_append(self, item: RequestItem, refused: AppendRefused) -> Entry:
        """Accounts for the sequence number of an item that is not appended, so that none is ever missing."""
        holder = refused.holder
        refusal = {
            "refusal": refused.refusal.name,
            "detail": refused.detail,
            "holder": holder.record_id if holder else "",
            "same_request": holder.same_request if holder else False,
        }
        parts = {sealing.REFUSAL: canonical(refusal), sealing.ITEM: item_digest(item)}
        if isinstance(item, Accept | Refuse) and holder:
            return self._reject(item, refused.refusal.name, {"field": "idempotency_key", "count": 1}, parts)
        key = self._keys.subject(LOG_TENANT, LOG_SUBJECT)
        record_id = item.record_id if is_id(item.record_id) else ""
        clear = ClearPart(Kind.CONTROL, record_id, self.next_leaf, item.boot, item.sequence, key.key_id)
        header = {"event": "refused append", "item": type(item).__name__, **refusal}
        return self._leaf(key, Draft(clear=clear, header=self._timed(header), leaves={}, parts=parts))

    def _reject(
        self, item: Accept | Refuse | Reject, reason: str, about: Mapping[str, object], parts: Mapping[str, bytes]
    ) -> Entry:
        key = self._subject(item)
        clear = ClearPart(Kind.REJECTED, item.record_id, 0, item.boot, item.sequence, key.key_id)
        header = self._timed({**self._about(item), "reason": reason, **about})
        return self._leaf(
            key, Draft(clear=clear, header=header, leaves={}, parts={sealing.ITEM: item_digest(item), **parts})
        )

    # --- parts of an entry ---------------------------------------------------------------------------------------

    def _leaf(self, key: SubjectKey, draft: Draft) -> Entry:
        entry = self._sealer.entry(key, draft)
        if draft.clear.record_id and draft.clear.kind is not Kind.CONTROL:
            self.recent.add(draft.clear.record_id, self.next_leaf)
        self.next_leaf += 1
        return entry

    def _subject(self, item: Accept | Refuse | Reject) -> SubjectKey:
        return self._keys.subject(item.tenant, item.subject or item.caller)

    def _about(self, item: Accept | Refuse | Reject) -> dict[str, object]:
        return {
            "tenant": item.tenant,
            "caller": item.caller,
            "subject": self._keys.pseudonym(item.tenant, item.subject or item.caller),
            "model": "" if isinstance(item, Reject) else item.model,
            "trace_id": item.trace_id,
        }

    def _timed(self, header: Mapping[str, object]) -> dict[str, object]:
        return {"time_ms": self._clock.now_ms(), **header}
