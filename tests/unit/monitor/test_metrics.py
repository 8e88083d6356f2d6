"""What the monitor counts of spans."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from strongroom.audit.v1 import audit_pb2_grpc

from chassis.client import connect
from services.monitor.alerts.board import AlertBoard
from services.monitor.alerts.feed import AlertFeed
from services.monitor.definition.loading import shipped
from services.monitor.machine.gpus import Gpus
from services.monitor.machine.kernel import Kernel, Reading
from services.monitor.machine.machine import Machine
from services.monitor.metrics import MonitorMetrics
from services.monitor.recording import AlertRecorder
from services.monitor.scraping.scraper import ScrapeLimits, Scraper, http_client
from services.monitor.servicer import TraceReceiver
from services.monitor.status.snapshot import Gpu
from services.monitor.traces.store import Bounds, TraceStore
from services.monitor.watch import Own, Watch
from services.monitor.windows.windows import Target, WindowBounds, Windows


@pytest.fixture
async def watched() -> AsyncIterator[tuple[MonitorMetrics, Watch, Machine]]:
    """A monitor's metrics, and what they read, without a target."""
    store, metrics, definition = TraceStore(Bounds()), MonitorMetrics(), shipped()
    windows = Windows(definition.selections, WindowBounds(definition.window_seconds))
    async with http_client() as client, connect("127.0.0.1:1", "none") as channel:
        scraper = Scraper([], windows, ScrapeLimits(), client, 0.0)
        machine, board = Machine(Kernel(), Gpus()), AlertBoard(definition.rules)
        own = Own(Target("strongroom-monitor", "127.0.0.1:7414"), lambda: metrics.samples(windows.names))
        watch = Watch(definition, windows, scraper, machine, board, own, 2.0)
        metrics.watch(TraceReceiver(store), store)
        metrics.watch_scrapes(scraper, windows)
        metrics.watch_rounds(watch)
        recorder = AlertRecorder(audit_pb2_grpc.AuditServiceStub(channel))
        metrics.watch_alerts(watch, definition, AlertFeed(list), recorder)
        metrics.watch_machine(machine)
        yield metrics, watch, machine


async def test_every_metric_is_documented_and_every_documented_one_is_there(as_documented, watched) -> None:
    as_documented("monitor", watched[0])


async def test_the_monitor_reads_its_own_metrics_without_a_scrape(watched) -> None:
    _, watch, machine = watched
    await watch.round()
    status = watch.status()
    assert status.machine.memory_limit_bytes == machine.reading.memory_limit_bytes
    assert watch.figures.one("memory_used_ratio") == pytest.approx(
        machine.reading.memory_used_bytes / machine.reading.memory_limit_bytes
    )


async def test_what_is_not_known_is_no_sample(watched, value_of) -> None:
    """A GPU that is not there has no utilisation, not one of 0."""
    metrics, _, machine = watched
    machine.reading, machine.gpus = Reading(cores=2), []
    with pytest.raises(AssertionError, match="has no sample"):
        value_of(metrics, "strongroom_monitor_memory_used_bytes")
    with pytest.raises(AssertionError, match="has no sample"):
        value_of(metrics, "strongroom_monitor_gpu_utilisation_ratio")
    machine.gpus = [Gpu(index=0, name="H100", utilisation_ratio=0.5)]
    assert value_of(metrics, "strongroom_monitor_gpu_utilisation_ratio", gpu="0") == 0.5


async def test_a_rule_that_does_not_fire_is_shown_at_zero(watched, value_of) -> None:
    for rule in shipped().rules:
        assert value_of(watched[0], "strongroom_monitor_alerts_firing", rule=rule.id) == 0


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
