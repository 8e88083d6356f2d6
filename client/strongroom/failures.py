"""What a caller is told when a call fails: google.rpc.Status, taken apart, as one tree of exceptions.

CallFailed                code, reason, field, retry_after_seconds, request_id
├── InvalidRequest        the request cannot be served as it stands; `field` names what to change
├── Unimplemented         asked for by name, and this model or engine has it not; `field` names it
├── NotFound              no such model, or no such request of this caller
├── AlreadyExists         the idempotency key is taken; `request_id` names the request that holds it
├── Unauthenticated       no key, or one that is not known
├── PermissionDenied      a known key that may not do this
├── Exhausted             something is full; `retry_after_seconds` says when to come back
├── Unavailable           something is away; `retry_after_seconds`, where the gateway knows
├── DeadlineExceeded      the time given was not enough
├── Cancelled             by this caller: here, or through Client.cancel
└── InternalFailure       a fault of the service, or an answer that makes no sense
A refusal or a withheld answer is an Answer, not a failure.
"""

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

    code = "UNKNOWN"  # name of a gRPC status code

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        reason: str = "",
        field: str = "",
        retry_after_seconds: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.reason = reason or self.code
        self.field = field
        self.retry_after_seconds = retry_after_seconds
        self.request_id = request_id  # of a request that had been accepted, or that holds the key

    @property
    def is_callers_own(self) -> bool:
        return self.code in CALLERS_OWN


class InvalidRequest(CallFailed):
    code = "INVALID_ARGUMENT"


class Unimplemented(CallFailed):
    code = "UNIMPLEMENTED"


class NotFound(CallFailed):
    code = "NOT_FOUND"


class AlreadyExists(CallFailed):
    code = "ALREADY_EXISTS"


class Unauthenticated(CallFailed):
    code = "UNAUTHENTICATED"


class PermissionDenied(CallFailed):
    code = "PERMISSION_DENIED"


class Exhausted(CallFailed):
    code = "RESOURCE_EXHAUSTED"


class Unavailable(CallFailed):
    code = "UNAVAILABLE"


class DeadlineExceeded(CallFailed):
    code = "DEADLINE_EXCEEDED"


class Cancelled(CallFailed):
    code = "CANCELLED"


class InternalFailure(CallFailed):
    code = "INTERNAL"


_OF_THEIR_OWN: tuple[type[CallFailed], ...] = (
    InvalidRequest, Unimplemented, NotFound, AlreadyExists, Unauthenticated, PermissionDenied, Exhausted, Unavailable,
    DeadlineExceeded, Cancelled, InternalFailure,
)  # fmt: skip
KINDS: dict[str, type[CallFailed]] = {
    **{kind.code: kind for kind in _OF_THEIR_OWN},
    "FAILED_PRECONDITION": InvalidRequest,
    "OUT_OF_RANGE": InvalidRequest,
    "UNKNOWN": InternalFailure,
    "DATA_LOSS": InternalFailure,
}


def from_rpc_error(error: grpc.RpcError) -> CallFailed:
    """The failure behind a failed call, of either grpc or grpc.aio; one without details keeps its code."""
    code, message = error.code().name, error.details() or ""
    trailing: Any = error.trailing_metadata() or ()
    packed = next((value for key, value in trailing if key == "grpc-status-details-bin"), None)
    return _with_details(code, message, packed) if packed else _failure(code, message)


def _with_details(code: str, message: str, packed: bytes) -> CallFailed:
    try:
        status = status_pb2.Status.FromString(packed)
    except DecodeError:
        return _failure(code, message)
    info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    delay, field = None, ""
    for detail in status.details:
        if detail.Unpack(retry):
            delay = retry.retry_delay.ToMilliseconds() / 1000
        elif detail.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
        else:
            detail.Unpack(info)
    return _failure(
        code,
        status.message or message,
        reason=info.reason,
        field=field,
        retry_after_seconds=delay,
        request_id=info.metadata.get("request_id", ""),
    )


def _failure(code: str, message: str, **what: Any) -> CallFailed:
    return KINDS.get(code, CallFailed)(message, code=code, **what)
