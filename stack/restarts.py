"""When a process that died is started again: at once, then with doubling pauses, never when misconfigured."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.start import EXIT_MISCONFIGURED


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Pauses in seconds. A process that lived for `settled` has proved itself: its next pause is the first again."""

    first: float = 0.1
    longest: float = 5.0
    settled: float = 20.0


class Restarts:
    """The pauses of one process. It counts its deaths, for the run file and for people."""

    def __init__(self, backoff: Backoff = Backoff()) -> None:
        self._backoff = backoff
        self._next = backoff.first
        self.count = 0

    def pause_after(self, exit_code: int, lived_seconds: float) -> float | None:
        """Seconds to wait before the next start; None where starting again cannot help."""
        if exit_code == EXIT_MISCONFIGURED:
            return None
        if lived_seconds >= self._backoff.settled:
            self._next = self._backoff.first
        pause, self._next = self._next, min(self._next * 2, self._backoff.longest)
        self.count += 1
        return pause
