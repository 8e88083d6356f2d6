"""Puts the watch together from the settings: windows, scraper, machine, board and who hears of alerts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

from strongroom.audit.v1 import audit_pb2_grpc

from chassis.client import connect
from chassis.essential import essential
from services.monitor.alerts.board import AlertBoard, BoardBounds
from services.monitor.alerts.feed import AlertFeed
from services.monitor.definition.loading import shipped
from services.monitor.definition.rules import Definition
from services.monitor.machine.gpus import Gpus
from services.monitor.machine.kernel import Kernel
from services.monitor.machine.machine import Machine
from services.monitor.metrics import MonitorMetrics
from services.monitor.recording import AlertRecorder
from services.monitor.scraping.discovery import Discovery
from services.monitor.scraping.scraper import ScrapeLimits, Scraper, http_client
from services.monitor.scraping.targets import job
from services.monitor.settings import MonitorSettings
from services.monitor.status.assembly import INFORMATION
from services.monitor.watch import Own, Watch
from services.monitor.windows.windows import Target, WindowBounds, Windows


@dataclass(frozen=True)
class Watching:
    definition: Definition
    watch: Watch
    feed: AlertFeed


@asynccontextmanager
async def watching_stack(settings: MonitorSettings, token: str, metrics: MonitorMetrics) -> AsyncIterator[Watching]:
    """Scrapes and evaluates while open."""
    definition, interval = shipped(), settings.scrape_seconds
    # A little more than the longest look, so that a sample at its edge is still there.
    bounds = WindowBounds(seconds=definition.window_seconds + 2 * interval, series_per_target=settings.max_series)
    windows = Windows(definition.selections | INFORMATION, bounds)
    limits = ScrapeLimits(timeout_seconds=min(1.5, interval * 0.75), max_series=settings.max_series)
    async with http_client() as client, connect(settings.audit, token) as audit:
        with closing(Gpus()) as gpus:
            scraper = Scraper(settings.scraped, windows, limits, client, time.time())
            machine = Machine(Kernel(), gpus)
            board = AlertBoard(definition.rules, BoardBounds(unseen_seconds=max(30.0, 5 * interval)))
            own = Target(job("monitor"), settings.http_address("monitor"))
            watch = Watch(
                *(definition, windows, scraper, machine, board),
                Own(own, lambda: metrics.samples(windows.names)),
                interval,
                discovery=Discovery(settings.scraped),
            )
            feed = AlertFeed(lambda: board.firing)
            recorder = AlertRecorder(audit_pb2_grpc.AuditServiceStub(audit))
            watch.tell(feed.publish)
            if settings.record_alerts:
                watch.tell(recorder.note)
            metrics.watch_scrapes(scraper, windows)
            metrics.watch_rounds(watch)
            metrics.watch_alerts(watch, definition, feed, recorder)
            metrics.watch_machine(machine)
            async with _running(rounds=watch.run(), recorder=recorder.run()):
                yield Watching(definition, watch, feed)


@asynccontextmanager
async def _running(**works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    tasks = [essential(asyncio.create_task(work, name=name)) for name, work in works.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
