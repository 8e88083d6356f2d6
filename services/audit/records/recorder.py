"""The rules: turns each append item into journal entries and an answer, and keeps the state they are judged by.

Owned by whoever commits, one group at a time. `plan` changes the state at once; that is sound because nothing is
answered before the group is durable, and a group that fails to become durable ends the process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial

from services.audit.completeness.ledger import Ledger
from services.audit.journal.frame import ClearPart, Entry
from services.audit.journal.room import Room
from services.audit.log.leaf import Kind, decode_leaf
from services.audit.log.merkle import Tree, leaf_hash
from services.audit.log.note import SignedCheckpoint
from services.audit.receipts import COSIGNED, DURABLE, receipt_text, tlog_proof
from services.audit.records import sealer as sealing
from services.audit.records.acts import RememberedActs
from services.audit.records.admission import Admission, Disk
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
from services.audit.records.fields import Content, Salts, leaves_of
from services.audit.records.idempotency import Claim, IdempotencyKeys, claim_of
from services.audit.records.open_records import OpenRecord, RecentRecords, chained
from services.audit.records.planning import (
    COUNTED,
    HEARTBEAT,
    STARTED,
    STOPPED,
    Answer,
    Clock,
    Control,
    Decision,
    Item,
    Plan,
    Presence,
    Reap,
    RecordLimits,
    recorded,
    refusing,
)
from services.audit.records.scribe import Scribe
from services.audit.records.sealer import Draft, Sealer, with_prefix
from services.audit.records.ticket import TicketKey
from services.audit.records.validity import check, check_place
from services.audit.sealing.keytree import KeyTree
from services.audit.sealing.payload import RecordCipher
from services.audit.sealing.provider import KeyUnusable

log = logging.getLogger(__name__)


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
        disk: Disk,
        answer_again: Callable[[RequestItem, SignedCheckpoint], Outcome],
    ) -> None:
        self._origin, self._keys, self._tree, self._sealer = origin, keys, tree, sealer
        self.recent = RecentRecords(limits.recent_records)
        self.scribe = Scribe(keys, sealer, clock, self.recent)
        self._tickets, self._clock, self._limits = TicketKey(ticket_key, origin), clock, limits
        self._answer_again = answer_again
        self.boots = Boots(clock.monotonic())
        self.open: dict[str, OpenRecord] = {}
        self.idempotency = IdempotencyKeys(limits.idempotency_keys_per_tenant)
        self.acts = RememberedActs()
        self.ledger = Ledger(clock.monotonic)
        self._admission = Admission(disk, self.open, limits.open_records, clock.monotonic)

    def plan(self, item: Item) -> Plan:
        match item:
            case Reap():
                return Plan(self._reap(), recorded)
            case Presence():
                return self._presence(item)
            case Control():
                return Plan([self.scribe.control(item.event, {**item.detail, **self._kept_with(item.event)})], recorded)
            case Act():
                return self._act(item)
            case Decision():
                self._admission.require_room(Room.ENDS)  # before anything is changed
                return self._act(item.decide())
            case _:
                return self._plan_request(item)

    def _plan_request(self, item: RequestItem) -> Plan:
        check_place(item.boot, item.sequence)
        expected = self.boots.next(item.boot)
        if item.sequence < expected:
            return Plan([], partial(self._answer_again, item), reads=True)
        if item.sequence != expected:
            raise AppendRefused(Refusal.SEQUENCE_GAP, detail=f"expected {expected}", expected=expected)
        try:
            check(item, self._limits.item_bytes)
            entry, answer = self._judge(item)
        except AppendRefused as refused:
            entry, answer = self.scribe.refused_append(item, refused), refusing(refused)
        except (ValueError, KeyUnusable):  # ValueError: text or numbers that canonical JSON cannot hold
            log.exception("sequence %d of boot %s cannot be recorded", item.sequence, item.boot)
            unsound = AppendRefused(Refusal.INVALID_ITEM, detail="audit cannot record it")
            entry, answer = self.scribe.refused_append(item, unsound), refusing(unsound)
        self.boots.advance(item.boot, item.sequence)
        return Plan([entry], answer, (item.boot, item.sequence))

    def _judge(self, item: RequestItem) -> tuple[Entry, Answer]:
        match item:
            case Accept():
                return self._accept(item)
            case Refuse():
                return self._refuse(item)
            case Reject():
                self._may_open(item.record_id)
                return self.scribe.reject(item, item.reason, {"field": item.field, "count": item.count}, {}), recorded
            case Release():
                return self._release(item), recorded
            case End():
                return self._end(item)
            case Unreadable():
                raise AppendRefused(Refusal.INVALID_ITEM, detail=item.problem)

    # --- entries that open a record ------------------------------------------------------------------------------

    def _accept(self, item: Accept) -> tuple[Entry, Answer]:
        self._may_open(item.record_id)
        claim = self._claimed(item)
        self._admission.require_place()
        key = self.scribe.subject(item)
        cipher, about = RecordCipher(key.key, item.record_id), self.scribe.about(item, key)
        header = {"deadline_ms": item.deadline_ms, "job_digests": [digest.hex() for digest in item.job_digests]}
        salts = self._sealer.new_salts()
        leaves = leaves_of(salts, item.fields)
        draft = self.scribe.opening(item, Kind.ACCEPTED, key, {**about, **header}, salts, Content(leaves), claim)
        entry = self.scribe.leaf(cipher, draft)
        self._keep(claim, item, key.key_id)
        self.ledger.accepted(item.boot, len(item.job_digests))
        accepted = leaf_hash(entry.leaf)
        self.open[item.record_id] = OpenRecord(
            record_id=item.record_id,
            boot=item.boot,
            key_id=key.key_id,
            accepted_leaf=accepted,
            accepted_ms=self._clock.now_ms(),
            cipher=cipher,
            salts=salts,
            leaves=leaves,
            about=about,
            idempotency_key=claim.key if claim else b"",
            jobs=len(item.job_digests),
            releases=0,
            head=accepted,
        )
        return entry, partial(self.accepted, item, accepted)

    def accepted(self, item: Accept, accepted_leaf: bytes, _: SignedCheckpoint) -> Outcome:
        return Accepted(accepted_leaf, tuple(self._ticket(item, digest) for digest in item.job_digests), self._origin)

    def _ticket(self, item: Accept, digest: bytes) -> Ticket:
        return Ticket(digest, item.deadline_ms, self._tickets.mac(item.record_id, item.deadline_ms, digest))

    def _refuse(self, item: Refuse) -> tuple[Entry, Answer]:
        self._may_open(item.record_id)
        claim = self._claimed(item)
        index, key = self.scribe.next_leaf, self.scribe.subject(item)
        header = {**self.scribe.about(item, key), "rule": item.rule}
        salts = self._sealer.new_salts()
        content = Content(leaves_of(salts, item.fields))
        draft = self.scribe.opening(item, Kind.REFUSED, key, header, salts, content, claim)
        entry = self.scribe.leaf(RecordCipher(key.key, item.record_id), draft)
        self._keep(claim, item, key.key_id)
        return entry, partial(self.receipt, item.record_id, index, entry.leaf, salts, content)

    def _may_open(self, record_id: str) -> None:
        if record_id in self.recent:
            raise AppendRefused(Refusal.RECORD_EXISTS)
        self._admission.require_room(Room.NO_NEW_RECORDS)

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
            room = self.idempotency.seconds_until_room(item.tenant, now)
            raise AppendRefused(Refusal.IDEMPOTENCY_KEYS_FULL, retry_after_seconds=room)
        return claim

    def _keep(self, claim: Claim | None, item: Accept | Refuse, key_id: str) -> None:
        if claim:
            self.idempotency.claim(item.tenant, claim, item.record_id, self._clock.now_ms(), key_id)

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
        self._admission.require_room(Room.ENDS)
        if item.n != record.releases:
            raise AppendRefused(Refusal.RELEASE_OUT_OF_ORDER, detail=f"expected n {record.releases}")
        place = (item.boot, item.sequence)
        clear = ClearPart(Kind.RELEASE, item.record_id, item.n, *place, record.key_id, record.accepted_leaf)
        time = self._clock.now_ms().to_bytes(8, "big")
        parts = {sealing.BODY: item.body, sealing.TIME: time, sealing.ITEM: item_digest(item)}
        entry = self._sealer.release(record.cipher, clear, parts)
        record.releases, record.head = item.n + 1, chained(record.head, entry.sealed_hash)
        return entry

    def _end(self, item: End) -> tuple[Entry, Answer]:
        record = self._opened_by(item)
        if item.releases not in (None, record.releases):
            raise AppendRefused(Refusal.RELEASE_OUT_OF_ORDER, detail=f"the record has {record.releases} releases")
        index = self.scribe.next_leaf
        header = {"end": item.end, "reason": item.reason, "finish_reason": item.finish_reason, "usage": item.usage}
        leaves = {**record.leaves, **leaves_of(record.salts, item.fields)}
        content = Content(leaves)
        parts = {**with_prefix(sealing.FIELD, item.fields), sealing.ITEM: item_digest(item)}
        parts |= with_prefix(sealing.LEAF, leaves)
        entry = self._end_entry(record, item.end, header, content, parts, (item.boot, item.sequence))
        return entry, partial(self.receipt, item.record_id, index, entry.leaf, record.salts, content)

    def _end_entry(
        self,
        record: OpenRecord,
        end: Ending,
        header: Mapping[str, object],
        content: Content,
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
        metadata = self.scribe.timed({"accepted_ms": record.accepted_ms, **record.about, **header})
        entry = self.scribe.leaf(record.cipher, Draft(clear, record.salts, metadata, content, parts))
        self._admission.ended(1)
        self.ledger.ended(record.boot, record.jobs, header)
        del self.open[record.record_id]
        if record.idempotency_key and end not in BINDING_ENDS and record.releases == 0:
            self.idempotency.free(record.tenant, record.idempotency_key, record.record_id)
        return entry

    def receipt(
        self,
        record_id: str,
        index: int,
        leaf: bytes,
        salts: Salts,
        content: Content,
        signed: SignedCheckpoint,
    ) -> Outcome:
        shown = [name for name in (REQUEST_RECEIVED, ANSWER_RELEASED) if name in content]
        openings = {name: content.opening(name, salts) for name in shown}
        proof, state = tlog_proof(self._tree, index, signed), COSIGNED if signed.cosigned else DURABLE
        receipt = receipt_text(record_id, leaf, openings, proof, self._origin, state)
        return Refused(receipt) if decode_leaf(leaf).kind is Kind.REFUSED else Ended(receipt)

    # --- entries of audit itself ---------------------------------------------------------------------------------

    def _act(self, item: Act) -> Plan:
        if item.once and self.acts.known(item):
            return Plan([], recorded)
        self._admission.require_room(Room.ENDS)
        self.acts.add(item.service, item.action, item.target)
        self.ledger.act(item.service, item.action, item.target, item.detail)
        return Plan([self.scribe.act(item)], recorded)

    def _kept_with(self, event: str) -> Mapping[str, object]:
        """At least at each start, so that the next one finds counts to go on from."""
        if event not in (STARTED, HEARTBEAT, STOPPED, COUNTED):
            return {}
        return self.ledger.snapshot(now=event != HEARTBEAT)

    def _presence(self, item: Presence) -> Plan:
        if item.opened:
            self.boots.stream_opened(item.boot)
        else:
            self.boots.stream_closed(item.boot, self._clock.monotonic())
        return Plan([], recorded)

    def _reap(self) -> list[Entry]:
        """Invariant 4: every accepted request ends, after its gateway's death too."""
        self.ledger.look()
        now = self._clock.monotonic()
        boots = {record.boot for record in self.open.values()}
        self.boots.forget_oldest(boots)
        lost = {boot for boot in boots if self.boots.absent_for(boot, now) >= self._limits.gateway_lost_seconds}
        header = {"end": Ending.FAILED, "reason": GATEWAY_LOST, "finish_reason": "", "usage": {}}
        return [
            self._end_entry(
                record,
                Ending.FAILED,
                header,
                Content(record.leaves),
                with_prefix(sealing.LEAF, record.leaves),
                ("", 0),
            )
            for record in [record for record in self.open.values() if record.boot in lost]
        ]
