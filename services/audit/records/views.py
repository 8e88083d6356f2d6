"""What a reviewer sees of a record: masked from the first day. Texts the guard redacted are shown, others measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from chassis.canonical import canonical
from services.audit.journal.frame import ClearPart, decode_clear
from services.audit.journal.journal import Journal
from services.audit.log.leaf import Kind
from services.audit.records import sealer
from services.audit.records.entries import (
    ANSWER_GENERATED,
    ANSWER_RELEASED,
    GENERATION,
    PARAMETERS,
    REQUEST_RECEIVED,
    REQUEST_SENT,
    Ending,
)
from services.audit.records.masked import masked_answer, masked_request, policy_digest_of, without_callers_texts
from services.audit.records.open_records import Span
from services.audit.records.recorder import Recorder
from services.audit.records.stored import StoredEntries, StoredEntry
from services.audit.sealing.keytree import KeyErased

SEALED_FIELDS = frozenset({REQUEST_RECEIVED, ANSWER_GENERATED, GENERATION})
ERASED = "ERASED"  # a summary's state; its time is not known any more
_CLOSING = (Kind.END, Kind.REFUSED, Kind.REJECTED)


@dataclass(frozen=True)
class Summary:
    """A record in a list: no text."""

    record_id: str
    time_ms: int
    state: str
    reason: str
    tenant: str
    caller: str
    subject: str
    model: str
    trace_id: str
    leaf_index: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class OpenedRecord:
    """A record as it was recorded, for those who may be shown it or compare it. `fields`: None where it is erased."""

    summary: Summary
    key_id: str
    key_in_use: bool  # its subject's newest, not destroyed nor about to be
    fields: Mapping[str, bytes] | None
    last: StoredEntry | None  # with its newest leaf


@dataclass(frozen=True)
class EntryView:
    kind: str
    n: int
    leaf_index: int | None
    segment: str
    offset: int
    time_ms: int


@dataclass(frozen=True)
class FieldView:
    name: str
    length: int
    masked: str  # empty where nothing of it may be shown
    sealed: bool


@dataclass(frozen=True)
class RecordView:
    summary: Summary
    entries: tuple[EntryView, ...]
    fields: tuple[FieldView, ...]
    policy_digest: str  # of the policy that judged it; empty if it is not known


def summary_of(durable: StoredEntry, leaf_index: int) -> Summary:
    """From a record's last leaf."""
    header = durable.header
    usage = header.get("usage", {})
    assert isinstance(usage, Mapping)
    kind = durable.clear.kind
    state = {Kind.ACCEPTED: "OPEN", Kind.END: str(header.get("end"))}.get(kind, kind.name)
    first_ms = header.get("accepted_ms", header["time_ms"])
    assert isinstance(first_ms, int)
    return Summary(
        record_id=durable.clear.record_id,
        time_ms=first_ms,
        state=state,
        reason=str(header.get("reason") or header.get("rule") or ""),
        tenant=str(header["tenant"]),
        caller=str(header["caller"]),
        subject=str(header["subject"]),
        model=str(header["model"]),
        trace_id=str(header["trace_id"]),
        leaf_index=leaf_index,
        input_tokens=int(usage.get("input_tokens", 0)),
        output_tokens=int(usage.get("output_tokens", 0)),
    )


def erased_summary(clear: ClearPart, leaf_index: int) -> Summary:
    """Of a record whose key was destroyed: what anybody may read in the journal."""
    return Summary(clear.record_id, 0, ERASED, "", "", "", "", "", "", leaf_index, 0, 0)


def verdict_of(summary: Summary) -> str:
    """The severest that the log knows of: of the prompt, else of the answer. Bad input has none, nor what is erased."""
    if summary.state in (Kind.REFUSED.name, Ending.WITHHELD):
        return "REFUSE"
    if summary.state in (Kind.REJECTED.name, ERASED):
        return ""
    return "FLAG" if summary.state == Ending.COMPLETED and summary.reason else "ALLOW"


def field_views(fields: Mapping[str, bytes]) -> Iterator[FieldView]:
    for name in sorted(fields):
        content = fields[name]
        yield FieldView(name, len(content), _shown(name, fields).decode(errors="replace"), name in SEALED_FIELDS)


def _shown(name: str, fields: Mapping[str, bytes]) -> bytes:
    if name == PARAMETERS:
        return without_callers_texts(fields[name])
    if name == REQUEST_RECEIVED and REQUEST_SENT not in fields:  # no model saw it: the guard's findings mask it
        messages = masked_request(fields)
        return canonical({"messages": messages}) if messages else b""
    if name == ANSWER_RELEASED:  # tokens were put back in it for its caller, and are masked again for anybody else
        return canonical(masked_answer(fields))
    return b"" if name in SEALED_FIELDS else fields[name]


class RecordReader:
    """Finds and opens records among the leaves that the writer says are durable."""

    def __init__(self, journal: Journal, stored: StoredEntries, recorder: Recorder) -> None:
        self._journal, self._stored, self._recorder = journal, stored, recorder

    def search(self, record_id: str, durable: int, found: Span | None = None, start: int = 0) -> Span | None:
        """The first and last leaf of a record that is no longer in memory, found by reading the journal from leaf
        `start` on, before which it is known."""
        if start >= durable:
            return found
        for location, frame in self._journal.frames(
            self._stored.leaf_location(start) if start else 0, self._stored.leaf_location(durable - 1)
        ):
            clear = decode_clear(frame.entry.clear)
            if clear.record_id == record_id and frame.entry.leaf and clear.kind is not Kind.CONTROL:
                index = self._stored.leaf_index(location)
                found = Span(found.first if found else index, index)
        return found

    def listed(self, before: int, count: int, durable: int) -> tuple[list[Summary], int | None]:
        """Up to `count` records whose last leaf is below `before`, newest first, and where to go on. Of a record that
        is open the last one is its first; one whose END is not `durable` yet is open."""
        summaries: list[Summary] = []
        index = before
        while index and len(summaries) < count:
            index -= 1
            clear = self._stored.clear(index)
            if clear.kind in _CLOSING or (clear.kind is Kind.ACCEPTED and self._is_open(clear.record_id, durable)):
                summaries.append(self.summary(index))
        return summaries, index or None

    def summary(self, leaf_index: int) -> Summary:
        """Of the record whose last leaf it is."""
        last = self._stored.readable(leaf_index)
        return summary_of(last, leaf_index) if last else erased_summary(self._stored.clear(leaf_index), leaf_index)

    def _is_open(self, record_id: str, durable: int) -> bool:
        span = self._recorder.recent.span(record_id)
        return record_id in self._recorder.open or (span is not None and span.last >= durable)

    def view(self, span: Span) -> RecordView:
        if self._stored.readable(span.last) is None:
            return RecordView(self.summary(span.last), tuple(self._erased_entries(span)), (), "")
        first, last = self._stored.leaf(span.first), self._stored.leaf(span.last)
        fields = {**first.fields, **last.fields}
        return RecordView(
            summary_of(last, span.last),
            tuple(self._entries(span, first, last)),
            tuple(field_views(fields)),
            policy_digest_of(fields),
        )

    def opened(self, span: Span) -> OpenedRecord:
        key_id, summary = self._stored.clear(span.last).key_id, self.summary(span.last)
        last: StoredEntry | None = None
        fields: Mapping[str, bytes] | None = None
        with suppress(KeyErased):  # at any moment
            last = self._stored.leaf(span.last)
            fields = {**self._stored.leaf(span.first).fields, **last.fields}
        return OpenedRecord(summary, key_id, self._stored.key_in_use(summary.tenant, key_id), fields, last)

    def _entries(self, span: Span, first: StoredEntry, last: StoredEntry) -> Iterator[EntryView]:
        yield self._entry(first, self._stored.leaf_location(span.first), span.first, first.time_ms)
        if first.clear.kind is not Kind.ACCEPTED:
            return
        for location, release in self._stored.releases(first.clear.record_id, span.first, span.last):
            yield self._entry(release, location, None, int.from_bytes(release.parts[sealer.TIME], "big"))
        if span.last > span.first:
            yield self._entry(last, self._stored.leaf_location(span.last), span.last, last.time_ms)

    def _erased_entries(self, span: Span) -> Iterator[EntryView]:
        first = self._stored.clear(span.first)
        yield self._placed(first, self._stored.leaf_location(span.first), span.first)
        for location, entry in self._stored.release_entries(first.record_id, span.first, span.last):
            yield self._placed(decode_clear(entry.clear), location, None)
        if span.last > span.first:
            yield self._placed(self._stored.clear(span.last), self._stored.leaf_location(span.last), span.last)

    def _entry(self, stored: StoredEntry, location: int, leaf_index: int | None, time_ms: int) -> EntryView:
        return self._placed(stored.clear, location, leaf_index, time_ms)

    def _placed(self, clear: ClearPart, location: int, leaf_index: int | None, time_ms: int = 0) -> EntryView:
        segment, offset = self._journal.place(location)
        return EntryView(clear.kind.name, clear.n if leaf_index is None else 0, leaf_index, segment, offset, time_ms)
