"""How much of the machine this container may use: read from its own limits, never the host's."""

from __future__ import annotations

import os
from pathlib import Path

import psutil  # type: ignore[import-untyped, unused-ignore]

_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # cgroup v1 says "no limit" with a huge number


def available_cores(root: Path = _CGROUP) -> int:
    cores = len(os.sched_getaffinity(0))
    quota = _quota(root)
    return max(1, min(cores, int(quota) if quota else cores))


def available_memory(root: Path = _CGROUP) -> int:
    """Bytes that this process may still take."""
    free = int(psutil.virtual_memory().available)
    v2 = _number(root / "memory.max"), _number(root / "memory.current")
    v1 = _number(root / "memory/memory.limit_in_bytes"), _number(root / "memory/memory.usage_in_bytes")
    for limit, used in (v2, v1):
        if limit is not None and limit < _UNLIMITED:
            free = min(free, limit - (used or 0))
    return max(free, 0)


def _quota(root: Path) -> float | None:
    try:
        allowed, period = (root / "cpu.max").read_text().split()
        return None if allowed == "max" else int(allowed) / int(period)
    except (OSError, ValueError):
        pass
    allowed_us, period_us = _number(root / "cpu/cpu.cfs_quota_us"), _number(root / "cpu/cpu.cfs_period_us")
    return allowed_us / period_us if allowed_us and period_us and allowed_us > 0 else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
