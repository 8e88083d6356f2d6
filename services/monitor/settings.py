"""What a monitor can be told."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.settings import StackSettings
from services.monitor.traces.store import Bounds


@dataclass(frozen=True, kw_only=True)
class MonitorSettings(StackSettings):
    """STRONGROOM_MONITOR_…; the defaults hold some hours of a busy laptop."""

    max_traces: int = 2_000  # 10 to 100,000
    max_trace_mib: int = 64  # 1 to 4,096; memory for all spans together
    max_spans_per_trace: int = 1_000  # 10 to 100,000

    def check(self) -> list[str]:
        bounds = {"max_traces": (10, 100_000), "max_trace_mib": (1, 4_096), "max_spans_per_trace": (10, 100_000)}
        return [
            f"STRONGROOM_MONITOR_{name.upper()}: {getattr(self, name)} is not between {low} and {high}"
            for name, (low, high) in bounds.items()
            if not low <= getattr(self, name) <= high
        ]

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.max_traces, self.max_trace_mib * 1024 * 1024, self.max_spans_per_trace)
