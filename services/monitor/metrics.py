"""The names of the monitor's metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from chassis.metrics import Label, Metrics
from services.monitor.alerts.feed import AlertFeed
from services.monitor.definition.rules import Definition, Severity
from services.monitor.machine.machine import Machine
from services.monitor.recording import AlertRecorder
from services.monitor.scraping.exposition import Problem
from services.monitor.scraping.scraper import Scraper
from services.monitor.servicer import TraceReceiver
from services.monitor.status.snapshot import Gpu
from services.monitor.traces.store import TraceStore
from services.monitor.watch import Watch
from services.monitor.windows.windows import Sample, Windows

SERVICE = Label("service", ("gateway", "guard", "inference", "audit", "monitor"))
REASON = Label("reason", ("malformed", "batch_too_large", "trace_full", "evicted"))
PROBLEM = Label("reason", tuple(Problem))
SEVERITY = Label("severity", tuple(Severity))
GPU = Label("gpu", room=16)


class MonitorMetrics(Metrics):
    """All of it is read when it is asked for."""

    def samples(self, wanted: frozenset[str]) -> Iterable[Sample]:
        """What a scrape of the monitor would give, without one."""
        for family in self.registry.collect():
            for sample in family.samples:
                if sample.name in wanted:
                    yield Sample(sample.name, tuple(sorted(sample.labels.items())), float(sample.value))

    def watch(self, receiver: TraceReceiver, store: TraceStore) -> None:
        self.counted_by(
            "strongroom_monitor_received_spans_total",
            "Spans that arrived, by the service whose credential brought them.",
            SERVICE,
            lambda: receiver.received,
        )
        self.counted_by(
            "strongroom_monitor_dropped_spans_total",
            "Spans that are not kept, or no more: evicted ones made room for newer traces.",
            REASON,
            lambda: {**receiver.refused, "trace_full": store.dropped, "evicted": store.evicted_spans},
        )
        self.gauge("strongroom_monitor_traces", "Traces kept.", lambda: len(store))
        self.gauge("strongroom_monitor_trace_bytes", "About what the kept traces take.", lambda: store.bytes)
        self.counted("strongroom_monitor_evicted_traces_total", "Traces that made room.", lambda: store.evicted)

    def watch_scrapes(self, scraper: Scraper, windows: Windows) -> None:
        self.counted("strongroom_monitor_scrapes_total", "Scrapes that succeeded.", lambda: scraper.scrapes)
        self.counted_by(
            "strongroom_monitor_scrape_failures_total",
            "Scrapes that gave nothing, by reason.",
            PROBLEM,
            lambda: scraper.failures,
        )
        self.counted("strongroom_monitor_scraped_bytes_total", "Bytes read of targets.", lambda: scraper.bytes)
        self.gauge("strongroom_monitor_kept_series", "Series of which a window is kept.", lambda: len(windows))

    def watch_rounds(self, watch: Watch) -> None:
        self.counted("strongroom_monitor_rounds_total", "Rounds of scrapes and evaluation.", lambda: watch.rounds)
        self.counted("strongroom_monitor_failed_rounds_total", "Rounds that a bug ended.", lambda: watch.failed_rounds)
        self.gauge("strongroom_monitor_round_seconds", "How long the last one took.", lambda: watch.last_round_seconds)

    def watch_alerts(self, watch: Watch, definition: Definition, feed: AlertFeed, recorder: AlertRecorder) -> None:
        board = watch.board
        rule = Label("rule", tuple(rule.id for rule in definition.rules))
        self.gauge_by(
            "strongroom_monitor_alerts_firing",
            "Places where a rule fires now.",
            rule,
            lambda: Counter(alert.rule.id for alert in board.firing),
        )
        self.counted_by(
            "strongroom_monitor_alerts_fired_total",
            "Alerts that began to fire, by severity.",
            SEVERITY,
            lambda: board.fired,
        )
        self.counted(
            "strongroom_monitor_alerts_overflowed_total",
            "Alerts for which there was no room, each time they were seen.",
            lambda: board.overflow,
        )
        self.gauge("strongroom_monitor_alert_watchers", "Open WatchAlerts calls.", lambda: len(feed))
        self.counted("strongroom_monitor_acts_recorded_total", "Alerts recorded in audit.", lambda: recorder.recorded)
        self.counted(
            "strongroom_monitor_acts_dropped_total",
            "Alerts not recorded in audit: too many, or refused.",
            lambda: recorder.dropped,
        )

    def watch_machine(self, machine: Machine) -> None:
        self.gauge("strongroom_monitor_cpu_cores", "Cores that may be used.", lambda: machine.reading.cores)
        self.gauge(
            "strongroom_monitor_cpu_utilisation_ratio",
            "How much of those cores was in use, since the last round.",
            lambda: machine.cpu_ratio,
        )
        self.counted(
            "strongroom_monitor_cpu_periods_total",
            "Periods of the CPU quota; none without one.",
            lambda: machine.reading.periods,
        )
        self.counted(
            "strongroom_monitor_cpu_throttled_periods_total",
            "Periods in which the quota ran out.",
            lambda: machine.reading.throttled_periods,
        )
        self.counted(
            "strongroom_monitor_cpu_stalled_seconds_total",
            "Time in which something runnable waited for a core (pressure).",
            lambda: machine.reading.cpu_stalled_seconds,
        )
        self.gauge(
            "strongroom_monitor_memory_used_bytes",
            "Memory that cannot be given back at once.",
            lambda: machine.reading.memory_used_bytes,
        )
        self.gauge(
            "strongroom_monitor_memory_limit_bytes",
            "Memory of the container, or of the machine.",
            lambda: machine.reading.memory_limit_bytes,
        )
        self.counted(
            "strongroom_monitor_memory_stalled_seconds_total",
            "Time in which something waited for memory (pressure).",
            lambda: machine.reading.memory_stalled_seconds,
        )
        self._watch_gpus(machine)

    def _watch_gpus(self, machine: Machine) -> None:
        def read(of: Callable[[Gpu], float | None]) -> Callable[[], dict[str, float]]:
            return lambda: {str(gpu.index): value for gpu in machine.gpus if (value := of(gpu)) is not None}

        for name, meaning, of in (
            ("utilisation_ratio", "Share of time in which a kernel ran.", lambda gpu: gpu.utilisation_ratio),
            ("memory_used_bytes", "The GPU's memory in use.", lambda gpu: gpu.memory_used_bytes),
            ("memory_total_bytes", "The GPU's memory.", lambda gpu: gpu.memory_total_bytes),
            ("temperature_celsius", "The GPU's temperature.", lambda gpu: gpu.temperature_celsius),
            ("power_watts", "What the GPU draws.", lambda gpu: gpu.power_watts),
        ):
            self.gauge_by(f"strongroom_monitor_gpu_{name}", meaning, GPU, read(of))
