"""Cores, pressure and memory: inside the limits of this container where it has some, of the whole machine otherwise.

Control groups are read at the root that this process sees, in version 2 or 1. What a kernel does not tell is None.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

UNLIMITED = 1 << 60  # version 1 says "no limit" with a huge number
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
IDLE_COLUMNS = (3, 4)  # of /proc/stat: idle, waiting for a disk


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Seconds and periods are counted since some start: only differences mean something."""

    cores: float  # that may be used
    busy_seconds: float | None = None  # of those cores together
    periods: int | None = None  # of the scheduler's quota
    throttled_periods: int | None = None
    cpu_stalled_seconds: float | None = None  # something runnable waited for a core
    memory_used_bytes: int | None = None  # what cannot be given back at once
    memory_limit_bytes: int | None = None
    memory_stalled_seconds: float | None = None


@dataclass(frozen=True)
class Kernel:
    """The kernel's files, below roots that a test may replace."""

    proc: Path = Path("/proc")
    cgroup: Path = Path("/sys/fs/cgroup")
    affinity: Callable[[], set[int]] = lambda: os.sched_getaffinity(0)

    def read(self) -> Reading:
        quota, allowed = self._quota(), self.affinity()
        periods = self._throttling() if quota else (None, None)
        limit = self._limit()
        used, whole = self._memory_of_group(limit) if limit else self._memory_of_machine()
        return Reading(
            cores=min(quota or len(allowed), len(allowed)),
            busy_seconds=self._busy_of_group() if quota else self._busy_of_machine(allowed),
            periods=periods[0],
            throttled_periods=periods[1],
            cpu_stalled_seconds=self._stalled("cpu"),
            memory_used_bytes=used,
            memory_limit_bytes=whole,
            memory_stalled_seconds=self._stalled("memory"),
        )

    def _quota(self) -> float | None:
        """Cores' worth of time that the scheduler grants; None without a limit."""
        allowed, _, period = _text(self.cgroup / "cpu.max").partition(" ")
        if not allowed:
            allowed, period = (_text(self.cgroup / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        granted, whole = _number(allowed), _number(period)
        return granted / whole if granted and whole and granted > 0 else None

    def _throttling(self) -> tuple[int | None, int | None]:
        stat = _pairs(self.cgroup / "cpu.stat") or _pairs(self.cgroup / "cpu" / "cpu.stat")
        return stat.get("nr_periods"), stat.get("nr_throttled")

    def _busy_of_group(self) -> float | None:
        microseconds = _pairs(self.cgroup / "cpu.stat").get("usage_usec")
        if microseconds is not None:
            return microseconds / 1e6
        nanoseconds = _number(_text(self.cgroup / "cpuacct" / "cpuacct.usage"))
        return None if nanoseconds is None else nanoseconds / 1e9

    def _busy_of_machine(self, cores: set[int]) -> float | None:
        ours = {f"cpu{core}" for core in cores}
        lines = [line.split() for line in _text(self.proc / "stat").splitlines()]
        # Columns 8 and 9 are guests' time, which user time holds already.
        counted = [[int(ticks) for ticks in words[1:9]] for words in lines if words and words[0] in ours]
        busy = sum(sum(ticks) - sum(ticks[column] for column in IDLE_COLUMNS) for ticks in counted)
        return busy / TICKS_A_SECOND if counted else None

    def _limit(self) -> int | None:
        limit = _number(_text(self.cgroup / "memory.max"))
        if limit is None:
            limit = _number(_text(self.cgroup / "memory" / "memory.limit_in_bytes"))
        return limit if limit is not None and limit < UNLIMITED else None

    def _memory_of_group(self, limit: int) -> tuple[int | None, int | None]:
        """Pages of files that nobody used lately are given back before anything fails."""
        used, idle = _number(_text(self.cgroup / "memory.current")), "inactive_file"
        stat = _pairs(self.cgroup / "memory.stat")
        if used is None:
            used, idle = _number(_text(self.cgroup / "memory" / "memory.usage_in_bytes")), "total_inactive_file"
            stat = _pairs(self.cgroup / "memory" / "memory.stat")
        return (None if used is None else max(used - stat.get(idle, 0), 0)), limit

    def _memory_of_machine(self) -> tuple[int | None, int | None]:
        kibibytes = _pairs(self.proc / "meminfo")
        whole, available = kibibytes.get("MemTotal:"), kibibytes.get("MemAvailable:")
        if whole is None or available is None:
            return None, None
        return (whole - available) * 1024, whole * 1024

    def _stalled(self, what: str) -> float | None:
        """The group's own where the kernel keeps one; the machine's otherwise."""
        lines = _text(self.cgroup / f"{what}.pressure") or _text(self.proc / "pressure" / what)
        some = next((line for line in lines.splitlines() if line.startswith("some ")), "")
        microseconds = _number(some.rpartition("total=")[2])
        return None if microseconds is None else microseconds / 1e6


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _pairs(path: Path) -> dict[str, int]:
    """Lines of a name and a number; what follows, a unit, is left out."""
    words = (line.split() for line in _text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) >= 2 and pair[1].isdecimal()}
