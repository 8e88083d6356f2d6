"""Between the wire and the core: append items in, replies out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial

from google.protobuf.timestamp_pb2 import Timestamp
from strongroom.audit.v1 import audit_pb2 as pb

from chassis.errors import code_number
from services.audit.records.entries import (
    Accept,
    Accepted,
    AcceptReplay,
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
    Unreadable,
)
from services.audit.records.outcomes import StoredOutcome

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
    Refusal.RECORD_ERASED: "FAILED_PRECONDITION",
    Refusal.OPEN_RECORDS_FULL: "RESOURCE_EXHAUSTED",
    Refusal.JOURNAL_FULL: "RESOURCE_EXHAUSTED",
}
_ENDINGS = {
    pb.END_STATE_COMPLETED: Ending.COMPLETED,
    pb.END_STATE_WITHHELD: Ending.WITHHELD,
    pb.END_STATE_CANCELLED: Ending.CANCELLED,
    pb.END_STATE_EXPIRED: Ending.EXPIRED,
    pb.END_STATE_FAILED: Ending.FAILED,
}


_INTERNAL = pb.ItemStatus(code=code_number("INTERNAL"), reason="INTERNAL", message="internal error")

log = logging.getLogger(__name__)


class _Unreadable(Exception):
    """The text says what is wrong and quotes nothing."""


def item_of(message: pb.AppendItem, boot: str) -> RequestItem:
    """The core's item; what cannot be read still has its place in the boot's sequence."""
    read = _READ.get(message.WhichOneof("entry"), _unset)
    try:
        return read(message, boot)
    except _Unreadable as unreadable:
        return Unreadable(record_id=message.record_id, boot=boot, sequence=message.sequence, problem=str(unreadable))


def _accept(message: pb.AppendItem, boot: str) -> Accept:
    accept = message.accept
    party = accept.party
    kind = partial(AcceptReplay, sealed_with=accept.sealed_with) if accept.sealed_with else Accept
    return kind(
        record_id=message.record_id,
        boot=boot,
        sequence=message.sequence,
        tenant=party.tenant,
        caller=party.caller,
        subject=party.subject,
        model=accept.model,
        trace_id=accept.trace_id,
        deadline_ms=_milliseconds(accept.deadline_time),
        job_digests=tuple(accept.job_digests),
        idempotency_key=accept.idempotency_key,
        fields=_fields(accept.fields),
    )


def _refuse(message: pb.AppendItem, boot: str) -> Refuse:
    refuse = message.refuse
    party = refuse.party
    return Refuse(
        record_id=message.record_id,
        boot=boot,
        sequence=message.sequence,
        tenant=party.tenant,
        caller=party.caller,
        subject=party.subject,
        model=refuse.model,
        trace_id=refuse.trace_id,
        rule=refuse.rule,
        idempotency_key=refuse.idempotency_key,
        fields=_fields(refuse.fields),
    )


def _reject(message: pb.AppendItem, boot: str) -> Reject:
    reject = message.reject
    party = reject.party
    return Reject(
        record_id=message.record_id,
        boot=boot,
        sequence=message.sequence,
        tenant=party.tenant,
        caller=party.caller,
        subject=party.subject,
        trace_id=reject.trace_id,
        reason=reject.reason,
        field=reject.field,
        count=reject.count,
    )


def _release(message: pb.AppendItem, boot: str) -> Release:
    release = message.release
    return Release(record_id=message.record_id, boot=boot, sequence=message.sequence, n=release.n, body=release.content)


def _end(message: pb.AppendItem, boot: str) -> End:
    end = message.end
    state = _ENDINGS.get(end.state)
    if state is None:
        raise _Unreadable("end.state is not set")
    return End(
        record_id=message.record_id,
        boot=boot,
        sequence=message.sequence,
        end=state,
        reason=end.reason,
        finish_reason=end.finish_reason,
        usage={"input_tokens": end.input_tokens, "output_tokens": end.output_tokens},
        fields=_fields(end.fields),
        releases=end.releases if end.HasField("releases") else None,
    )


def _unset(message: pb.AppendItem, boot: str) -> RequestItem:
    raise _Unreadable("entry is not set")


_READ: dict[str | None, Callable[[pb.AppendItem, str], RequestItem]] = {
    "accept": _accept,
    "refuse": _refuse,
    "reject": _reject,
    "release": _release,
    "end": _end,
}


def _fields(fields: Collection[pb.Field]) -> dict[str, bytes]:
    found = {each.name: each.content for each in fields}
    if len(found) != len(fields):
        raise _Unreadable("fields names one field twice")
    return found


def _milliseconds(timestamp: Timestamp) -> int:
    """0 if unset. By hand, as in `_time`: the methods of Timestamp take ten times as long."""
    return timestamp.seconds * 1000 + timestamp.nanos // 1_000_000


def reply_of(item_id: int, outcome: Outcome | Exception) -> pb.AppendReply:
    match outcome:
        case Recorded():
            return pb.AppendReply(item_id=item_id)
        case Accepted():
            return pb.AppendReply(item_id=item_id, accepted=_accepted(outcome))
        case Refused() | Ended():
            return pb.AppendReply(item_id=item_id, receipt=outcome.receipt)
        case AppendRefused():
            return pb.AppendReply(item_id=item_id, status=_refusal(outcome))
        case _:
            log.error("the answer to an item failed", exc_info=outcome)
            return pb.AppendReply(item_id=item_id, status=_INTERNAL)


def _accepted(accepted: Accepted) -> pb.Accepted:
    tickets = accepted.tickets
    return pb.Accepted(
        log_origin=accepted.log_origin,
        tickets=[ticket.mac for ticket in tickets],
        expire_time=time_of(tickets[0].expires_ms) if tickets else None,
    )


def _refusal(refused: AppendRefused) -> pb.ItemStatus:
    status = pb.ItemStatus(
        code=code_number(_CODES[refused.refusal]),
        reason=refused.refusal.name,
        message=str(refused),
        other_record_id=refused.holder.record_id if refused.holder else "",
        same_request=refused.holder is not None and refused.holder.same_request,
    )
    if refused.retry_after_seconds is not None:
        status.retry_after.FromMilliseconds(int(refused.retry_after_seconds * 1000))
    return status


def time_of(milliseconds: int) -> Timestamp:
    seconds, rest = divmod(milliseconds, 1000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000_000)


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
        receipt=outcome.receipt,
    )
