"""What every call about a record says: which one, and why."""

from __future__ import annotations

from chassis.failures import InvalidArgument, NotFound
from services.audit.records.validity import is_id

MAX_REASON = 500  # characters


def record_id_of(record_id: str, field: str = "record_id") -> str:
    if not is_id(record_id):
        raise InvalidArgument(f"{field} must be 1 to 64 printable ASCII characters", field=field)
    return record_id


def no_record() -> NotFound:
    return NotFound("no such record", reason="RECORD_UNKNOWN", field="record_id")


def reason_of(reason: str) -> str:
    if len(reason) > MAX_REASON:
        raise InvalidArgument(f"reason has more than {MAX_REASON} characters", field="reason")
    return reason


def required_reason(reason: str) -> str:
    if not reason.strip():
        raise InvalidArgument("reason is empty: say why, for whoever looks at the log later", field="reason")
    return reason_of(reason)
