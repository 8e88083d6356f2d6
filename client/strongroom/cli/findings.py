"""What is known of an answer, in lines for people: verdict, masked data, usage, receipt."""

from __future__ import annotations

from collections import Counter

from strongroom.audit.v1 import audit_pb2, audit_pb2_grpc
from strongroom.cli.services import calling
from strongroom.client import Answer, CallFailed, Location, Question, Verification, verify_receipt


def log_key(location: Location) -> str:
    """The log's public key, which audit gives to reviewers only; empty if it is not to be had."""
    try:
        with calling(location, "audit", audit_pb2_grpc.AuditServiceStub) as call:
            return str(call("GetCheckpoint", audit_pb2.GetCheckpointRequest()).verifier_key)
    except CallFailed:
        return ""


def verified(question: Question, answer: Answer, key: str) -> Verification | None:
    """None if there is nothing to verify, or nothing to verify with."""
    if not answer.receipt or not key:
        return None
    return verify_receipt(question.as_received(), answer.as_released(), answer.receipt, key)


def summary(answer: Answer, verification: Verification | None) -> str:
    """Two lines for people."""
    masked = masked_types(answer)
    reasons = [choice.finish_reason for choice in answer.choices] or [answer.finish_reason]
    facts = [
        answer.request_id,
        ", ".join(reasons),
        verdict(answer),
        f"masked {masked}" if masked else "",
        f"{answer.input_tokens} + {answer.output_tokens} tokens",
        unfinished(answer),
        f"{answer.timings.get('total_ms', 0):.0f} ms",
    ]
    receipt = receipt_line(answer.receipt_state, verification)
    return f"{' · '.join(filter(None, facts))}\nreceipt {receipt} · trace {answer.trace_id}"


def verdict(answer: Answer) -> str:
    return answer.verdict + (f" ({answer.rule})" if answer.rule else "")


def unfinished(answer: Answer) -> str:
    """Why there is no text, where the model was still reasoning."""
    return "ended within its reasoning: allow more tokens" if answer.reasoning_unfinished else ""


def masked_types(answer: Answer) -> str:
    masked = Counter(str(finding["type"]) for finding in answer.findings)
    return ", ".join(f"{count} {name}" for name, count in sorted(masked.items()))


def receipt_line(state: str, verification: Verification | None) -> str:
    if verification is None:
        return f"{state}, not verified: the log's key is not known here"
    if not verification:
        return f"DOES NOT VERIFY: {verification.problem}"
    kind = " of a DEVELOPMENT log" if verification.development else ""
    return f"{state}, verified offline: entry {verification.index} of {verification.size}{kind}"
