"""What a request has for its caller, in order, bounded by what the caller reads."""

from __future__ import annotations

import asyncio
from collections import deque

from services.gateway.requests.outcome import Broken, Event, Outcome

MAX_UNREAD_EVENTS = 64  # a caller who does not read stops its own request, not ours


class Mailbox:
    """Events from a request to the caller attached to it."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._attached = True
        self._read_at_the_end = False

    async def take(self) -> Event:
        """The next event."""
        while not self._events:
            await self._change()
        event = self._events.popleft()
        self._changed.set()  # there is room again
        return event

    async def take_all(self) -> list[Event]:
        """All events, once the last is there. Nobody is woken for those before it, and they need no room: an answer
        that is sent whole is bounded by its record."""
        self._read_at_the_end = True
        self._changed.set()
        while not (self._events and isinstance(self._events[-1], Outcome | Broken)):
            await self._change()
        return list(self._events)

    def detach(self) -> None:
        """Nobody reads any more: nothing waits for room."""
        self._attached = False
        self._changed.set()

    async def put(self, event: Event) -> None:
        """Adds an event once there is room."""
        while self._attached and not self._read_at_the_end and len(self._events) >= MAX_UNREAD_EVENTS:
            await self._change()
        self.push(event)

    def push(self, event: Event) -> None:
        """Adds an event without waiting: for the first and the last."""
        self._events.append(event)
        if not self._read_at_the_end or isinstance(event, Outcome | Broken):
            self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
