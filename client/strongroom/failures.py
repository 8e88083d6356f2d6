"""What a caller is told when a call fails: google.rpc.Status, taken apart."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

# The codes that say the caller has to change something; after any other, the same call may succeed later.
CALLERS_OWN = frozenset(
    {
        "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED",
        "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "OUT_OF_RANGE", "UNIMPLEMENTED",
    }
)  # fmt: skip


class CallFailed(Exception):
    """A call that did not end with OK. `code` and `reason` are stable; the message is for people."""

    def __init__(
        self, code: str, message: str, reason: str = "", field: str = "", retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason or code
        self.field = field
        self.retry_after_seconds = retry_after_seconds

    @property
    def is_callers_own(self) -> bool:
        return self.code in CALLERS_OWN


def from_rpc_error(error: grpc.RpcError) -> CallFailed:
    """The failure behind a failed call; one without details keeps its code."""
    code, message = error.code().name, error.details() or ""
    trailing: Any = error.trailing_metadata() or ()
    packed = next((value for key, value in trailing if key == "grpc-status-details-bin"), None)
    return _with_details(code, message, packed) if packed else CallFailed(code, message)


def _with_details(code: str, message: str, packed: bytes) -> CallFailed:
    try:
        status = status_pb2.Status.FromString(packed)
    except DecodeError:
        return CallFailed(code, message)
    info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    delay, field = None, ""
    for detail in status.details:
        if detail.Unpack(retry):
            delay = retry.retry_delay.ToMilliseconds() / 1000
        elif detail.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
        else:
            detail.Unpack(info)
    return CallFailed(code, status.message or message, info.reason, field, delay)
