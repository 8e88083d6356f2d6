"""How ends and errors answer each other: what the record says, and what the caller is told."""

from __future__ import annotations

from chassis.failures import (
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    ServiceError,
    Unavailable,
    Unimplemented,
)
from services.gateway.requests.outcome import CANCELLED, EXPIRED, FAILED, End

# What a worker alone can find: a gateway judges before by what workers have said of themselves, if they have.
_OF_SAMPLING: dict[str, tuple[type[ServiceError], str]] = {
    "IMPOSSIBLE_SAMPLING": (
        InvalidArgument,
        "prompt.sampling asks for what this model cannot do, such as a token that it does not have: ask for less",
    ),
    "NOT_SUPPORTED": (
        Unimplemented,
        "a field of prompt.sampling is not known to this model's engine: leave it out, or ask another model",
    ),
    "GRAMMAR_REFUSED": (InvalidArgument, "the grammar in prompt.sampling cannot be used with this model: correct it"),
    "GRAMMAR_TOO_COMPLEX": (
        InvalidArgument,
        "the grammar in prompt.sampling reached its limits within the answer: send one with fewer alternatives",
    ),
}
ANSWER_TOO_LARGE = "ANSWER_TOO_LARGE"
COME_BACK_SECONDS = 1.0  # for the answer of a request that still runs


def error_of(end: End) -> ServiceError:
    """What the caller of a request that we ended early is told."""
    if end.state == CANCELLED:
        return Cancelled("the request was cancelled", reason="CANCELLED")
    if end.state == EXPIRED:
        return DeadlineExceeded("the request's deadline passed", reason="DEADLINE_EXCEEDED")
    return Unavailable("this gateway is stopping; try again", reason=end.reason, retry_after_seconds=1.0)


def key_taken(request_id: str, same_request: bool) -> AlreadyExists:
    """What a caller is told whose idempotency key has no answer to give back, or belongs to another request."""
    if same_request:
        why, reason = (
            "is still being answered, or ended without an answer: ask again later",
            "REQUEST_STILL_RUNNING",
        )
    else:
        why, reason = "is another one: give each request a key of its own", "IDEMPOTENCY_CONFLICT"
    return AlreadyExists(
        f"request {request_id}, which holds this idempotency key, {why}",
        reason=reason,
        field="prompt.idempotency_key",
        retry_after_seconds=COME_BACK_SECONDS if same_request else None,
        request_id=request_id,
    )


def answer_too_large() -> InvalidArgument:
    """What a caller is told whose answers have more text than a record holds."""
    return InvalidArgument(
        "the answers to this prompt have more text than one record holds: ask for fewer max_tokens, or a smaller n",
        field="prompt.sampling.max_tokens",
        reason=ANSWER_TOO_LARGE,
    )


def end_of(error: ServiceError) -> End:
    """What the record of a request that failed says."""
    if isinstance(error, DeadlineExceeded):
        return End(EXPIRED)
    if isinstance(error, Cancelled):
        return End(CANCELLED)
    return End(FAILED, error.reason)


def engine_error(finish: str, failure: str, prompt_tokens: int, prompt_bound: int) -> ServiceError:
    """What a caller is told of a worker's failure: its stable reason, and a remedy where there is one.

    `prompt_bound`: tokens that the model's context leaves beside max_tokens; 0 when the context is not known.
    """
    if finish == "EXPIRED":
        return DeadlineExceeded("the request's deadline passed", reason="DEADLINE_EXCEEDED")
    if finish == "CANCELLED":
        return Cancelled("the request was cancelled", reason="CANCELLED")
    if failure == "PROMPT_TOO_LONG":
        return InvalidArgument(
            f"the prompt has {prompt_tokens} tokens, the model's context leaves {prompt_bound or 'fewer'} beside "
            "max_tokens: shorten the prompt, or ask for fewer max_tokens",
            field="prompt.messages",
            reason=failure,
            prompt_tokens=str(prompt_tokens),
            bound_tokens=str(prompt_bound),
        )
    if failure in _OF_SAMPLING:
        kind, what = _OF_SAMPLING[failure]
        return kind(what, field="prompt.sampling", reason=failure)
    if failure == "OUT_OF_MEMORY":
        return ResourceExhausted(
            "the worker ran out of memory for this request", reason=failure, retry_after_seconds=5.0
        )
    return Internal("the worker could not answer this request", reason=failure or "ENGINE_ERROR")
