"""One HTTP call: its body read within bounds of size and time, its answer whole or as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from chassis.connections import CONNECTION
from chassis.failures import Cancelled, InvalidArgument
from services.gateway.edge.failures import BODY_TOO_LARGE, BODY_TOO_SLOW

# One `data:` line holds one JSON text; some readers of events break lines here too, where JSON need not escape.
_LINE_BREAKS = "\x85\u2028\u2029"
_ESCAPED = {ord(char): f"\\u{ord(char):04x}" for char in _LINE_BREAKS}
JSON, EVENTS = "application/json", "text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the edge takes from a caller, and how often a slow stream shows that it lives."""

    body_bytes: int = 1024 * 1024
    body_seconds: float = 10.0
    linger_seconds: float = 2.0  # for what a caller still sends when the answer is already known
    keep_alive_seconds: float = 5.0


class HttpCall:
    """What an ASGI server gives us, as the edge needs it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, bounds: Bounds) -> None:
        self.method = str(scope["method"])
        self.path = str(scope["path"])
        self._headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))  # of one named twice, the first
        self.request_id = ""  # once there is one
        self.tokens_field = "max_tokens"
        self.status = 0  # once it is sent
        self._receive, self._send, self._bounds = receive, send, bounds
        connection = scope["extensions"][CONNECTION]
        self._leaving: list[Callable[[], None]] = connection["tell"]
        self._arrived: Callable[[], bool] = connection["arrived"]
        self._unread = True

    def header(self, name: bytes) -> str:
        """In lower case; empty where there is none."""
        return self._headers.get(name, b"").decode("latin-1")

    @property
    def streaming(self) -> bool:
        return self.status != 0

    async def body(self) -> bytes:
        """Raises InvalidArgument above the bound, Cancelled when the caller leaves."""
        declared = self.header(b"content-length")
        if declared.isdecimal() and int(declared[:20]) > self._bounds.body_bytes:
            raise self._too_large()
        if self._unread and self._arrived():
            return self._bounded(await self._piece())
        body = bytearray()
        try:
            async with asyncio.timeout(self._bounds.body_seconds):
                while self._unread:
                    body += self._bounded(await self._piece(), len(body))
        except TimeoutError:
            raise InvalidArgument(
                f"the body did not arrive within {self._bounds.body_seconds:g} s: send it at once", reason=BODY_TOO_SLOW
            ) from None
        return bytes(body)

    def when_left(self, told: Callable[[], None]) -> None:
        """Tells of a caller who hangs up before the answer is complete, without a task that waits for it."""
        self._leaving.append(told)

    async def answer(
        self, status: int, json_text: str, request_id: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """The whole answer at once."""
        body = json_text.encode()
        lengths = {"content-length": str(len(body)), **(headers or {})}
        if self._unread:
            lengths["connection"] = "close"
        await self._start(status, JSON, request_id, lengths)
        await self._send({"type": "http.response.body", "body": body, "more_body": self._unread})
        if self._unread:
            await self._linger()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def open_stream(self, request_id: str) -> None:
        await self._start(200, EVENTS, request_id, {"cache-control": "no-cache", "x-accel-buffering": "no"})

    async def write(self, *events: str, last: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": "".join(events).encode(), "more_body": not last})

    async def _start(self, status: int, kind: str, request_id: str, headers: Mapping[str, str]) -> None:
        self.status = status
        whole = {"content-type": kind, "x-request-id": request_id, **headers}
        pairs = [(name.encode(), value.encode("latin-1", "replace")) for name, value in whole.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def _piece(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Cancelled("the caller left", reason="CANCELLED")
        self._unread = bool(message.get("more_body", False))
        return bytes(message.get("body", b""))

    async def _linger(self) -> None:
        """To close on a caller who still sends would reset the connection, and the answer with it."""
        if "100-continue" in self.header(b"expect").lower():
            return  # it waits for our word, and has it
        try:
            async with asyncio.timeout(self._bounds.linger_seconds):
                while self._unread:
                    await self._piece()
        except (TimeoutError, Cancelled):
            pass

    def _bounded(self, piece: bytes, before: int = 0) -> bytes:
        if before + len(piece) > self._bounds.body_bytes:
            raise self._too_large()
        return piece

    def _too_large(self) -> InvalidArgument:
        return InvalidArgument(
            f"the body is larger than the bound of {self._bounds.body_bytes} bytes: shorten the prompt",
            reason=BODY_TOO_LARGE,
        )


def event(json_text: str) -> str:
    """One server-sent event."""
    if any(char in json_text for char in _LINE_BREAKS):
        json_text = json_text.translate(_ESCAPED)
    return f"data: {json_text}\n\n"
