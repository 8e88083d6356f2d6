"""REJECTED entries for bad input of known callers: one a second a caller, the rest counted into the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from services.gateway.requests.question import Caller

WINDOW_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Rejection:
    """What was wrong, and how often since the caller's last entry."""

    caller: Caller
    reason: str
    field: str
    trace_id: str
    count: int


class Rejections:
    """Writes the first at once and counts what follows within a second; nothing is dropped (invariant 10)."""

    def __init__(self, write: Callable[[Rejection], None], window_seconds: float = WINDOW_SECONDS) -> None:
        self._write, self._window = write, window_seconds
        self._counted: dict[Caller, dict[tuple[str, str], Rejection]] = {}  # callers within their window

    def note(self, caller: Caller, reason: str, field: str, trace_id: str) -> None:
        """Records one rejection."""
        counted = self._counted.get(caller)
        if counted is None:
            self._write(Rejection(caller, reason, field, trace_id, 1))
            self._open_window(caller)
            return
        earlier = counted.get((reason, field))
        counted[reason, field] = Rejection(caller, reason, field, trace_id, earlier.count + 1 if earlier else 1)

    def flush(self) -> None:
        """Writes what is still counted; called when the gateway stops."""
        for caller in list(self._counted):
            self._write_counted(caller)

    def _open_window(self, caller: Caller) -> None:
        self._counted[caller] = {}
        asyncio.get_running_loop().call_later(self._window, self._close_window, caller)

    def _close_window(self, caller: Caller) -> None:
        if self._write_counted(caller):
            self._open_window(caller)

    def _write_counted(self, caller: Caller) -> bool:
        counted = self._counted.pop(caller, {})
        for rejection in counted.values():
            self._write(rejection)
        return bool(counted)
