"""Changes of alerts on their way to whoever watches, bounded for the slow ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from services.monitor.alerts.alert import Alert

MAX_WATCHERS = 64
MAX_UNREAD = 64  # changes; who reads slower gets everything that is active now instead


class TooManyWatchers(Exception):
    """No further one is let in."""


@dataclass(frozen=True)
class News:
    """`complete`: these are all that fire now, and whatever was known before is void."""

    alerts: Sequence[Alert]
    complete: bool


class Watcher:
    """One reader. Several changes of one alert that it has not read yet are one: the last."""

    def __init__(self, firing: Callable[[], Sequence[Alert]]) -> None:
        self._firing = firing
        self._unread: dict[str, Alert] = {}
        self._lost = True  # so the first news is complete
        self._arrived = asyncio.Event()
        self._arrived.set()

    def tell(self, changes: Sequence[Alert]) -> None:
        for alert in changes:
            self._unread.pop(alert.id, None)
            self._unread[alert.id] = alert
        if len(self._unread) > MAX_UNREAD:
            self._lost = True
            self._unread.clear()
        self._arrived.set()

    async def news(self) -> News:
        """Waits until there is something."""
        await self._arrived.wait()
        self._arrived.clear()
        lost, unread = self._lost, list(self._unread.values())
        self._lost = False
        self._unread.clear()
        return News(self._firing(), True) if lost else News(unread, False)


class AlertFeed:
    """Owned by the event loop."""

    def __init__(self, firing: Callable[[], Sequence[Alert]]) -> None:
        self._firing = firing
        self._watchers: set[Watcher] = set()

    def __len__(self) -> int:
        return len(self._watchers)

    @contextmanager
    def watching(self) -> Iterator[Watcher]:
        if len(self._watchers) >= MAX_WATCHERS:
            raise TooManyWatchers
        watcher = Watcher(self._firing)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def publish(self, changes: Sequence[Alert]) -> None:
        if changes:
            for watcher in self._watchers:
                watcher.tell(changes)
