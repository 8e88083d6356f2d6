"""The names of the monitor's metrics."""

from __future__ import annotations

from chassis.metrics import Label, Metrics
from services.monitor.servicer import TraceReceiver
from services.monitor.traces.store import TraceStore

SERVICE = Label("service", ("gateway", "guard", "inference", "audit", "monitor"))
REASON = Label("reason", ("malformed", "batch_too_large", "trace_full", "evicted"))


class MonitorMetrics(Metrics):
    """All of it is read when it is asked for."""

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
