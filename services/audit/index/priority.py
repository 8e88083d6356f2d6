"""Giving way: work is done when nothing else wants the machine, until it has waited too long."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

_AUTOGROUP = Path("/proc/self/autogroup")  # sched(7); not in every container, and without effect in a CPU cgroup
_LOWEST = 19
_TRIES, _AGAIN_SECONDS = 20, 0.11


class Workers(Protocol):
    """Two threads: one makes a batch while the other writes the one before."""

    def submit(self, work: Callable[..., T], /, *arguments: Any) -> Future[T]: ...


class GivingWay:
    """Two threads that give way, and two that do not, of which either pair works. Linux keeps niceness by thread, and
    lets nobody but root take it back; a thread beside it never gave it up."""

    def __init__(self) -> None:
        self._patient = ThreadPoolExecutor(2, "index-patient", initializer=_give_way)
        self._hurried = ThreadPoolExecutor(2, "index-hurried")
        self.hurry(False)

    def hurry(self, hurried: bool) -> None:
        """Against other sessions the kernel weighs the autogroup: this process leads a session of its own."""
        self._hurry = hurried
        _weigh("0" if hurried else str(_LOWEST))

    def submit(self, work: Callable[..., T], /, *arguments: Any) -> Future[T]:
        return (self._hurried if self._hurry else self._patient).submit(work, *arguments)


def _weigh(niceness: str) -> None:
    for _ in range(_TRIES):
        try:
            _AUTOGROUP.write_text(niceness)
            return
        except BlockingIOError:  # the kernel allows one change of any autogroup in a tenth of a second
            time.sleep(_AGAIN_SECONDS)
        except OSError:
            return


def _give_way() -> None:
    with suppress(OSError):
        os.nice(_LOWEST)
    with suppress(OSError, AttributeError):  # not everywhere, and not always allowed
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
