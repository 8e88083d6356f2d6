"""HTTP connections within bounds: so many at once, a request's head in time, a reader who reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEAD_BYTES = 16 * 1024
IDLE_SECONDS = 30  # between two requests of one connection

_FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one port bears of its callers."""

    connections: int = 512
    head_seconds: float = 10.0  # from a connection's or a request's first byte to the end of its headers
    stalled_seconds: float = 30.0  # for a caller who stopped reading what waits for it


class _Alarm:
    """Rings once, unless it is stopped before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, ring: Callable[[], None]) -> None:
        self._loop, self._seconds, self._ring = loop, seconds, ring
        self._set: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins to count; one that counts already goes on."""
        if self._set is None:
            self._set = self._loop.call_later(self._seconds, self._ring)

    def stop(self) -> None:
        if self._set is not None:
            self._set.cancel()
            self._set = None


class BoundedConnection(H11Protocol):
    """uvicorn's connection, which by itself waits for ever for a head and for a reader."""

    def __init__(self, *, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        self._most = limits.connections
        self._head = _Alarm(self.loop, limits.head_seconds, self._give_up)
        self._unread = _Alarm(self.loop, limits.stalled_seconds, self._give_up)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._most:
            transport.write(_FULL)
            transport.close()
            return
        self._head.start()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head.stop()
        self._unread.stop()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        answering = self.cycle is not None and not self.cycle.response_complete
        idle = self.cycle is not None and self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
        if answering or idle:
            self._head.stop()
        else:
            self._head.start()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._bound_closing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._bound_closing()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread.start()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._unread.stop()

    def _bound_closing(self) -> None:
        """A transport that closes waits for its reader first, and by itself without an end."""
        if self.transport.is_closing():
            self._unread.start()

    def _give_up(self) -> None:
        self.transport.abort()
