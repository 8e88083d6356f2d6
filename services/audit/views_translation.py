"""Between the wire and what people read: summaries and records out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from strongroom.audit.v1 import audit_pb2 as pb

from services.audit.index.rows import ActRow
from services.audit.records.views import RecordView, Summary, verdict_of
from services.audit.translation import time_of

POLICY_USED = "POLICY_USED"  # the gateway's act: a policy's text, at its first use


class Beside(NamedTuple):
    """What other entries tell of a record: its policy's text, and what people did to it."""

    policy: ActRow | None
    acts: Sequence[ActRow]


def summary_message(summary: Summary) -> pb.RecordSummary:
    return pb.RecordSummary(
        record_id=summary.record_id,
        create_time=time_of(summary.time_ms) if summary.time_ms else None,
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


def record_message(record: RecordView, beside: Beside) -> pb.GetRecordResponse:
    response = pb.GetRecordResponse(
        summary=summary_message(record.summary),
        verdict=verdict_of(record.summary),
        policy_digest=record.policy_digest,
        policy_leaf_index=beside.policy.leaf if beside.policy else None,
    )
    for entry in record.entries:
        response.entries.add(
            kind=entry.kind,
            n=entry.n,
            leaf_index=entry.leaf_index,
            segment=entry.segment,
            offset=entry.offset,
            create_time=time_of(entry.time_ms) if entry.time_ms else None,
        )
    for each in record.fields:
        response.fields.add(name=each.name, length=each.length, masked=each.masked, sealed=each.sealed)
    for act in beside.acts:
        response.acts.add(
            actor=act.actor,
            action=act.action,
            reason=act.reason,
            create_time=time_of(act.time_ms),
            leaf_index=act.leaf,
        )
    return response
