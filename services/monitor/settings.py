"""What a monitor can be told."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.settings import StackSettings
from services.monitor.scraping.targets import parse_targets, stack_targets
from services.monitor.traces.store import Bounds
from services.monitor.windows.windows import Target

BOUNDS: dict[str, tuple[float, float]] = {
    "max_traces": (10, 100_000),
    "max_trace_mib": (1, 4_096),
    "max_spans_per_trace": (10, 100_000),
    "workers": (0, 64),
    "scrape_seconds": (0.5, 60),
    "max_series": (100, 20_000),
}


@dataclass(frozen=True, kw_only=True)
class MonitorSettings(StackSettings):
    """STRONGROOM_MONITOR_…; the defaults hold some hours of a busy laptop."""

    max_traces: int = 2_000  # 10 to 100,000
    max_trace_mib: int = 64  # 1 to 4,096; memory for all spans together
    max_spans_per_trace: int = 1_000  # 10 to 100,000
    scrape_stack: bool = True  # the services of this machine's stack, by their ports
    workers: int = 1  # 0 to 64; of this machine's stack
    targets: str = ""  # further ones: guard=HOST:PORT… with the port of /metrics; a name's every address is one
    scrape_seconds: float = 2.0  # 0.5 to 60; from one round to the next
    max_series: int = 2_000  # 100 to 20,000; a target with more than so many that matter is not taken
    audit_address: str = ""  # where alerts are recorded; unset means the stack's own
    record_alerts: bool = True  # as ACT entries in audit
    page_for: str = "loopback"  # or host: in a container, who reads the port that its host publishes

    def check(self) -> list[str]:
        problems = [
            f"STRONGROOM_MONITOR_{name.upper()}: {getattr(self, name)} is not between {low:g} and {high:g}"
            for name, (low, high) in BOUNDS.items()
            if not low <= getattr(self, name) <= high
        ]
        if self.page_for not in ("loopback", "host"):
            problems.append(f"STRONGROOM_MONITOR_PAGE_FOR: {self.page_for!r} is neither loopback nor host")
        try:
            parse_targets(self.targets)
        except ValueError as wrong:
            problems.append(f"STRONGROOM_MONITOR_TARGETS: {wrong}")
        return problems

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.max_traces, self.max_trace_mib * 1024 * 1024, self.max_spans_per_trace)

    @property
    def scraped(self) -> list[Target]:
        """Each once."""
        own = stack_targets(self.bind, self.port_base, self.workers) if self.scrape_stack else []
        return list(dict.fromkeys([*own, *parse_targets(self.targets)]))

    @property
    def audit(self) -> str:
        return self.audit_address or self.address("audit")
