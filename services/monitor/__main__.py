"""Runs the monitor: `python -m services.monitor`."""

from __future__ import annotations

import logging

import grpc

from chassis.identity import load_credentials
from chassis.server import Health, serving, until_signalled
from chassis.start import run
from chassis.web import serving_http
from services.monitor.metrics import MonitorMetrics
from services.monitor.pages import page_routes
from services.monitor.servicer import ALLOWED, MonitorServicer, TraceReceiver
from services.monitor.settings import MonitorSettings
from services.monitor.traces.store import TraceStore

log = logging.getLogger(__name__)
REFLECTED = ["strongroom.monitor.v1.MonitorService", "opentelemetry.proto.collector.trace.v1.TraceService"]


async def main(settings: MonitorSettings) -> None:
    """The monitor exports no spans of its own: each export would be a call that makes a span to export."""
    store, health, metrics = TraceStore(settings.bounds), Health(), MonitorMetrics()
    receiver = TraceReceiver(store)
    metrics.watch(receiver, store)

    def register(server: grpc.aio.Server) -> None:
        MonitorServicer(store).register(server)
        receiver.register(server)

    address, pages = settings.address("monitor"), settings.http_address("monitor")
    async with (
        serving(
            address,
            register,
            known=load_credentials(settings.keys_folder),
            allowed=ALLOWED,
            health=health,
            reflected=REFLECTED if settings.reflection else [],
        ),
        serving_http(pages, lambda: health.reason, [metrics.route(), *page_routes(store)]),
    ):
        await health.ready()
        log.info("monitor listens on %s (gRPC, OTLP) and http://%s", address, pages)
        await until_signalled()


if __name__ == "__main__":
    run("monitor", MonitorSettings, main)
