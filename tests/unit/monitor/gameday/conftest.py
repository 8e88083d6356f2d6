"""A stack that only its scrapes can be told from: counters and gauges that move as a healthy one's do, or as told.

Its series are those that docs/metrics.md names; the tests of the definition see to that.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable

import pytest

from services.monitor.alerts.alert import Alert, State
from services.monitor.alerts.board import AlertBoard
from services.monitor.definition.loading import shipped
from services.monitor.windows.windows import Sample, Target, WindowBounds, Windows

ROUND = 2.0
SERVICES = ("gateway", "guard", "inference", "audit", "monitor")
FIRST_TEXT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
COMMIT = (0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 5.0)
TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
GIB = 1024.0**3
Labels = dict[str, str]


class PretendStack:
    """`pass_time(seconds)` lives on in rounds of two seconds and returns every change of an alert."""

    def __init__(self, start: float = 1_790_000_000.0) -> None:
        self.definition = shipped()
        self.windows = Windows(self.definition.selections, WindowBounds(self.definition.window_seconds + 4))
        self.board = AlertBoard(self.definition.rules)
        self.now = self.started = start
        self.down: set[str] = set()
        self._counters: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = defaultdict(float)
        self._gauges: dict[tuple[str, str, tuple[tuple[str, str], ...]], Callable[[], float]] = {}
        self.checkpoint = start
        self._stand_still()

    def target(self, service: str) -> Target:
        return Target(f"strongroom-{service}", f"127.0.0.1:{7410 + SERVICES.index(service)}")

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        self._counters[_service(name), name, _sorted(labels)] += amount

    def observe(self, name: str, value: float, bounds: Iterable[float], times: int = 1, **labels: str) -> None:
        """So many observations of a histogram."""
        for bound in [*bounds, math.inf]:
            text = "+Inf" if bound == math.inf else str(float(bound))
            self.count(f"{name}_bucket", times * float(value <= bound), **labels, le=text)
        self.count(f"{name}_sum", times * value, **labels)
        self.count(f"{name}_count", times, **labels)

    def gauge(self, name: str, value: float | Callable[[], float], **labels: str) -> None:
        read = value if callable(value) else lambda: value
        self._gauges[_service(name), name, _sorted(labels)] = read

    def pass_time(self, seconds: float, each_round: Callable[[], None] = lambda: None) -> list[Alert]:
        changes: list[Alert] = []
        until = self.now + seconds
        while self.now + ROUND <= until:
            self.now += ROUND
            each_round()
            for service in SERVICES:
                self._scrape(service)
            changes += self.board.evaluate(self.windows, self.now)
        return changes

    def fired_after(self, seconds: float, each_round: Callable[[], None] = lambda: None) -> dict[str, float]:
        """The alerts that fired within the time, each with the seconds after which it first did."""
        began = self.now
        changes = self.pass_time(seconds, each_round)
        fired: dict[str, float] = {}
        for alert in changes:
            if alert.state is State.FIRING:
                fired.setdefault(alert.rule.id, (alert.fired or 0) - began)
        return fired

    def answer(self, count: int = 1, first_text: float = 0.08, end: str = "COMPLETED") -> None:
        """Requests that come and go, with all that they leave in the metrics of four services."""
        self.count("strongroom_gateway_requests_total", count, end=end, priority="interactive")
        if end != "COMPLETED":
            return
        first = "strongroom_gateway_time_to_first_release_seconds"
        self.observe(first, first_text, FIRST_TEXT, count, priority="interactive")
        self.observe("gen_ai_server_time_per_output_token_seconds", 0.03, TOKEN, count)
        self.observe("strongroom_guard_item_seconds", 0.0008, FIRST_TEXT, count, kind="screen")
        self.count("strongroom_guard_items_total", count, kind="screen")
        self.commit(times=count)
        self.count("strongroom_inference_events_total", count, event="ended_stop")
        self.count("strongroom_inference_computed_tokens_total", 64 * count)
        self.count("strongroom_inference_useful_tokens_total", 62 * count)
        self.checkpoint = self.now

    def commit(self, seconds: float = 0.003, times: int = 1) -> None:
        self.observe("strongroom_audit_commit_seconds", seconds, COMMIT, times)

    def demand(self, fill: float = 1.0) -> None:
        """One second's samples of slots, with demand."""
        self.count("strongroom_inference_demand_samples_total", 2)
        self.count("strongroom_inference_slot_fill_total", 2 * fill)

    def _scrape(self, service: str) -> None:
        target = self.target(service)
        if service in self.down:
            self.windows.failed(target, self.now)
            return
        counted = [Sample(name, labels, value) for (of, name, labels), value in self._counters.items() if of == service]
        read = [Sample(name, labels, value()) for (of, name, labels), value in self._gauges.items() if of == service]
        started = Sample("process_start_time_seconds", (), self.started)
        assert self.windows.answered(target, self.now, [*counted, *read, started])

    def _stand_still(self) -> None:
        """Everything up, nothing to do."""
        for neighbour in ("guard", "audit", "queue"):
            self.gauge("strongroom_gateway_neighbour_available", 1, neighbour=neighbour)
        self.gauge("strongroom_gateway_workers", 1, model="smollm2")
        for priority in ("interactive", "standard", "batch"):
            self.gauge("strongroom_gateway_queue_oldest_seconds", 0, priority=priority)
            self.gauge("strongroom_gateway_queue_waiting_jobs", 0, priority=priority)
        self.gauge("strongroom_guard_policy_file_refused", 0)
        for name, value in (("ready", 1), ("engine_alive", 1), ("heartbeat_age_seconds", 0), ("running_requests", 0)):
            self.gauge(f"strongroom_inference_{name}", value)
        self.gauge("strongroom_inference_kv_tokens", 32_768)
        self.gauge("strongroom_inference_kv_used_tokens", 0)
        self.gauge("strongroom_audit_tree_entries", 100)
        self.gauge("strongroom_audit_checkpoint_entries", 100)
        self.gauge("strongroom_audit_checkpoint_timestamp_seconds", lambda: self.checkpoint)
        self.gauge("strongroom_audit_disk_free_bytes", 60 * GIB)
        self.gauge("strongroom_audit_waiting_items", 0)
        self.gauge("strongroom_audit_journal_full", 0)
        self.gauge("strongroom_audit_open_differences", 0, kind="unrecorded_jobs")
        self.gauge("strongroom_monitor_memory_used_bytes", 8 * GIB)
        self.gauge("strongroom_monitor_memory_limit_bytes", 24 * GIB)
        self.gauge("strongroom_monitor_gpu_utilisation_ratio", 0.0, gpu="0")


@pytest.fixture
def stack() -> PretendStack:
    """Up for a minute, with nothing to do."""
    stack = PretendStack()
    assert stack.pass_time(60) == []
    return stack


def _service(name: str) -> str:
    if name.startswith("gen_ai_server_"):
        return "inference"
    if name.startswith("gen_ai_client_"):
        return "gateway"
    return name.split("_")[1]


def _sorted(labels: Labels) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))
