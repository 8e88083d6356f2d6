"""A rebuild that somebody asked for, as all who wait for it see it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Rebuild:
    """One that runs or has run: how many of the leaves that were there when it began are in it."""

    total: int
    done: int = 0
    failed: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def finished(self) -> bool:
        return self._ended.is_set()

    def finish(self) -> None:
        self._ended.set()

    def wait(self, seconds: float) -> None:
        """Returns earlier if it finishes."""
        self._ended.wait(seconds)
