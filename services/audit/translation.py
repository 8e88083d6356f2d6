"""Between the wire and the core: append items in, replies out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from strongroom.audit.v1 import audit_pb2 as pb

from chassis.errors import code_number
from services.audit.records.entries import (
    Accept,
    Accepted,
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
    Unreadable,
)
from services.audit.records.fields import canonical
from services.audit.records.outcomes import StoredOutcome
from services.audit.records.views import RecordView, Summary

_CODES = {
    Refusal.INVALID_ITEM: "INVALID_ARGUMENT",
    Refusal.ITEM_TOO_LARGE: "INVALID_ARGUMENT",
    Refusal.SEQUENCE_GAP: "FAILED_PRECONDITION",
    Refusal.DUPLICATE_DIFFERS: "ALREADY_EXISTS",
    Refusal.DUPLICATE_TOO_OLD: "FAILED_PRECONDITION",
    Refusal.RECORD_EXISTS: "ALREADY_EXISTS",
    Refusal.RECORD_ENDED: "FAILED_PRECONDITION",
    Refusal.RECORD_UNKNOWN: "NOT_FOUND",
    Refusal.NOT_THIS_BOOT: "PERMISSION_DENIED",
    Refusal.RELEASE_OUT_OF_ORDER: "FAILED_PRECONDITION",
    Refusal.IDEMPOTENCY_CONFLICT: "ALREADY_EXISTS",
    Refusal.IDEMPOTENCY_KEYS_FULL: "RESOURCE_EXHAUSTED",
    Refusal.OPEN_RECORDS_FULL: "RESOURCE_EXHAUSTED",
}
_ENDINGS = {
    pb.END_STATE_COMPLETED: Ending.COMPLETED,
    pb.END_STATE_WITHHELD: Ending.WITHHELD,
    pb.END_STATE_CANCELLED: Ending.CANCELLED,
    pb.END_STATE_EXPIRED: Ending.EXPIRED,
    pb.END_STATE_FAILED: Ending.FAILED,
}


class _Unreadable(Exception):
    """The text says what is wrong and quotes nothing."""


def item_of(message: pb.AppendItem, boot: str) -> RequestItem:
    """The core's item; what cannot be read still has its place in the boot's sequence."""
    place = {"record_id": message.record_id, "boot": boot, "sequence": message.sequence}
    try:
        return _item(message, place)
    except _Unreadable as unreadable:
        return Unreadable(**place, problem=str(unreadable))  # type: ignore[arg-type]


def _item(message: pb.AppendItem, place: dict[str, Any]) -> RequestItem:
    match message.WhichOneof("entry"):
        case "accept":
            return _accept(message.accept, place)
        case "refuse":
            return _refuse(message.refuse, place)
        case "reject":
            return _reject(message.reject, place)
        case "release":
            return Release(**place, n=message.release.n, body=message.release.content)
        case "end":
            return _end(message.end, place)
        case _:
            raise _Unreadable("entry is not set")


def _accept(accept: pb.Accept, place: dict[str, Any]) -> Accept:
    return Accept(
        **place,
        **_party(accept.party),
        model=accept.model,
        trace_id=accept.trace_id,
        deadline_ms=accept.deadline_time.ToMilliseconds() if accept.HasField("deadline_time") else 0,
        job_digests=tuple(accept.job_digests),
        idempotency_key=accept.idempotency_key,
        fields=_fields(accept.fields),
    )


def _refuse(refuse: pb.Refuse, place: dict[str, Any]) -> Refuse:
    return Refuse(
        **place,
        **_party(refuse.party),
        model=refuse.model,
        trace_id=refuse.trace_id,
        rule=refuse.rule,
        idempotency_key=refuse.idempotency_key,
        fields=_fields(refuse.fields),
    )


def _reject(reject: pb.Reject, place: dict[str, Any]) -> Reject:
    return Reject(
        **place,
        **_party(reject.party),
        trace_id=reject.trace_id,
        reason=reject.reason,
        field=reject.field,
        count=reject.count,
    )


def _end(end: pb.End, place: dict[str, Any]) -> End:
    if end.state not in _ENDINGS:
        raise _Unreadable("end.state is not set")
    return End(
        **place,
        end=_ENDINGS[end.state],
        reason=end.reason,
        finish_reason=end.finish_reason,
        usage={"input_tokens": end.input_tokens, "output_tokens": end.output_tokens},
        fields=_fields(end.fields),
        releases=end.releases if end.HasField("releases") else None,
    )


def _party(party: pb.Party) -> dict[str, Any]:
    return {"tenant": party.tenant, "caller": party.caller, "subject": party.subject}


def _fields(fields: Iterable[pb.Field]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for each in fields:
        if each.name in found:
            raise _Unreadable("fields names one field twice")
        found[each.name] = each.content
    return found


def reply_of(item_id: int, outcome: Outcome) -> pb.AppendReply:
    reply = pb.AppendReply(item_id=item_id)
    match outcome:
        case Accepted():
            reply.accepted.log_origin = outcome.log_origin
            reply.accepted.tickets.extend(ticket.mac for ticket in outcome.tickets)
            for ticket in outcome.tickets[:1]:
                reply.accepted.expire_time.FromMilliseconds(ticket.expires_ms)
            reply.accepted.SetInParent()
        case Refused() | Ended():
            reply.receipt = receipt_text(outcome.receipt)
    return reply


def refusal_reply(item_id: int, refused: AppendRefused) -> pb.AppendReply:
    status = pb.ItemStatus(
        code=code_number(_CODES[refused.refusal]),
        reason=refused.refusal.name,
        message=str(refused),
        other_record_id=refused.holder.record_id if refused.holder else "",
        same_request=refused.holder is not None and refused.holder.same_request,
    )
    if refused.retry_after_seconds is not None:
        status.retry_after.FromMilliseconds(int(refused.retry_after_seconds * 1000))
    return pb.AppendReply(item_id=item_id, status=status)


def internal_reply(item_id: int) -> pb.AppendReply:
    status = pb.ItemStatus(code=code_number("INTERNAL"), reason="INTERNAL", message="internal error")
    return pb.AppendReply(item_id=item_id, status=status)


def receipt_text(receipt: dict[str, object]) -> str:
    return canonical(receipt).decode()


def _time(milliseconds: int) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromMilliseconds(milliseconds)
    return timestamp


def summary_message(summary: Summary) -> pb.RecordSummary:
    return pb.RecordSummary(
        record_id=summary.record_id,
        create_time=_time(summary.time_ms),
        state=summary.state,
        reason=summary.reason,
        tenant=summary.tenant,
        caller=summary.caller,
        subject_pseudonym=summary.subject,
        model=summary.model,
        trace_id=summary.trace_id,
        leaf_index=summary.leaf_index,
        input_tokens=summary.input_tokens,
        output_tokens=summary.output_tokens,
    )


def outcome_message(outcome: StoredOutcome) -> pb.GetOutcomeResponse:
    summary = outcome.summary
    return pb.GetOutcomeResponse(
        state=summary.state,
        rule=summary.reason,
        finish_reason=outcome.finish_reason,
        model=summary.model,
        trace_id=summary.trace_id,
        input_tokens=summary.input_tokens,
        output_tokens=summary.output_tokens,
        fields=[pb.Field(name=name, content=content) for name, content in outcome.fields.items()],
        receipt=receipt_text(outcome.receipt),
    )


def record_message(record: RecordView) -> pb.GetRecordResponse:
    response = pb.GetRecordResponse(summary=summary_message(record.summary))
    for entry in record.entries:
        response.entries.add(
            kind=entry.kind,
            n=entry.n,
            leaf_index=entry.leaf_index,
            segment=entry.segment,
            offset=entry.offset,
            create_time=_time(entry.time_ms),
        )
    for each in record.fields:
        response.fields.add(name=each.name, length=each.length, masked=each.masked, sealed=each.sealed)
    return response
