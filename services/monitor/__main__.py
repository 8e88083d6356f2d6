"""Runs the monitor: `python -m services.monitor`."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack

import grpc

from chassis.identity import load_credentials, service_token
from chassis.server import Health, serving, until_signalled
from chassis.start import CannotStart, run
from chassis.web import serving_http
from services.monitor.metrics import MonitorMetrics
from services.monitor.page.live import Streams
from services.monitor.page.readers import NoHost, readers
from services.monitor.page.routes import page_routes
from services.monitor.page.site import Site, Stack
from services.monitor.servicer import ALLOWED, MonitorServicer, TraceReceiver
from services.monitor.settings import MonitorSettings
from services.monitor.traces.store import TraceStore
from services.monitor.watching import watching_stack

log = logging.getLogger(__name__)
WATCH_SECONDS = 3_600.0  # how long a watch lasts whose caller sets no deadline
REFLECTED = ["strongroom.monitor.v1.MonitorService", "opentelemetry.proto.collector.trace.v1.TraceService"]


async def main(settings: MonitorSettings) -> None:
    """The monitor exports no spans of its own: each export would be a call that makes a span to export."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every scrape
    known, token = load_credentials(settings.keys_folder), service_token(settings.keys_folder, "monitor")
    store, health, metrics = TraceStore(settings.bounds), Health(), MonitorMetrics()
    receiver = TraceReceiver(store)
    try:
        page_readers = readers(settings.page_for)
    except NoHost as problem:
        raise CannotStart(str(problem)) from None
    metrics.watch(receiver, store)
    address, pages = settings.address("monitor"), settings.http_address("monitor")
    async with AsyncExitStack() as opened:
        watching = await opened.enter_async_context(watching_stack(settings, token, metrics))
        servicer = MonitorServicer(store, watching.definition, watching.watch, watching.feed)

        def register(server: grpc.aio.Server) -> None:
            servicer.register(server)
            receiver.register(server)

        serves = serving(
            address,
            register,
            known=known,
            allowed=ALLOWED,
            health=health,
            reflected=REFLECTED if settings.reflection else [],
            default_deadline_seconds=WATCH_SECONDS,
        )
        await opened.enter_async_context(serves)
        stack = Stack(home=str(settings.home), development=settings.mode == "development", insecure=settings.insecure)
        site, streams = Site(stack, watching.definition, watching.watch.status, store), Streams()
        routes = [metrics.route(), *page_routes(site, streams, page_readers)]
        await opened.enter_async_context(serving_http(pages, lambda: health.reason, routes))
        opened.callback(streams.stop)
        await health.ready()
        log.info("monitor listens on %s (gRPC, OTLP) and http://%s", address, pages)
        await until_signalled()


if __name__ == "__main__":
    run("monitor", MonitorSettings, main)
