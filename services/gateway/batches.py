"""What both batch streams of the gateway share: an item's envelope and the meaning of a reply's status."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from chassis.errors import code_name
from chassis.failures import KINDS, Internal, ServiceError
from chassis.tracing import traceparent


def envelope(item: Any, deadline: float | None) -> Any:
    """Sets deadline and trace of an item; `deadline` is of the loop's clock."""
    if deadline is not None:
        milliseconds = int((time.time() + deadline - asyncio.get_running_loop().time()) * 1000)
        item.deadline_time.seconds, fraction = divmod(milliseconds, 1000)
        item.deadline_time.nanos = fraction * 1_000_000
    item.traceparent = traceparent()
    return item


def failure(status: Any) -> ServiceError:
    """What a reply's status means to us."""
    kind = KINDS.get(code_name(status.code), Internal)
    retry = status.retry_after.ToMilliseconds() / 1000 if status.HasField("retry_after") else None
    return kind(status.message, reason=status.reason, retry_after_seconds=retry)
