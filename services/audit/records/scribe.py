"""Builds the entries of every kind and counts the leaves."""

from __future__ import annotations

from collections.abc import Mapping

from chassis.canonical import canonical
from services.audit.journal.frame import ClearPart, Entry
from services.audit.log.leaf import Kind
from services.audit.records import sealer as sealing
from services.audit.records.entries import (
    Accept,
    AcceptReplay,
    Act,
    AppendRefused,
    Refusal,
    Refuse,
    Reject,
    RequestItem,
    item_digest,
)
from services.audit.records.fields import Content, Salts
from services.audit.records.idempotency import Claim
from services.audit.records.open_records import RecentRecords
from services.audit.records.planning import Clock
from services.audit.records.sealer import Draft, Sealer, with_prefix
from services.audit.records.validity import is_id
from services.audit.sealing.keytree import KeyTree
from services.audit.sealing.payload import RecordCipher
from services.audit.sealing.tenant import SubjectKey

# The log's own entries (ACT, CONTROL) are sealed under a tenant that no caller can have: its name is empty.
LOG_TENANT, LOG_SUBJECT = "", "log"
_NO_FIELDS = Content({})


class Scribe:
    def __init__(self, keys: KeyTree, sealer: Sealer, clock: Clock, recent: RecentRecords) -> None:
        self._keys, self._sealer, self._clock, self._recent = keys, sealer, clock, recent
        self.next_leaf = 0  # the index that the next leaf will have
        self.last_leaf: dict[str, int] = {}  # key id → index of the newest leaf that it seals

    def leaf(self, cipher: RecordCipher, draft: Draft) -> Entry:
        entry = self._sealer.entry(cipher, draft)
        clear = draft.clear
        if clear.record_id and clear.kind is not Kind.CONTROL:
            self._recent.add(clear.record_id, self.next_leaf)
        self.last_leaf[clear.key_id] = self.next_leaf
        self.next_leaf += 1
        return entry

    def _alone(
        self, key: SubjectKey, clear: ClearPart, header: Mapping[str, object], parts: Mapping[str, bytes]
    ) -> Entry:
        """An entry without fields, with a seed of its own."""
        cipher = RecordCipher(key.key, clear.record_id)
        return self.leaf(cipher, Draft(clear, self._sealer.new_salts(), self.timed(header), _NO_FIELDS, parts))

    def subject(self, item: Accept | Refuse | Reject) -> SubjectKey:
        if isinstance(item, AcceptReplay):
            return self._key_of_record(item)
        return self._keys.subject(item.tenant, item.subject or item.caller)

    def _key_of_record(self, item: AcceptReplay) -> SubjectKey:
        """Nothing new comes under a key that is to be destroyed, nor under another tenant's."""
        key = self._keys.in_use(item.tenant, item.sealed_with)
        if key is None:
            raise AppendRefused(Refusal.RECORD_ERASED)
        return key

    def opening(
        self,
        item: Accept | Refuse,
        kind: Kind,
        key: SubjectKey,
        header: Mapping[str, object],
        salts: Salts,
        content: Content,
        claim: Claim | None,
    ) -> Draft:
        """Of a record's first entry."""
        parts = {**with_prefix(sealing.FIELD, item.fields), sealing.ITEM: item_digest(item)}
        if claim:
            parts |= {sealing.IDEMPOTENCY_KEY: claim.key, sealing.IDEMPOTENCY_REQUEST: claim.request}
        clear = ClearPart(kind, item.record_id, 0, item.boot, item.sequence, key.key_id)
        return Draft(clear, salts, self.timed(header), content, parts)

    def about(self, item: Accept | Refuse | Reject, key: SubjectKey) -> dict[str, object]:
        return {
            "tenant": item.tenant,
            "caller": item.caller,
            "subject": key.pseudonym,
            "model": "" if isinstance(item, Reject) else item.model,
            "trace_id": item.trace_id,
        }

    def timed(self, header: Mapping[str, object]) -> dict[str, object]:
        return {"time_ms": self._clock.now_ms(), **header}

    def control(self, event: str, detail: Mapping[str, object]) -> Entry:
        key = self._keys.subject(LOG_TENANT, LOG_SUBJECT)
        clear = ClearPart(Kind.CONTROL, "", self.next_leaf, "", 0, key.key_id)
        return self._alone(key, clear, {"event": event, **detail}, {})

    def act(self, item: Act) -> Entry:
        key = self._keys.subject(LOG_TENANT, LOG_SUBJECT)
        clear = ClearPart(Kind.ACT, "", self.next_leaf, "", 0, key.key_id)
        header = {
            "service": item.service,
            "actor": item.actor,
            "action": item.action,
            "target": item.target,
            **item.stated,
        }
        return self._alone(key, clear, header, {sealing.DETAIL: item.detail})

    def refused_append(self, item: RequestItem, refused: AppendRefused) -> Entry:
        """Accounts for the sequence number of an item that is not appended, so that none is ever missing."""
        holder = refused.holder
        refusal = {
            "refusal": refused.refusal.name,
            "detail": refused.detail,
            "holder": holder.record_id if holder else "",
            "same_request": holder.same_request if holder else False,
        }
        parts = {sealing.REFUSAL: canonical(refusal)}
        if isinstance(item, Accept | Refuse) and holder:
            return self.reject(item, refused.refusal.name, {"field": "idempotency_key", "count": 1}, parts)
        # No digest of the item: the log's own key is never erased, and a short text is found again from its digest.
        key = self._keys.subject(LOG_TENANT, LOG_SUBJECT)
        record_id = item.record_id if is_id(item.record_id) else ""
        clear = ClearPart(Kind.CONTROL, record_id, self.next_leaf, item.boot, item.sequence, key.key_id)
        header = {"event": "refused append", "item": type(item).__name__, **refusal}
        return self._alone(key, clear, header, parts)

    def reject(
        self, item: Accept | Refuse | Reject, reason: str, about: Mapping[str, object], parts: Mapping[str, bytes]
    ) -> Entry:
        key = self.subject(item)
        clear = ClearPart(Kind.REJECTED, item.record_id, 0, item.boot, item.sequence, key.key_id)
        header = {**self.about(item, key), "reason": reason, **about}
        return self._alone(key, clear, header, {sealing.ITEM: item_digest(item), **parts})
