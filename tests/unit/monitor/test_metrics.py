"""What the monitor counts of spans."""

from __future__ import annotations

from services.monitor.metrics import MonitorMetrics
from services.monitor.servicer import TraceReceiver
from services.monitor.traces.store import Bounds, TraceStore


def test_every_metric_is_documented_and_every_documented_one_is_there(as_documented) -> None:
    store, metrics = TraceStore(Bounds()), MonitorMetrics()
    metrics.watch(TraceReceiver(store), store)
    as_documented("monitor", metrics)


def test_what_is_kept_and_what_made_room_is_counted(clock, make_span, value_of) -> None:
    store, metrics = TraceStore(Bounds(traces=2, spans_per_trace=2), clock), MonitorMetrics()
    metrics.watch(TraceReceiver(store), store)
    for trace in "123":
        for name in "abc":
            store.add(make_span(name, trace=trace))
    assert value_of(metrics, "strongroom_monitor_traces") == 2
    assert value_of(metrics, "strongroom_monitor_evicted_traces_total") == 1
    assert value_of(metrics, "strongroom_monitor_dropped_spans_total", reason="trace_full") == 3
    assert value_of(metrics, "strongroom_monitor_dropped_spans_total", reason="evicted") == 2
    assert value_of(metrics, "strongroom_monitor_trace_bytes") == store.bytes
