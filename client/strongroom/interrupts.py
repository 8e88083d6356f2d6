"""Ctrl-C while gRPC works: the call is cancelled from beside, and KeyboardInterrupt raised once gRPC is left.

Python raises KeyboardInterrupt between any two steps of the main thread, also when `Condition.__enter__` has taken its
lock and the `with` that gives it back has not begun. Inside gRPC that lock is the channel's, and every later call would
wait for it for ever.
"""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType


class InterruptsHeld:
    """In the main thread, and unless the program handles SIGINT itself; elsewhere no signal breaks in."""

    def __init__(self, cancel: Callable[[], object] | None = None) -> None:
        """`cancel` ends what blocks inside. It runs in a thread of its own, since it takes gRPC's locks too."""
        self._cancel = cancel
        self._holds = self._came = False

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._holds = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._holds:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if self._came:
                raise KeyboardInterrupt from None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = True
        if self._cancel is not None:
            # Not threading.Thread, which takes locks that the interrupted step may hold.
            _thread.start_new_thread(self._cancel, ())
