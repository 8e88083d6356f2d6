"""How each failure looks over HTTP: a status, headers, and an error object in OpenAI's shape with our reason."""

from __future__ import annotations

import math
import re
from typing import Any

from chassis.failures import ServiceError

_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNIMPLEMENTED": 400,  # it names the field to leave out
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
BODY_TOO_LARGE, BODY_TOO_SLOW, METHOD_NOT_ALLOWED = "BODY_TOO_LARGE", "BODY_TOO_SLOW", "HTTP_METHOD_NOT_ALLOWED"
_STATUS_OF_REASON = {BODY_TOO_LARGE: 413, BODY_TOO_SLOW: 408, METHOD_NOT_ALLOWED: 405}
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

# Clients try 409 and 5xx again by themselves. A key of another request stays one; what ran out of time ran for long.
_POINTLESS_AGAIN = (409, 504)
RETRY_AFTER_SECONDS = 1.0  # where whoever failed did not say

_OUR_FIELD = re.compile(r"\bprompt\.(?:sampling\.)?([a-z_]+)")
_THEIR_NAMES = {"top_k": "strongroom.top_k", "priority": "strongroom.priority", "subject": "user", "adapter": "model"}
_THEIR_NAMES |= {"stop_ids": "stop_token_ids", "logprobs": "top_logprobs"}
_THEIR_NAMES |= {"json_schema": "response_format", "regex": "strongroom.regex"}
_THEIR_NAMES["idempotency_key"] = "Idempotency-Key"


def status_of(error: ServiceError) -> int:
    return _STATUS_OF_REASON.get(error.reason) or _STATUS.get(error.code, 500)


def headers_of(error: ServiceError) -> dict[str, str]:
    status = status_of(error)
    headers: dict[str, str] = {}
    if status in (429, 503) or error.retry_after_seconds is not None:
        seconds = RETRY_AFTER_SECONDS if error.retry_after_seconds is None else error.retry_after_seconds
        headers["retry-after"] = str(max(1, math.ceil(seconds)))
        headers["retry-after-ms"] = str(max(1, math.ceil(seconds * 1000)))
    elif status in _POINTLESS_AGAIN:
        headers["x-should-retry"] = "false"
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return headers


def error_object(error: ServiceError, trace_id: str, request_id: str, tokens_field: str = "max_tokens") -> Any:
    """The body of a failed call, and the last event of a stream that broke."""
    status = status_of(error)
    ours = {name: value for name, value in error.metadata.items() if name != "param"}
    param = error.metadata.get("param") or error.field
    return {
        "error": {
            "message": _in_their_names(str(error), tokens_field),
            "type": _TYPES.get(status, "invalid_request_error" if status < 499 else "server_error"),
            "param": _in_their_names(param, tokens_field) or None,
            "code": error.reason,
            # Of a conflict, `request_id` is that of the request that holds the key.
            "strongroom": {"trace_id": trace_id, "request_id": request_id or None, **ours},
        }
    }


def _in_their_names(text: str, tokens_field: str) -> str:
    """Our core speaks of the fields of a Prompt; this caller has sent others."""
    return _OUR_FIELD.sub(lambda found: {**_THEIR_NAMES, "max_tokens": tokens_field}.get(found[1], found[1]), text)
