"""What the kernel says of the clock that dates entries: whether it is kept in step, and how far off it may be."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
# linux/timex.h
_STA_UNSYNC, _STA_NANO = 0x0040, 0x2000


class Timex(ctypes.Structure):
    """struct timex as adjtimex(2) fills it."""

    modes: int
    offset: int
    maxerror: int
    status: int
    _fields_ = (
        ("modes", ctypes.c_uint),  # 0: nothing is set
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),  # microseconds
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),  # the kernel's is shorter
    )


def _adjtimex(timex: Timex) -> int:
    try:
        return int(ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)))
    except AttributeError:  # no Linux
        return -1


def kernel_clock(ask: Callable[[Timex], int] = _adjtimex, source: Path = SOURCE) -> dict[str, object]:
    """`offset_us` is what whoever keeps it in step has still to correct. Some containers may not ask: then only the
    source is known."""
    try:
        found: dict[str, object] = {"source": source.read_text().strip()}
    except OSError:
        found = {"source": ""}
    timex = Timex()
    if ask(timex) < 0:
        return found
    offset = timex.offset // 1000 if timex.status & _STA_NANO else timex.offset
    synchronised = not timex.status & _STA_UNSYNC
    return {**found, "synchronised": synchronised, "offset_us": offset, "max_error_us": timex.maxerror}
