"""What a request has for its caller, in order, bounded by what the caller reads."""

from __future__ import annotations

import asyncio
from collections import deque

from services.gateway.requests.outcome import Event

MAX_UNREAD_EVENTS = 64  # a caller who does not read stops its own request, not ours


class Mailbox:
    """Events from a request to the caller attached to it."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._attached = True

    async def take(self) -> Event:
        """The next event."""
        while not self._events:
            await self._change()
        event = self._events.popleft()
        self._changed.set()  # there is room again
        return event

    def detach(self) -> None:
        """Nobody reads any more: nothing waits for room."""
        self._attached = False
        self._changed.set()

    async def put(self, event: Event) -> None:
        """Adds an event once there is room."""
        while self._attached and len(self._events) >= MAX_UNREAD_EVENTS:
            await self._change()
        self.push(event)

    def push(self, event: Event) -> None:
        """Adds an event without waiting: for the first and the last."""
        self._events.append(event)
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
