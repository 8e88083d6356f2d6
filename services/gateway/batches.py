"""What both batch streams of the gateway share: an item's envelope and the meaning of a reply's status."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from chassis.errors import code_name
from chassis.failures import KINDS, DeadlineExceeded, Internal, ServiceError
from chassis.tracing import traceparent


def envelope(item: Any, deadline: float | None) -> Any:
    """Sets deadline and trace of an item; `deadline` is of the loop's clock."""
    if deadline is not None:
        remaining = deadline - asyncio.get_running_loop().time()
        item.deadline_time.FromMilliseconds(int((time.time() + remaining) * 1000))
    item.traceparent = traceparent()
    return item


def failure(status: Any) -> ServiceError:
    """What a reply's status means to us."""
    kind = KINDS.get(code_name(status.code), Internal)
    return kind(status.message, reason=status.reason)


async def before(deadline: float, reply: asyncio.Future[Any]) -> Any:
    """Waits for a reply, at most until the request's deadline."""
    try:
        async with asyncio.timeout_at(deadline):
            return await reply
    except TimeoutError:
        raise DeadlineExceeded("the request's deadline passed", reason="DEADLINE_EXCEEDED") from None
