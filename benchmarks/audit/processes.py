"""What the kernel tells of a process and of the one that it has started."""

from __future__ import annotations

from pathlib import Path


def child_of(pid: int) -> int:
    """Of audit, the process that writes its index."""
    told = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    [child] = [int(child) for line in told for child in line.split()]
    return child


def highest_rss(pid: int) -> int:
    return _status_kib(pid, "VmHWM") * 1024


def pss(pid: int) -> int:
    """Its own memory, and its share of what it has in common with others."""
    [line] = [line for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:")]
    return int(line.split()[1]) * 1024


def _status_kib(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
