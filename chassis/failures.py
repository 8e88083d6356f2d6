"""The failures a caller may see. Plain Python, so that cores can raise them; `errors` puts them on the wire.

ServiceError
├── InvalidArgument      a field, its bound and the remedy
├── NotFound · AlreadyExists · FailedPrecondition
├── Unauthenticated · PermissionDenied
├── ResourceExhausted    something is full; says when to try again
├── Unavailable          something is away; says when to try again
├── DeadlineExceeded · Cancelled
├── Unimplemented        asked for by name, not there
└── DataLoss · Internal
Every other exception is a bug: INTERNAL, and its text stays inside.
"""

from __future__ import annotations


class ServiceError(Exception):
    """A failure with a meaning for the caller; its message is written for people and quotes no content."""

    code = "INTERNAL"  # name of a google.rpc.Code
    default_reason = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        field: str = "",
        retry_after_seconds: float | None = None,
        **metadata: str,
    ) -> None:
        super().__init__(message)
        self.reason = reason or self.default_reason
        self.field = field
        self.retry_after_seconds = retry_after_seconds
        self.metadata = metadata


class InvalidArgument(ServiceError):
    """The request cannot be served as it stands; `field` names what to change."""

    code, default_reason = "INVALID_ARGUMENT", "INVALID_ARGUMENT"


class NotFound(ServiceError):
    code, default_reason = "NOT_FOUND", "NOT_FOUND"


class AlreadyExists(ServiceError):
    code, default_reason = "ALREADY_EXISTS", "ALREADY_EXISTS"


class FailedPrecondition(ServiceError):
    code, default_reason = "FAILED_PRECONDITION", "FAILED_PRECONDITION"


class Unauthenticated(ServiceError):
    code, default_reason = "UNAUTHENTICATED", "UNAUTHENTICATED"


class PermissionDenied(ServiceError):
    code, default_reason = "PERMISSION_DENIED", "PERMISSION_DENIED"


class ResourceExhausted(ServiceError):
    code, default_reason = "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"


class Unavailable(ServiceError):
    code, default_reason = "UNAVAILABLE", "UNAVAILABLE"


class DeadlineExceeded(ServiceError):
    code, default_reason = "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"


class Cancelled(ServiceError):
    code, default_reason = "CANCELLED", "CANCELLED"


class Unimplemented(ServiceError):
    code, default_reason = "UNIMPLEMENTED", "UNIMPLEMENTED"


class DataLoss(ServiceError):
    code, default_reason = "DATA_LOSS", "DATA_LOSS"


class Internal(ServiceError):
    code, default_reason = "INTERNAL", "INTERNAL"


KINDS: dict[str, type[ServiceError]] = {
    kind.code: kind
    for kind in (
        InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, Unauthenticated, PermissionDenied,
        ResourceExhausted, Unavailable, DeadlineExceeded, Cancelled, Unimplemented, DataLoss, Internal,
    )
}  # fmt: skip
