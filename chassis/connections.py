"""HTTP connections within bounds: so many at once, a request's head in time and size, a reader who reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_HEAD_BYTES = 16 * 1024
IDLE_SECONDS = 30  # between two requests of one connection
# ASGI extension. `tell` lists what to call when a caller hangs up before its answer ends; `arrived` says whether the
# whole body has come, so that `receive` does not wait for it.
CONNECTION = "strongroom.connection"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one port bears of its callers."""

    connections: int = 512
    head_seconds: float = 10.0  # from a connection's or a request's first byte to the end of its headers
    stalled_seconds: float = 30.0  # for a caller who stopped reading what waits for it


def refusal(message: str, code: str, server: bool = False) -> dict[str, Any]:
    """An error in the shape that OpenAI's clients read; every answer of a port that is no success has it."""
    kind = "server_error" if server else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _last_answer(status: int, error: dict[str, Any], *headers: bytes) -> bytes:
    """A whole response, after which the connection closes."""
    body = json.dumps(error).encode()
    fields = (b"content-type: application/json", b"content-length: %d" % len(body), b"connection: close", *headers)
    return STATUS_LINE[status] + b"\r\n".join((*fields, b"", body))


_FULL = _last_answer(
    503,
    refusal("too many connections are open: come back shortly", "TOO_MANY_CONNECTIONS", server=True),
    b"retry-after: 1",
)
_MALFORMED = _last_answer(400, refusal("this is not a valid HTTP/1.1 request", "MALFORMED_HTTP"))
_HEAD_TOO_LARGE = _last_answer(
    431, refusal(f"the request's head is larger than the bound of {MAX_HEAD_BYTES} bytes", "HEAD_TOO_LARGE")
)


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


class _Refused(Exception):
    """Raised inside a callback of the parser, which then goes no further."""


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection, which by itself waits for ever for a head and for a reader, and takes heads of any size.

    One request at a time: what is sent behind one that is not answered yet is not read, and the connection closes after
    the answer. (uvicorn would parse all of it, and would tell only the last of them that its caller has gone.)
    """

    def __init__(self, *, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        self._most = limits.connections
        self._head = _Alarm(self.loop, limits.head_seconds, self._give_up)
        self._unread = _Alarm(self.loop, limits.stalled_seconds, self._give_up)
        self._fields_bytes = 0  # of the head, and of what follows a chunked body
        self._silent_bytes = 0  # since the parser last had something to say
        self._deaf = False  # nothing more is read
        self._refusal = _MALFORMED
        self._leaving: list[Callable[[], None]] = []  # of the request that is being answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._most:
            self._deaf = True
            self._end_with(_FULL)
            return
        self._head.start()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head.stop()
        self._unread.stop()
        super().connection_lost(exc)
        leaving, self._leaving = self._leaving, []
        for tell in leaving:
            tell()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._silent_bytes += len(data)
        super().data_received(data)
        if self._silent_bytes > MAX_HEAD_BYTES and not self._deaf:
            self._refusal = _HEAD_TOO_LARGE
            self.send_400_response("")
        if self._answering:
            self._head.stop()
        elif not self.transport.is_closing():
            self._head.start()

    # What the parser found

    def on_message_begin(self) -> None:
        if self._answering:
            raise _Refused
        self._fields_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(name, value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._silent_bytes = 0
        self._leaving = []
        self.scope["extensions"] = {CONNECTION: {"tell": self._leaving, "arrived": self._arrived}}
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._silent_bytes = 0
        super().on_body(body)

    def _count(self, *fields: bytes) -> None:
        self._fields_bytes += sum(map(len, fields))
        if self._fields_bytes > MAX_HEAD_BYTES:
            self._refusal = _HEAD_TOO_LARGE
            raise _Refused

    def send_400_response(self, msg: str) -> None:
        """The parser goes no further. An answer that is due, or under way, is not spoilt by that."""
        self._deaf = True
        if self._answering and (self.cycle.response_started or not self.cycle.more_body):
            self.cycle.keep_alive = False
        else:
            self._end_with(self._refusal)

    def _unsupported_upgrade_warning(self) -> None:
        """An offer to speak another protocol may be passed over in silence."""

    # What happens to the answer

    def on_response_complete(self) -> None:
        self._leaving = []
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

    def _arrived(self) -> bool:
        return not self.cycle.more_body

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _end_with(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()
        self._bound_closing()

    def _bound_closing(self) -> None:
        """A transport that closes waits for its reader first, and by itself without an end."""
        if self.transport.is_closing():
            self._unread.start()

    def _give_up(self) -> None:
        self.transport.abort()
