"""Records as they are read, from any thread: the lock is held only to learn what is durable, as that never changes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from services.audit.log.leaf import Kind
from services.audit.log.note import SignedCheckpoint
from services.audit.records.entries import Ended, Refused
from services.audit.records.open_records import Span
from services.audit.records.outcomes import StoredOutcome, binds, fields_given
from services.audit.records.recorder import Recorder
from services.audit.records.resends import receipt_of_stored
from services.audit.records.stored import StoredEntries
from services.audit.records.views import OpenedRecord, RecordReader, RecordView, Summary, summary_of


class Signed(Protocol):
    """What receipts are under."""

    cosigned: SignedCheckpoint | None

    @property
    def checkpoint(self) -> SignedCheckpoint: ...


class RecordReads:
    def __init__(
        self,
        lock: AbstractContextManager[object],
        stored: StoredEntries,
        recorder: Recorder,
        reader: RecordReader,
        signed: Signed,
    ) -> None:
        self._lock, self._stored, self._recorder, self._reader, self._signed = lock, stored, recorder, reader, signed
        # What an index knows of a record's leaves, and of how many leaves it knows; whoever keeps one sets it.
        self.known_span: Callable[[str], tuple[Span | None, int]] = lambda record_id: (None, 0)

    def summaries(self, before: int | None, count: int) -> tuple[list[Summary], int | None]:
        with self._lock:
            durable = self._stored.leaf_count
        return self._reader.listed(durable if before is None else min(before, durable), count, durable)

    def record(self, record_id: str) -> RecordView | None:
        span = self._span(record_id)
        return self._reader.view(span) if span else None

    def opened(self, record_id: str) -> OpenedRecord | None:
        """As it was recorded."""
        span = self._span(record_id)
        return self._reader.opened(span) if span else None

    def receipt(self, record_id: str) -> tuple[Summary, str | None] | None:
        """The record and its receipt, against the newest cosigned checkpoint if that covers it, else the newest; no
        receipt while open, or of a rejection."""
        span = self._span(record_id)
        if span is None:
            return None
        last = self._stored.readable(span.last)
        if last is None:
            return self._reader.summary(span.last), None
        if last.clear.kind not in (Kind.END, Kind.REFUSED):
            return summary_of(last, span.last), None
        cosigned = self._signed.cosigned
        signed = cosigned if cosigned and span.last < cosigned.size else self._signed.checkpoint
        outcome = receipt_of_stored(self._recorder, span.last, last, signed)
        assert isinstance(outcome, Ended | Refused)
        return summary_of(last, span.last), outcome.receipt

    def outcome(self, record_id: str) -> tuple[Summary, StoredOutcome | None] | None:
        """The record, and what its caller was given, where that is kept for whoever asks again."""
        span = self._span(record_id)
        if span is None:
            return None
        summary, last = self._reader.summary(span.last), self._stored.readable(span.last)
        if last is None or not binds(last):
            return summary, None
        answer = receipt_of_stored(self._recorder, span.last, last, self._signed.checkpoint)
        assert isinstance(answer, Ended | Refused)
        finish_reason = str(last.header.get("finish_reason", ""))
        fields = fields_given(self._stored.leaf(span.first), last)
        return summary, StoredOutcome(summary, finish_reason, fields, answer.receipt)

    def _span(self, record_id: str) -> Span | None:
        with self._lock:
            durable = self._stored.leaf_count
            recent = self._recorder.recent.span(record_id)
        if recent:
            return recent.durable(durable)
        known, leaves = self.known_span(record_id)
        return self._reader.search(record_id, durable, known, leaves)
