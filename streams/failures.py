"""What the queue refuses, and when to try again. The gateway's callers see these as they are."""

from __future__ import annotations

from chassis.failures import ResourceExhausted, Unavailable

RETRY_AFTER_SECONDS = 1.0  # while Redis is away


class QueueUnavailable(Unavailable):
    """Redis is away."""

    default_reason = "QUEUE_UNAVAILABLE"

    def __init__(self) -> None:
        super().__init__("the queue is away; try again shortly", retry_after_seconds=RETRY_AFTER_SECONDS)


class QueueFull(ResourceExhausted):
    """A class of a model has no room for so many more answers."""

    default_reason = "QUEUE_FULL"

    def __init__(self, priority: str, bound: int, more: int, retry_after_seconds: float) -> None:
        super().__init__(
            f"at most {bound} {priority} answers may wait or run, and there is no room for {more} more; "
            "try again shortly",
            retry_after_seconds=retry_after_seconds,
            bound=str(bound),
            more=str(more),
            priority=priority,
        )


class ReplyLost(Unavailable):
    """The rest of an answer cannot be had without doubling, losing or altering text, so it ends here."""

    default_reason = "REPLY_LOST"

    def __init__(self, reason: str) -> None:
        super().__init__("the answer was interrupted and cannot be continued; ask again", reason=reason)
