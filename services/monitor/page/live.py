"""What keeps an open page live: server-sent events, each with what changed since the one before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from services.monitor.page.charts import columns
from services.monitor.page.panels import PANELS
from services.monitor.status.snapshot import History

EVERY_SECONDS = 1.0
MOST_STREAMS = 32
RETRY_MS = 2000  # after which a browser comes back by itself


@dataclass(frozen=True, kw_only=True)
class View:
    """A page as it would be shown now. `blocks` are HTML by name."""

    time: float
    title: str
    blocks: Mapping[str, str]
    history: History = field(default_factory=History)


class Changes:
    """What one reader has not seen yet. Holds a hash for each block and one time, however long it is open."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._charted = 0.0
        self._first = True

    def since_last(self, view: View) -> dict[str, Any]:
        """Blocks that differ, points that are new; the first time everything."""
        changed = {name: html for name, html in view.blocks.items() if self._seen.get(name) != hash(html)}
        self._seen.update((name, hash(html)) for name, html in changed.items())
        after, whole, self._first = self._charted, self._first, False
        times = view.history.times
        fresh = times and times[-1] > after
        charts = {panel.id: columns(panel, view.history, after) for panel in PANELS} if fresh else {}
        self._charted = max(times[-1], after) if times else after
        return {
            "time": round(view.time, 3), "title": view.title, "whole": whole, "blocks": changed, "charts": charts
        }  # fmt: skip


def event(name: str, content: Mapping[str, Any]) -> bytes:
    """As the HTML standard frames it, section 9.2; JSON keeps line breaks out of the one data line."""
    return f"event: {name}\ndata: {json.dumps(content, ensure_ascii=False, allow_nan=False)}\n\n".encode()


class Streams:
    """The open streams: so many at most, and all of them end when the monitor stops."""

    def __init__(self, most: int = MOST_STREAMS, every_seconds: float = EVERY_SECONDS) -> None:
        self._most, self._every = most, every_seconds
        self._stopping = asyncio.Event()
        self.open = 0

    @property
    def full(self) -> bool:
        return self.open >= self._most or self._stopping.is_set()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Held while a stream is open. Ask `full` first."""
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    async def events(self, view: Callable[[], View]) -> AsyncIterator[bytes]:
        """At the reader's pace: the next view is made when the last event has been taken, so none wait in memory."""
        changes = Changes()
        yield f"retry: {RETRY_MS}\n\n".encode()
        while not self._stopping.is_set():
            yield event("view", changes.since_last(view()))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._every)

    def stop(self) -> None:
        """A stream left open would hold the monitor up when it is told to go."""
        self._stopping.set()
