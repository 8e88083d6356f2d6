"""Resident memory of a stack's processes, sampled while requests come in, and how it grows with them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

MEBIBYTE = 2**20
WARM_SHARE = 0.3  # of a process's samples come before it counts as warm
# After that. With fewer a slope says nothing: an arena's pages are touched for the first time, caches fill up.
LEAST_REQUESTS = 3000


@dataclass
class Memory:
    """Samples by process: a process that was started again is another one."""

    samples: dict[tuple[str, int], list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))

    def sample(self, pids: dict[str, int], requests: int) -> None:
        for name, pid in pids.items():
            if (resident := resident_mib(pid)) is not None:
                self.samples[name, pid].append((requests, resident))

    def slopes(self) -> dict[str, float]:
        """MiB per 1,000 requests, of each process that lived long enough."""
        found = {}
        for (name, _), samples in self.samples.items():
            warm = samples[int(len(samples) * WARM_SHARE) :]
            if len(warm) > 2 and warm[-1][0] - warm[0][0] >= LEAST_REQUESTS:
                requests, resident = zip(*warm)
                found[name] = statistics.linear_regression(requests, resident).slope * 1000
        return found

    def last(self) -> dict[str, float]:
        return {name: samples[-1][1] for (name, _), samples in self.samples.items()}


def resident_mib(pid: int) -> float | None:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return pages * 4096 / MEBIBYTE
