"""How far something long has come, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

REPORT_SECONDS, REDRAW_SECONDS = 5.0, 0.2


class Progress:
    """One line that is drawn again on a terminal, else a line now and then."""

    def __init__(self, said: Callable[[int], str] = "{:,}".format) -> None:
        """`said`: an amount, for people."""
        self._said = said
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + (0 if self._terminal else REPORT_SECONDS)
        self._drawn = False

    def show(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (REDRAW_SECONDS if self._terminal else REPORT_SECONDS)
        share = min(100, 100 * done // total) if total else 100
        line = f"{what} {share} %, {self._said(done)} of {self._said(total)}"
        print(
            f"\r\x1b[K{line}" if self._terminal else line,
            end="" if self._terminal else "\n",
            file=sys.stderr,
            flush=True,
        )
        self._drawn = self._terminal

    def end(self) -> None:
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
